// The page: what there is on the left, what was chosen on the right, the address as its only state.

import { useEffect, useMemo, useState } from 'preact/hooks';

import * as api from './api.ts';
import { counted } from './format.ts';
import { List } from './list.tsx';
import { Panel } from './panel.tsx';
import { usePoll } from './poll.ts';
import { readView, toggled, writeView, type View } from './view.ts';
import { NothingYet } from './welcome.tsx';

const LIVE_MS = 2000;
const LIST_MS = 5000;
const SEARCH_MS = 150;

export function App() {
  const [view, setView] = useView();
  const [search, setSearch] = useState('');
  const wanted = useSettled(search.trim(), SEARCH_MS);
  const [shown, setShown] = useState<number[]>([]);

  const gateways = usePoll('gateways', LIST_MS, api.gateways);
  const devices = usePoll('devices', LIST_MS, api.devices);
  // A new device, point or profile changes this, and only then is the long list asked for again.
  const known = (devices.data ?? []).map((d) => `${d.gateway}/${d.name}/${d.profile}/${d.series}`).join('\n');
  const listed = usePoll(`${wanted}\n${known}`, 60_000, (signal) => api.series(wanted, signal));
  const chosen = useChosen(view.series, known);

  const ids = useMemo(() => {
    const charted = view.series.filter((id) => chosen?.has(id));
    return [...new Set([...charted, ...shown])].sort((a, b) => a - b);
  }, [view.series, chosen, shown]);
  const latest = usePoll(ids.join(), LIVE_MS, (signal) => api.latest(ids, signal));
  const values = latest.data ?? new Map<number, api.Latest>();

  const error = gateways.error ?? devices.error ?? listed.error ?? latest.error;
  const empty = gateways.data?.length === 0;
  return (
    <>
      <header class="top">
        <a class="brand" href="./" onClick={(e) => (e.preventDefault(), setView(readView('')))}>
          <img src="./favicon.svg" alt="" width="28" height="28" />
          <span>Pattoo</span>
        </a>
        <Summary gateways={gateways.data ?? []} devices={devices.data ?? []} total={sumSeries(devices.data)} />
        <span class={`live ${error ? 'off' : ''}`} role="status">
          <i aria-hidden="true" />
          {error ? 'not live' : 'live'}
        </span>
      </header>
      {error && <p class="banner" role="alert">{error}</p>}
      {empty ? (
        <NothingYet />
      ) : (
        <main>
          <nav class="list" aria-label="Gateways, devices and points">
            <label class="search">
              <span class="sr">Search gateways, devices and points</span>
              <input type="search" placeholder="Search, e.g. voltage plant7" value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
            </label>
            <List
              gateways={gateways.data ?? []}
              devices={devices.data ?? []}
              series={listed.data?.series ?? []}
              total={listed.data?.total ?? 0}
              loaded={listed.data !== null && gateways.data !== null}
              search={wanted}
              latest={values}
              view={view}
              onToggle={(id) => setView(toggled(view, id))}
              onShown={setShown}
            />
          </nav>
          <Panel view={view} setView={setView} series={chosen} latest={values} suggestions={listed.data?.series ?? []} />
        </main>
      )}
      <footer>
        <a href="api/v1/openapi.json">API</a>
        <a href="metrics">Metrics</a>
        <a href="licenses.txt">Licences</a>
      </footer>
    </>
  );
}

function sumSeries(devices: api.Device[] | null): number {
  return (devices ?? []).reduce((n, d) => n + d.series, 0);
}

function Summary({ gateways, devices, total }: { gateways: api.Gateway[]; devices: api.Device[]; total: number }) {
  const online = gateways.filter((g) => g.online).length;
  const troubled = devices.filter((d) => d.health && d.health.quality !== 'good').length;
  if (gateways.length === 0) return <span class="summary" />;
  return (
    <span class="summary">
      <span>{online} of {counted(gateways.length, 'gateway')} online</span>
      <span>{counted(devices.length, 'device')}{troubled > 0 && <b class="warn"> ▲ {troubled} with trouble</b>}</span>
      <span>{counted(total, 'point')}</span>
    </span>
  );
}

/** The view as the address has it. A change is a step that the back button undoes. */
function useView(): [View, (view: View) => void] {
  const [view, setView] = useState(() => readView(location.search));
  useEffect(() => {
    const back = () => setView(readView(location.search));
    addEventListener('popstate', back);
    return () => removeEventListener('popstate', back);
  }, []);
  const go = (next: View) => {
    history.pushState(null, '', writeView(next) + location.hash);
    setView(next);
  };
  return [view, go];
}

/** The value once it has stayed the same for a while. */
function useSettled(value: string, ms: number): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

/** What is known of the chosen series, also of those that a search hides; null before the first answer. */
function useChosen(ids: number[], known: string): Map<number, api.Series> | null {
  const asked = usePoll(`${ids.join()}\n${known}`, 60_000, (signal) => api.byId(ids, signal));
  return useMemo(() => asked.data && new Map(asked.data.map((s) => [s.id, s])), [asked.data]);
}
