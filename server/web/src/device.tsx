// A device without any configuration: how it is, its states, charts, counters, texts, and what happened to it.

import { useContext, useMemo, useState } from 'preact/hooks';

import * as api from './api.ts';
import { Card } from './card.tsx';
import { Events, Strips } from './events.tsx';
import { labelText, reading, withUnit } from './format.ts';
import { grouped } from './groups.ts';
import { HealthLine } from './health.tsx';
import { Star } from './kept.tsx';
import { useLatest } from './latest.ts';
import { Go } from './link.tsx';
import { LookOf } from './look.ts';
import { usePoll } from './poll.ts';
import { Quality } from './quality.tsx';
import { SpanBar } from './spanbar.tsx';
import { stamp } from './time.ts';
import { toExplore, toFleet, type View } from './view.ts';
import { EXACT, useWindow } from './window.ts';

/** Charts before "show more": a switch with many ports has hundreds. */
const MAX_CHARTS = 24;
/** States whose history is shown: as many as one request may name. */
const MAX_HISTORIES = 50;
/** Texts come reading by reading. */
const MAX_TEXTS = 8;
/** Parts of time that a strip can show. */
const MAX_SLICES = 1600;

interface Props {
  view: View;
  setView: (view: View) => void;
  devices: api.Device[] | null;
}

export function DevicePage({ view, setView, devices }: Props) {
  const device = devices?.find((d) => d.gateway === view.gateway && d.name === view.device);
  const key = `${view.gateway}\n${view.device}\n${device?.series ?? 0}\n${device?.profile ?? ''}`;
  const asked = usePoll(key, 60_000, (signal) => api.ofDevice(view.gateway, view.device, signal));
  const series = asked.data ?? [];
  const known = useMemo(() => new Map(series.map((s) => [s.id, s])), [asked.data]);
  const groups = useMemo(() => grouped(series), [asked.data]);
  const [most, setMost] = useState(MAX_CHARTS);
  // Of a device with very many points, those on screen come first.
  const wanted = useMemo(() => {
    const shown = [...groups.charts.slice(0, most).flatMap((group) => group.series), ...groups.states, ...groups.texts, ...groups.counters];
    return [...new Set([...shown, ...series].map((s) => s.id))];
  }, [asked.data, most]);
  const latest = useLatest(wanted);
  const labels = labelText(device?.labels ?? {});
  const ready = asked.data !== null && series[0]?.device === view.device && series[0].gateway === view.gateway;
  return (
    <main class="page" data-page="device">
      <header class="title">
        <p class="path">
          <Go view={toFleet(view)} setView={setView}>Fleet</Go> / <Go view={{ ...toFleet(view), q: view.gateway }} setView={setView}>{view.gateway}</Go>
        </p>
        <div class="card-head"><h1>{view.device}</h1><div class="tools"><Star title={`${view.device} · ${view.gateway}`} view={view} /></div></div>
        <p class="quiet">{device?.profile_name}{labels && ` · ${labels}`}</p>
        {device && <HealthLine health={device.health} />}
      </header>
      <SpanBar view={view} setView={setView} />
      {(asked.error ?? latest.error) && <p class="banner" role="alert">{asked.error ?? latest.error}</p>}
      {!ready && !asked.error && <p class="quiet">Loading…</p>}
      {ready && (
        <>
          <History view={view} series={series} texts={groups.texts} states={groups.states} />
          <div class="grid">
            {groups.charts.slice(0, most).map((group) => (
              <Card
                key={group.series.map((s) => s.id).join()} title={group.title} ids={group.series.map((s) => s.id)} series={known} known latest={latest.values}
                view={view} setView={setView} height={230} level={2} brief
                tools={<Go view={toExplore(view, group.series.map((s) => s.id))} setView={setView} label={`Explore ${group.title}`}>Explore</Go>}
              />
            ))}
          </div>
          {groups.charts.length > most && (
            <p><button type="button" class="more" onClick={() => setMost(most + MAX_CHARTS)}>Show more charts ({groups.charts.length - most} left)</button></p>
          )}
          <Counters series={groups.counters} latest={latest.values} view={view} setView={setView} />
          <Points series={series} latest={latest.values} view={view} setView={setView} />
        </>
      )}
    </main>
  );
}

