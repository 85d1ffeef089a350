// The page: which of its parts is on screen, with the address as the only state.

import { useEffect, useMemo, useState } from 'preact/hooks';

import { Me } from './account.tsx';
import * as api from './api.ts';
import { feed } from './feed.ts';
import { Fleet } from './fleet.tsx';
import { counted } from './format.ts';
import { KeptOf, useKept } from './kept.tsx';
import { LanguageChoice } from './language.tsx';
import { later } from './later.tsx';
import { Go } from './link.tsx';
import { LookOf, useDark } from './look.ts';
import { usePoll } from './poll.ts';
import { readView, toExplore, toFleet, toPage, writeView, type View } from './view.ts';
import { NothingYet } from './welcome.tsx';

const LIST_MS = 5000;
/** What only a change of the server's configuration changes. */
const SITE_MS = 3_600_000;

const DevicePage = later(async () => (await import('./device.tsx')).DevicePage);
const Explore = later(async () => (await import('./explore.tsx')).Explore);
const Dashboards = later(async () => (await import('./dashboards.tsx')).Dashboards);
const DashboardPage = later(async () => (await import('./dashboard.tsx')).DashboardPage);
const Favourites = later(async () => (await import('./favourites.tsx')).Favourites);

const TITLES: Partial<Record<View['page'], string>> = { explore: 'Explore', dashboards: 'Dashboards', favourites: 'Favourites' };

export function App() {
  const [view, setView, replace] = useView();
  const [dark, turn] = useDark();
  const gateways = usePoll('gateways', LIST_MS, api.gateways);
  const devices = usePoll('devices', LIST_MS, api.devices);
  const broken = useFeedState() === 'broken' ? 'The server does not answer. Trying again…' : null;
  const error = gateways.error ?? devices.error ?? broken;
  const site = usePoll('site', SITE_MS, api.site).data?.zone ?? null;
  const kept = useKept();
  const zone = view.zone === 'site' ? (site ?? 'browser') : view.zone;
  const look = useMemo(() => ({ dark, zone, site }), [dark, zone, site]);
  const title = view.device || view.dashboard || TITLES[view.page];
  useEffect(() => {
    document.title = title ? `${title} · Pattoo` : 'Pattoo';
  }, [title]);
  return (
    <LookOf.Provider value={look}>
    <KeptOf.Provider value={kept}>
      <header class="top">
        <Go view={toFleet(view)} setView={setView} class="brand">
          <img src="./favicon.svg" alt="Pattoo" width="28" height="28" />
          <span aria-hidden="true">Pattoo</span>
        </Go>
        <nav class="tabs" aria-label="Pages">
          <Go view={toFleet(view)} setView={setView} current={view.page === 'fleet'}>Fleet</Go>
          <Go view={view.page === 'explore' ? view : toExplore(view, [])} setView={setView} current={view.page === 'explore'}>Explore</Go>
          <Go view={toPage(view, 'dashboards')} setView={setView} current={view.page === 'dashboards' || view.page === 'dashboard'}>Dashboards</Go>
          <Go view={toPage(view, 'favourites')} setView={setView} current={view.page === 'favourites'} label="Favourites">★</Go>
        </nav>
        <Summary gateways={gateways.data ?? []} devices={devices.data ?? []} />
        <button type="button" class="theme" aria-pressed={dark} onClick={turn} title="Dark or light">◐<span class="sr"> dark</span></button>
        <span class={`live ${error ? 'off' : ''}`} role="status">
          <i aria-hidden="true" />
          {error ? 'not live' : 'live'}
        </span>
        <Me />
      </header>
      {error && <p class="banner" role="alert">{error}</p>}
      {gateways.data?.length === 0 ? (
        <NothingYet />
      ) : view.page === 'device' ? (
        <DevicePage key={`${view.gateway}\n${view.device}`} view={view} setView={setView} devices={devices.data} />
      ) : view.page === 'explore' ? (
        <Explore view={view} setView={setView} gateways={gateways.data} devices={devices.data ?? []} />
      ) : view.page === 'dashboards' ? (
        <Dashboards view={view} setView={setView} />
      ) : view.page === 'dashboard' ? (
        <DashboardPage key={view.dashboard} view={view} setView={setView} />
      ) : view.page === 'favourites' ? (
        <Favourites view={view} setView={setView} kept={kept} />
      ) : (
        <Fleet view={view} setView={setView} search={(q) => replace({ ...view, q })} gateways={gateways.data ?? []} devices={devices.data ?? []} />
      )}
      <footer>
        <a href="api/v1/openapi.json">API</a>
        <a href="metrics">Metrics</a>
        <a href="licenses.txt">Licences</a>
        <LanguageChoice />
      </footer>
    </KeptOf.Provider>
    </LookOf.Provider>
  );
}

function Summary({ gateways, devices }: { gateways: api.Gateway[]; devices: api.Device[] }) {
  const online = gateways.filter((g) => g.online).length;
  const troubled = devices.filter((d) => d.health && d.health.quality !== 'good').length;
  const total = devices.reduce((n, d) => n + d.series, 0);
  if (gateways.length === 0) return <span class="summary" />;
  return (
    <span class="summary">
      <span>{online} of {counted(gateways.length, 'gateway')} online</span>
      <span>{counted(devices.length, 'device')}{troubled > 0 && <b class="warn"> ▲ {troubled} with trouble</b>}</span>
      <span>{counted(total, 'point')}</span>
    </span>
  );
}

/** The view as the address has it. A change is a step that the back button undoes; a replacement is none. */
function useView(): [View, (view: View) => void, (view: View) => void] {
  const [view, setView] = useState(() => readView(location.search));
  useEffect(() => {
    const back = () => setView(readView(location.search));
    addEventListener('popstate', back);
    return () => removeEventListener('popstate', back);
  }, []);
  const go = (next: View) => {
    history.pushState(null, '', writeView(next));
    setView(next);
  };
  const replace = (next: View) => {
    history.replaceState(null, '', writeView(next));
    setView(next);
  };
  return [view, go, replace];
}

function useFeedState() {
  const [state, setState] = useState(feed.state);
  useEffect(() => feed.watch(() => setState(feed.state())), []);
  return state;
}
