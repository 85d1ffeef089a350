// The chart of what was chosen, with its ranges, legend, and everything about the window that a line alone would hide.

import { useMemo, useState } from 'preact/hooks';

import * as api from './api.ts';
import { Chart, useWidth } from './chart.tsx';
import { clock, counted, duration, latestText, number, stamp } from './format.ts';
import { at, exact, fromBuckets, fromRaw, rows, type Plot, type Trace } from './plot.ts';
import { usePoll } from './poll.ts';
import { Quality } from './quality.tsx';
import { RANGES, toggled, type View } from './view.ts';
import { Line } from './welcome.tsx';

const LIVE_MS = 2000;
const SUGGESTIONS = 6;
const NONE = new Map<number, api.Series>();

interface Props {
  view: View;
  setView: (view: View) => void;
  /** What is known of the chosen ones; null while it is not known yet. */
  series: Map<number, api.Series> | null;
  latest: Map<number, api.Latest>;
  suggestions: api.Series[];
}

export function Panel(props: Props) {
  const { view, setView } = props;
  return (
    <section class="panel" aria-label="Chart">
      <div class="bar">
        <h1>{title(view, props.series ?? NONE)}</h1>
        <div class="ranges" role="group" aria-label="Range">
          {RANGES.map((range) => (
            <button type="button" key={range} aria-pressed={range === view.range} onClick={() => setView({ ...view, range })}>
              {range.replace(/(\d+)/, '$1 ')}
            </button>
          ))}
        </div>
      </div>
      {view.series.length === 0 ? <Choose {...props} /> : <Drawn {...props} />}
    </section>
  );
}

function title(view: View, series: Map<number, api.Series>): string {
  const known = view.series.map((id) => series.get(id)).filter((s) => s !== undefined);
  const [first] = known;
  if (!first) return 'Chart';
  if (known.length === 1) return `${first.device} · ${first.point}`;
  if (known.every((s) => s.device === first.device && s.gateway === first.gateway)) return first.device;
  return counted(view.series.length, 'series', 'series');
}

function Choose({ view, setView, suggestions }: Props) {
  const some = suggestions.filter((s) => s.kind === 'gauge' && s.unit !== '').slice(0, SUGGESTIONS);
  return (
    <div class="card choose">
      <Line />
      <h2>Choose a point to see its chart</h2>
      <p class="quiet">Click one on the left; click more to lay them over each other, each unit with a scale of its own.</p>
      <p class="chips">
        {some.map((s) => (
          <button type="button" key={s.id} onClick={() => setView(toggled(view, s.id))}>{s.device} · {s.point}</button>
        ))}
      </p>
    </div>
  );
}

/** The window in the form that suits it: exact readings while there are no more than pixels, else buckets. */
async function load(view: View, charted: number[], pixels: number, signal: AbortSignal): Promise<api.Buckets | api.Raw> {
  const coarse = await api.buckets(charted, view.range, pixels, signal);
  if (!exact(rows(coarse), pixels)) return coarse;
  const fine = await api.raw(charted, view.range, signal);
  return fine.truncated ? coarse : fine;
}

function Drawn({ view, setView, series: known, latest }: Props) {
  const series = known ?? NONE;
  const [box, width] = useWidth();
  const [hovered, setHovered] = useState<number | null>(null);
  const [focus, setFocus] = useState<number | null>(null);
  const charted = view.series.filter((id) => series.has(id) && series.get(id)?.kind !== 'text');
  const pixels = Math.max(100, Math.min(4000, Math.round(width * devicePixelRatio)));
  const key = charted.length && width ? `${view.range} ${charted.join()} ${pixels}` : '';
  const loaded = usePoll(key, LIVE_MS, async (signal) =>
    key ? { key: `${view.range} ${charted.join()}`, answer: await load(view, charted, pixels, signal) } : null,
  );
  const current = loaded.data?.key === `${view.range} ${charted.join()}` ? loaded.data.answer : null;
  const plot = useMemo(() => current && ('step_ms' in current ? fromBuckets(current, series) : fromRaw(current)), [current, series]);
  const entries = view.series.map((id) => series.get(id)).filter((s) => s !== undefined);
  return (
    <>
      <div class="card">
        <div ref={box} class="canvas">
          {plot && width > 0 ? (
            <Chart plot={plot} series={entries} order={view.series} width={width} focus={focus} onHover={setHovered} />
          ) : (
            <p class="quiet waiting">{loaded.error ?? (charted.length || !known ? 'Loading…' : entries.length ? 'A text has no chart; its value is below.' : 'Nothing to draw.')}</p>
          )}
        </div>
        {plot && <p class="scale">{scale(plot, width)}</p>}
      </div>
      {loaded.error && plot && <p class="banner" role="alert">{loaded.error}</p>}
      <Legend {...{ known: known !== null, view, setView, series, latest, plot, hovered, onFocus: setFocus }} />
      {plot && <Notes plot={plot} series={series} />}
    </>
  );
}

