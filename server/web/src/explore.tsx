// Any points on one chart: what there is on the left, what was chosen on the right.

import { useContext, useMemo, useState } from 'preact/hooks';

import * as api from './api.ts';
import { Card } from './card.tsx';
import { counted } from './format.ts';
import { Star } from './kept.tsx';
import { useLatest } from './latest.ts';
import { List } from './list.tsx';
import { usePoll, useSettled } from './poll.ts';
import { SaveAs } from './saveas.tsx';
import { may, SessionOf } from './session.ts';
import { SpanBar } from './spanbar.tsx';
import { toggled, type View } from './view.ts';
import { Line } from './welcome.tsx';

const SEARCH_MS = 150;
const SUGGESTIONS = 6;
const NONE = new Map<number, api.Series>();

interface Props {
  view: View;
  setView: (view: View) => void;
  gateways: api.Gateway[] | null;
  devices: api.Device[];
}

export function Explore({ view, setView, gateways, devices }: Props) {
  const [search, setSearch] = useState('');
  const wanted = useSettled(search.trim(), SEARCH_MS);
  const [shown, setShown] = useState<number[]>([]);
  const [naming, setNaming] = useState(false);
  const changes = may(useContext(SessionOf), 'operator');
  // A new device, point or profile changes this, and only then is the long list asked for again.
  const known = devices.map((d) => `${d.gateway}/${d.name}/${d.profile}/${d.series}`).join('\n');
  const listed = usePoll(`${wanted}\n${known}`, 60_000, (signal) => api.series(wanted, signal));
  const asked = usePoll(`${view.series.join()}\n${known}`, 60_000, (signal) => api.byId(view.series, signal));
  const chosen = useMemo(() => asked.data && new Map(asked.data.map((s) => [s.id, s])), [asked.data]);
  const ids = useMemo(() => {
    const charted = view.series.filter((id) => chosen?.has(id));
    return [...new Set([...charted, ...shown])].sort((a, b) => a - b);
  }, [view.series, chosen, shown]);
  const latest = useLatest(ids);
  const error = listed.error ?? asked.error ?? latest.error;
  return (
    <main class="two" data-page="explore">
      <nav class="list" aria-label="Gateways, devices and points">
        <label class="search">
          <span class="sr">Search gateways, devices and points</span>
          <input type="search" placeholder="Search, e.g. voltage plant7" value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
        </label>
        <List
          gateways={gateways ?? []}
          devices={devices}
          series={listed.data?.series ?? []}
          total={listed.data?.total ?? 0}
          loaded={listed.data !== null && gateways !== null}
          search={wanted}
          latest={latest.values}
          view={view}
          setView={setView}
          onShown={setShown}
        />
      </nav>
      <section class="panel" aria-label="Chart of the chosen points">
        <SpanBar view={view} setView={setView} />
        {error && <p class="banner" role="alert">{error}</p>}
        {view.series.length === 0 ? (
          <Choose view={view} setView={setView} suggestions={listed.data?.series ?? []} />
        ) : (
          <>
          <Card
            title={title(view, chosen ?? NONE)} ids={view.series} series={chosen ?? NONE} known={chosen !== null} latest={latest.values}
            view={view} setView={setView} height={380} level={1} onRemove={(id) => setView(toggled(view, id))}
            tools={<><Star title={title(view, chosen ?? NONE)} view={view} />{changes && <button type="button" aria-expanded={naming} onClick={() => setNaming(!naming)}>Save as…</button>}</>}
          />
          {changes && naming && chosen && <SaveAs key={view.series.join()} title={title(view, chosen)} series={view.series.map((id) => chosen.get(id)).filter((s) => s !== undefined)} view={view} setView={setView} />}
          </>
        )}
      </section>
    </main>
  );
}

function title(view: View, series: Map<number, api.Series>): string {
  const known = view.series.map((id) => series.get(id)).filter((s) => s !== undefined);
  const [first] = known;
  if (!first) return 'Chart';
  if (known.length === 1) return `${first.device} · ${first.name}`;
  if (known.every((s) => s.device === first.device && s.gateway === first.gateway)) return first.device;
  return counted(view.series.length, 'series', 'series');
}

function Choose({ view, setView, suggestions }: { view: View; setView: (view: View) => void; suggestions: api.Series[] }) {
  const some = suggestions.filter((s) => s.kind === 'gauge' && s.unit !== '').slice(0, SUGGESTIONS);
  return (
    <div class="card choose">
      <Line />
      <h1>Choose a point to see its chart</h1>
      <p class="quiet">Click one in the list; click more to lay them over each other, each unit with a scale of its own.</p>
      <p class="chips">
        {some.map((s) => (
          <button type="button" key={s.id} onClick={() => setView(toggled(view, s.id))}>{s.device} · {s.name}</button>
        ))}
      </p>
    </div>
  );
}
