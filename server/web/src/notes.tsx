// What of a window is lost, bad or doubtful, in words.

import { useContext } from 'preact/hooks';

import type { Series } from './api.ts';
import { counted } from './format.ts';
import { LookOf } from './look.ts';
import type { Plot, Trace } from './plot.ts';
import { clock, stamp } from './time.ts';

/** More losses than anybody reads; the hatching shows them all. */
const MAX_SHOWN = 20;

/** `brief` counts the losses only: they are the gateway's, and listed once for all its charts. */
export function Notes({ plot, series, brief, level }: { plot: Plot; series: Map<number, Series>; brief: boolean; level: 1 | 2 }) {
  const Heading = level === 1 ? 'h2' : 'h3';
  const { zone } = useContext(LookOf);
  const notes = plot.traces.flatMap((trace) => doubts(trace, series.get(trace.id)));
  const silent = plot.traces.filter((t) => t.count + t.bad === 0);
  if (notes.length + silent.length + plot.gaps.length === 0 && !plot.partial) return null;
  const shown = brief ? [] : plot.gaps.slice(-MAX_SHOWN);
  const hidden = plot.gapsLeftOut + plot.gaps.length - shown.length;
  return (
    <div class="notes">
      <Heading>In this window</Heading>
      <ul>
        {plot.partial && <li class="warn">Some history cannot be had right now: readings may be missing here.</li>}
        {silent.map((t) => (
          <li key={`s${t.id}`}><span class="sign quiet">○</span> <b>{series.get(t.id)?.name}</b> has no reading here.</li>
        ))}
        {notes}
        {hidden > 0 && <li><span class="sign hatched" aria-hidden="true" /> {counted(hidden, brief ? 'record' : 'older record')} of losses{brief ? ', listed above' : ' not listed; choose a shorter range'}.</li>}
        {shown.map((gap) => (
          <li key={`${gap.gateway}${gap.from}${gap.reason}`}>
            <span class="sign hatched" aria-hidden="true" />{' '}
            {gap.missing
              ? <>{gap.readings > 0 ? counted(gap.readings, 'reading') : 'Readings'} of all series of <b>{gap.gateway}</b> lost from {stamp(gap.from, zone)} to {clock(gap.to, zone)}: {gap.reason}</>
              : <>The clock of <b>{gap.gateway}</b> was set from {stamp(gap.from, zone)} to {clock(gap.to, zone)}: times before and after are not comparable.</>}
          </li>
        ))}
      </ul>
    </div>
  );
}

function doubts(trace: Trace, series: Series | undefined) {
  const reasons = [...trace.reasons].map(([reason, n]) => `${reason} (${n})`).join(', ');
  const why = reasons || 'choose a shorter range to see why';
  const name = <b>{series?.name} · {series?.device}</b>;
  const notes = [];
  if (trace.bad > 0) {
    notes.push(<li key={`b${trace.id}`}><span class="sign bad">✕</span> {counted(trace.bad, 'bad reading')} of {name}: {why}</li>);
  }
  if (trace.uncertain > 0) {
    notes.push(<li key={`u${trace.id}`}><span class="sign uncertain">◇</span> {counted(trace.uncertain, 'uncertain reading')} of {name}: {why}</li>);
  }
  return notes;
}
