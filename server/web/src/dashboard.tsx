// One dashboard: its variables, its panels with the series that they find, and the way to change it.

import { useContext, useMemo } from 'preact/hooks';

import * as api from './api.ts';
import { Card } from './card.tsx';
import { History, Stat } from './device.tsx';
import { Star } from './kept.tsx';
import { useLatest, type LatestValues } from './latest.ts';
import { later } from './later.tsx';
import { Go } from './link.tsx';
import { usePoll } from './poll.ts';
import { may, SessionOf } from './session.ts';
import { SpanBar } from './spanbar.tsx';
import { DEFAULT, last, toExplore, toPage, type View } from './view.ts';

/** A file that somebody changes is on screen within so long. */
const LOOK_MS = 3000;

const Editor = later(async () => (await import('./editor.tsx')).Editor);

interface Props {
  view: View;
  setView: (view: View) => void;
}

export function DashboardPage({ view, setView }: Props) {
  const name = view.dashboard;
  const asked = usePoll(`${name} ${JSON.stringify(view.vars)}`, LOOK_MS, (signal) => api.shown(name, view.vars, signal));
  const shown = asked.data?.name === name ? asked.data : null;
  // Asked for again and again, but drawn anew only where it changed.
  const same = useMemo(() => shown, [JSON.stringify(shown)]);
  const span = view.span === DEFAULT && same?.range ? last(same.range) : view.span;
  const of = { ...view, span };
  const wanted = useMemo(() => [...new Set((same?.panels ?? []).filter((p) => p.type !== 'state').flatMap((p) => p.series.map((s) => s.id)))], [same]);
  const latest = useLatest(wanted);
  const title = same?.title ?? name;
  const changes = may(useContext(SessionOf), 'operator');
  return (
    <main class="page" data-page="dashboard">
      <header class="title">
        <p class="path"><Go view={toPage(view, 'dashboards')} setView={setView}>Dashboards</Go></p>
        <div class="card-head">
          <h1>{title}</h1>
          <div class="tools">
            <Star title={title} view={{ ...view, edit: false }} />
            {changes && <button type="button" aria-pressed={view.edit} onClick={() => setView({ ...view, edit: !view.edit })}>{view.edit ? 'Done' : 'Change'}</button>}
          </div>
        </div>
      </header>
      {asked.error && <p class="banner" role="alert">{asked.error}</p>}
      {changes && view.edit && <Editor view={view} setView={setView} />}
      {same && (
        <>
          {same.variables.length > 0 && <Variables shown={same} view={view} setView={setView} />}
          <SpanBar view={of} setView={setView} />
          <div class="board">
            {same.panels.map((panel) => <PanelOf key={`${panel.place} ${panel.title} ${panel.series.map((s) => s.id).join()}`} panel={panel} view={of} setView={setView} latest={latest} />)}
          </div>
          {same.panels.length === 0 && <p class="quiet">No panels yet.{changes && ' Save a chart of Explore into it, or change its text.'}</p>}
          {same.left_out > 0 && <p class="quiet">{same.left_out} more panels are not shown; narrow the variables or selectors.</p>}
        </>
      )}
    </main>
  );
}

function Variables({ shown, view, setView }: { shown: api.Shown } & Props) {
  return (
    <div class="own" role="group" aria-label="Variables">
      {shown.variables.map((v) => (
        <label key={v.name}>{v.name} <select aria-label={v.name} value={v.value} onChange={(e) => setView({ ...view, vars: { ...view.vars, [v.name]: e.currentTarget.value } })}>
          <option value="">all</option>
          {(v.value && !v.values.includes(v.value) ? [v.value, ...v.values] : v.values).map((value) => <option key={value} value={value}>{value}</option>)}
        </select></label>
      ))}
    </div>
  );
}

function PanelOf({ panel, view, setView, latest }: { panel: api.Panel; latest: LatestValues } & Props) {
  const series = useMemo(() => new Map(panel.series.map((s) => [s.id, s])), [panel]);
  const ids = useMemo(() => panel.series.map((s) => s.id), [panel]);
  const [states, texts] = useMemo(() => [panel.series.filter((s) => s.kind === 'state'), panel.series.filter((s) => s.kind === 'text')], [panel]);
  const title = panel.title || panel.series[0]?.device || panel.type;
  return (
    <div class="span" style={{ '--columns': panel.width }} data-panel={title}>
      {panel.type === 'text' && <section class="card words" aria-label={title}>{panel.title && <h2>{panel.title}</h2>}<p>{panel.text}</p></section>}
      {panel.type !== 'text' && ids.length === 0 && <section class="card" aria-label={title}><h2>{title}</h2><p class="quiet">No series fits its selectors.</p></section>}
      {panel.type === 'chart' && ids.length > 0 && (
        <Card
          title={title} ids={ids} series={series} known latest={latest.values} view={view} setView={setView} height={230} level={2} counter={panel.counter}
          tools={<Go view={{ ...toExplore(view, ids), counter: view.counter ?? panel.counter }} setView={setView} label={`Explore ${title}`}>Explore</Go>}
        />
      )}
      {panel.type === 'stat' && ids.length > 0 && (
        <section aria-label={title}>
          <h2 class="section">{title}</h2>
          <ul class="stats">{panel.series.map((s) => <Stat key={s.id} series={s} latest={latest.values.get(s.id)} view={view} setView={setView} device />)}</ul>
        </section>
      )}
      {panel.type === 'state' && ids.length > 0 && <History title={title} view={view} series={panel.series} states={states} texts={texts} events={false} />}
      {panel.left_out > 0 && <p class="quiet">{panel.left_out} more series fit; narrow the selectors of this panel.</p>}
    </div>
  );
}