interface HistoryProps {
  title?: string;
  /** Whether what happened is listed too. */
  events?: boolean;
  view: View;
  series: api.Series[];
  states: api.Series[];
  texts: api.Series[];
}

/** What is no number: drawn as strips, listed as events. Losses are the gateway's, so any series tells them. */
export function History({ title = 'States', events = true, view, series, states, texts }: HistoryProps) {
  const told = useMemo(() => [states.slice(0, MAX_HISTORIES), texts.slice(0, MAX_TEXTS)] as const, [states, texts]);
  const [first, second] = told;
  const ids = (first.length ? first : series.slice(0, 1)).map((s) => s.id);
  const changing = useWindow(ids, view.span, Math.min(MAX_SLICES, Math.max(100, innerWidth)));
  const written = useWindow(second.map((s) => s.id), view.span, EXACT);
  const parts = [
    { answer: changing.answer, series: first },
    { answer: written.answer, series: second },
  ];
  const left = states.length + texts.length - first.length - second.length;
  return (
    <>
      {first.length + second.length > 0 && <Strips title={title} parts={parts} error={changing.error ?? written.error} left={left} />}
      {events && <Events parts={parts} />}
    </>
  );
}

interface ListProps {
  series: api.Series[];
  latest: Map<number, api.Latest>;
  view: View;
  setView: (view: View) => void;
}

/** What only ever grows says more as a number than as a line. */
function Counters({ series, latest, view, setView }: ListProps) {
  if (series.length === 0) return null;
  return (
    <section aria-label="Counters">
      <h2 class="section">Counters</h2>
      <ul class="stats">
        {series.map((s) => <Stat key={s.id} series={s} latest={latest.get(s.id)} view={view} setView={setView} />)}
      </ul>
    </section>
  );
}

interface StatProps {
  series: api.Series;
  latest: api.Latest | undefined;
  view: View;
  setView: (view: View) => void;
  /** Of several devices: say which. */
  device?: boolean;
}

/** One latest value, large. */
export function Stat({ series: s, latest, view, setView, device = false }: StatProps) {
  const shown = reading(s, latest);
  return (
    <li class="card stat" data-stat={s.id}>
      <Go view={toExplore(view, [s.id])} setView={setView}>
        <span class="name">{s.name}{device && ` · ${s.device}`}</span>
        {latest?.quality && latest.quality !== 'good' && <Quality quality={latest.quality} reason={latest.reason} word />}
        <b title={latest?.text ? `${latest.text} ${s.unit}` : ''}>{latest?.quality === 'bad' ? '–' : shown.text}{latest?.quality !== 'bad' && shown.symbol && <small> {shown.symbol}</small>}</b>
      </Go>
    </li>
  );
}

/** Everything the device says, with what is known of it. */
function Points({ series, latest, view, setView }: ListProps) {
  const { zone } = useContext(LookOf);
  return (
    <details class="card points">
      <summary><h2>All {series.length} points</h2></summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="All points">
        <table>
          <thead><tr><th scope="col">Point</th><th scope="col">Value</th><th scope="col">Quality</th><th scope="col">At</th><th scope="col">Kind</th><th scope="col">Unit</th><th scope="col">Labels</th></tr></thead>
          <tbody>
            {series.map((s) => {
              const last = latest.get(s.id);
              const shown = reading(s, last);
              return (
                <tr key={s.id} data-series={s.id}>
                  <th scope="row"><Go view={toExplore(view, [s.id])} setView={setView}>{s.name}</Go>{s.name !== s.point && <small> {s.point}</small>}</th>
                  <td>{last?.quality === 'bad' ? '' : withUnit(shown.text, shown.symbol)}</td>
                  <td>{last?.quality && <Quality quality={last.quality} reason={last.reason} word />}</td>
                  <td>{last?.t ? stamp(last.t, zone) : 'never'}</td>
                  <td>{s.kind}</td>
                  <td>{s.unit}</td>
                  <td>{labelText(s.labels)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}