/** What is on screen, so that nobody takes a drawing for more than it is. */
function scale(plot: Plot, width: number): string {
  const px = `1 px = ${duration((plot.to - plot.from) / Math.max(1, width))}`;
  const readings = counted(plot.traces.reduce((n, t) => n + t.count + t.bad, 0), 'reading');
  if (plot.step === null) return `${px} · ${readings}, each drawn as it is`;
  const band = plot.traces.some((t) => t.band) ? ', average on a band from minimum to maximum' : '';
  return `${px} · ${readings} in steps of ${duration(plot.step)}${band}`;
}

interface LegendProps {
  known: boolean;
  view: View;
  setView: (view: View) => void;
  series: Map<number, api.Series>;
  latest: Map<number, api.Latest>;
  plot: Plot | null;
  hovered: number | null;
  onFocus: (id: number | null) => void;
}

function Legend({ known, view, setView, series, latest, plot, hovered, onFocus }: LegendProps) {
  const time = plot && hovered !== null ? plot.x[hovered] : undefined;
  return (
    <div class="card legend">
      <table>
        <thead>
          <tr>
            <th scope="col">Series</th>
            <th scope="col">{time === undefined ? 'Last' : clock(time)}</th>
            <th scope="col">Min</th>
            <th scope="col">Max</th>
            <th scope="col">Avg</th>
            <th scope="col"><span class="sr">Take away</span></th>
          </tr>
        </thead>
        <tbody>
          {view.series.map((id, place) => {
            const s = series.get(id);
            if (!s) return <tr key={id}><td colSpan={6} class="quiet">{known ? `There is no series ${id}.` : 'Loading…'}</td></tr>;
            const trace = plot?.traces.find((t) => t.id === id);
            const last = latest.get(id);
            const averaged = s.kind === 'gauge';
            return (
              <tr key={id} data-legend={id} onMouseEnter={() => onFocus(id)} onMouseLeave={() => onFocus(null)}>
                <th scope="row">
                  <i class={`swatch s${place % 8}`} aria-hidden="true" />
                  <span class="who"><b>{s.point}</b> <small>{s.device}{series.size > 1 ? ` · ${s.gateway}` : ''}</small></span>
                </th>
                <td class="now" title={last?.t ? `${last.text ?? ''} ${s.unit} at ${stamp(last.t)}` : ''} data-t={last?.t ?? ''}>
                  {time !== undefined && trace && hovered !== null ? (
                    <>{number(at(trace, hovered))} <small>{s.unit}</small></>
                  ) : (
                    <>
                      {last?.quality && last.quality !== 'good' && <Quality quality={last.quality} reason={last.reason} word />}{' '}
                      {last?.quality !== 'bad' && <>{latestText(s, last)} <small>{s.unit}</small></>}
                    </>
                  )}
                </td>
                <td>{number(trace?.min)}</td>
                <td>{number(trace?.max)}</td>
                <td>{averaged ? number(trace?.avg) : '–'}</td>
                <td>
                  <button type="button" class="away" aria-label={`Take ${s.point} away`} onClick={() => setView(toggled(view, id))}>×</button>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Notes({ plot, series }: { plot: Plot; series: Map<number, api.Series> }) {
  const notes = plot.traces.flatMap((trace) => doubts(trace, series.get(trace.id)));
  const silent = plot.traces.filter((t) => t.count + t.bad === 0);
  if (notes.length + silent.length + plot.gaps.length === 0) return null;
  return (
    <div class="card notes">
      <h2>In this window</h2>
      <ul>
        {silent.map((t) => (
          <li key={`s${t.id}`}><span class="sign quiet">○</span> <b>{series.get(t.id)?.point}</b> has no reading here.</li>
        ))}
        {notes}
        {plot.gapsLeftOut > 0 && <li>{counted(plot.gapsLeftOut, 'older record')} of losses not shown; choose a shorter range.</li>}
        {plot.gaps.map((gap) => (
          <li key={`${gap.gateway}${gap.from}${gap.reason}`}>
            <span class="sign hatched" aria-hidden="true" />{' '}
            {gap.missing
              ? <>{gap.readings > 0 ? counted(gap.readings, 'reading') : 'Readings'} of all series of <b>{gap.gateway}</b> lost from {stamp(gap.from)} to {clock(gap.to)}: {gap.reason}</>
              : <>The clock of <b>{gap.gateway}</b> was set from {stamp(gap.from)} to {clock(gap.to)}: times before and after are not comparable.</>}
          </li>
        ))}
      </ul>
    </div>
  );
}

function doubts(trace: Trace, series: api.Series | undefined) {
  const reasons = [...trace.reasons].map(([reason, n]) => `${reason} (${n})`).join(', ');
  const why = reasons || 'choose a shorter range to see why';
  const name = <b>{series?.point} · {series?.device}</b>;
  const notes = [];
  if (trace.bad > 0) {
    notes.push(<li key={`b${trace.id}`}><span class="sign bad">✕</span> {counted(trace.bad, 'bad reading')} of {name}: {why}</li>);
  }
  if (trace.uncertain > 0) {
    notes.push(<li key={`u${trace.id}`}><span class="sign uncertain">◇</span> {counted(trace.uncertain, 'uncertain reading')} of {name}: {why}</li>);
  }
  return notes;
}
