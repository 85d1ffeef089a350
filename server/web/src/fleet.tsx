// Gateways and their devices: who is there, who is not well, and why. And a search over everything.

import { useMemo } from 'preact/hooks';

import * as api from './api.ts';
import { feed } from './feed.ts';
import { ago, bytes, counted, duration, labelText, reading, share, withUnit } from './format.ts';
import { useLatest } from './latest.ts';
import { Go } from './link.tsx';
import { useNow } from './look.ts';
import { usePoll } from './poll.ts';
import { Quality } from './quality.tsx';
import { toDevice, toExplore, type View } from './view.ts';

/** Points found that are listed; more of them mean that the words are too few. */
const MAX_FOUND = 50;
/** A clock that is further off says wrong times. */
const CLOCK_OFF_MS = 2000;
/** Devices of one gateway that are shown before a click. */
const MAX_DEVICES = 100;

interface Props {
  view: View;
  setView: (view: View) => void;
  /** Changes the words without a step for the back button. */
  search: (q: string) => void;
  gateways: api.Gateway[];
  devices: api.Device[];
}

export function Fleet({ view, setView, search, gateways, devices }: Props) {
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const found = useMemo(() => devices.filter((d) => matches(deviceText(d), words)), [devices, view.q]);
  const shown = gateways.filter((g) => words.length === 0 || matches(g.name, words) || found.some((d) => d.gateway === g.name));
  return (
    <main class="page" data-page="fleet">
      <h1 class="sr">Fleet</h1>
      <label class="search wide">
        <span class="sr">Search gateways, devices and points</span>
        <input type="search" placeholder="Search everything, e.g. voltage plant7" value={view.q} onInput={(e) => search(e.currentTarget.value)} />
      </label>
      {shown.map((g) => (
        <GatewayCard key={g.name} gateway={g} devices={words.length && !matches(g.name, words) ? found.filter((d) => d.gateway === g.name) : devices.filter((d) => d.gateway === g.name)} view={view} setView={setView} />
      ))}
      {words.length > 0 && <Found view={view} setView={setView} nothing={shown.length === 0} />}
    </main>
  );
}

const deviceText = (d: api.Device) => [d.gateway, d.name, d.profile, d.profile_name, labelText(d.labels), d.health?.quality, d.health?.reason].join('\n');

const matches = (text: string, words: string[]) => words.every((word) => text.toLowerCase().includes(word));

interface CardProps {
  gateway: api.Gateway;
  devices: api.Device[];
  view: View;
  setView: (view: View) => void;
}

function GatewayCard({ gateway: g, devices, view, setView }: CardProps) {
  const all = view.q !== '' ? devices : devices.slice(0, MAX_DEVICES);
  return (
    <section class="card gateway" data-gateway={g.name} aria-label={`Gateway ${g.name}`}>
      <div class="gateway-head">
        <h2>{g.name}</h2>
        <span class={`pill ${g.online ? 'on' : 'off'}`}>{g.online ? '● online' : '○ offline'}</span>
        <Figures gateway={g} devices={devices} />
      </div>
      {g.warnings.length > 0 && (
        <ul class="trouble" aria-label={`Warnings of ${g.name}`}>
          {g.warnings.map((w) => <li key={w.text} class="warn" data-trouble={w.about}><span aria-hidden="true">▲ </span>{w.text}</li>)}
        </ul>
      )}
      {devices.length === 0 && <p class="quiet">It has sent no points yet.</p>}
      {devices.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Devices of ${g.name}`}>
          <table class="devices">
            <thead>
              <tr>
                <th scope="col">Device</th><th scope="col">Health</th><th scope="col">Errors</th><th scope="col" title="99 of 100 polls began at most so late">Late</th>
                <th scope="col" title="99 of 100 answers took at most so long">Answers in</th><th scope="col" title="So long it is waited for at present">Timeout</th>
                <th scope="col" title="What went wrong on the way to it, by name">Misses</th><th scope="col">Points</th>
              </tr>
            </thead>
            <tbody>{all.map((d) => <DeviceRow key={d.name} device={d} view={view} setView={setView} />)}</tbody>
          </table>
        </div>
      )}
      {all.length < devices.length && <p class="quiet">The first {all.length} of {counted(devices.length, 'device')}. Search to find the others.</p>}
    </section>
  );
}

function Figures({ gateway: g, devices }: { gateway: api.Gateway; devices: api.Device[] }) {
  const now = useNow(5000, feed.now);
  const polls = devices.reduce((n, d) => n + (d.health?.polls ?? 0), 0);
  const failures = devices.reduce((n, d) => n + (d.health?.failures ?? 0), 0);
  const rejects = Object.values(g.received.rejects).reduce((a, b) => a + b, 0);
  const off = g.clock && Math.abs(g.clock.offset) > CLOCK_OFF_MS;
  return (
    <dl class="figures">
      <Figure name="Last seen" value={g.last_seen === null ? 'not since the server started' : ago(g.last_seen, now)} warn={!g.online} />
      <Figure name="Backlog" value={g.buffer_batches === null ? '–' : g.buffer_batches === 0 ? 'none' : `${counted(g.buffer_batches, 'batch', 'batches')}, ${bytes(g.buffer_bytes ?? 0)}`} />
      <Figure name="Error rate" value={share(failures, polls)} warn={polls > 0 && failures / polls > 0.01} />
      <Figure name="Clock" value={g.clock ? `${g.clock.offset > 0 ? 'behind' : 'ahead'} by ${duration(Math.abs(g.clock.offset))}, ${g.clock.source === 'none' ? 'not trusted yet' : `by ${g.clock.source}`}` : '–'} warn={off === true} />
      <Figure name="Version" value={g.version ?? '–'} />
      {(g.dropped_readings ?? 0) > 0 && <Figure name="Dropped" value={`▲ ${counted(g.dropped_readings ?? 0, 'reading')}`} warn />}
      {rejects > 0 && <Figure name="Refused" value={counted(rejects, 'message')} warn />}
      {g.written_bytes_per_day !== null && <Figure name="Writes" value={`${bytes(g.written_bytes_per_day)} a day`} />}
    </dl>
  );
}

function Figure({ name, value, warn = false }: { name: string; value: string; warn?: boolean }) {
  return <div><dt>{name}</dt><dd class={warn ? 'warn' : ''}>{value}</dd></div>;
}

function DeviceRow({ device: d, view, setView }: { device: api.Device; view: View; setView: (view: View) => void }) {
  const h = d.health;
  const ms = (n: number | null | undefined) => (n === null || n === undefined ? '–' : duration(n));
  const misses = Object.entries(h?.misses ?? {}).map(([name, n]) => `${name} ×${n.toLocaleString()}`).join(', ');
  const labels = labelText(d.labels);
  return (
    <tr class="device" data-device={d.name}>
      <th scope="row"><Go view={toDevice(view, d.gateway, d.name)} setView={setView}>{d.name}</Go><small> {d.profile_name}{labels && ` · ${labels}`}</small></th>
      <td>{h ? <><Quality quality={h.quality} reason={h.reason} word />{h.quality === 'good' && <span aria-hidden="true"> good</span>}</> : '–'}</td>
      <td>{h ? share(h.failures, h.polls) : '–'}{h && h.skipped > 0 && <small> {h.skipped.toLocaleString()} left out</small>}</td>
      <td>{ms(h?.late_p99)}</td>
      <td>{ms(h?.latency_p99)}</td>
      <td>{ms(h?.timeout)}</td>
      <td class="misses">{misses || '–'}</td>
      <td>{d.series}</td>
    </tr>
  );
}

/** Points that match, of all devices. */
function Found({ view, setView, nothing }: { view: View; setView: (view: View) => void; nothing: boolean }) {
  const asked = usePoll(view.q, 60_000, async (signal) => ({ q: view.q, ...(await api.found(view.q, MAX_FOUND, signal)) }));
  const current = asked.data?.q === view.q ? asked.data : null;
  const series = current?.series ?? [];
  const latest = useLatest(series.map((s) => s.id));
  if (!current) return <p class="quiet">{asked.error ?? 'Searching…'}</p>;
  if (series.length === 0) return nothing ? <p class="quiet">Nothing matches “{view.q}”.</p> : null;
  return (
    <section class="card" aria-label="Points found">
      <h2>{counted(current.total, 'point')}{current.total > series.length && `, the first ${series.length}`}</h2>
      <ul class="found">
        {series.map((s) => {
          const last = latest.values.get(s.id);
          const shown = reading(s, last);
          return (
            <li key={s.id} data-found={s.id}>
              <Go view={toExplore(view, [s.id])} setView={setView}>{s.name}</Go>
              <span class="quiet"><Go view={toDevice(view, s.gateway, s.device)} setView={setView}>{s.device}</Go> · {s.gateway}</span>
              <span class="value">
                {last?.quality && last.quality !== 'good' && <Quality quality={last.quality} reason={last.reason} word />}
                {last?.quality !== 'bad' && withUnit(shown.text, shown.symbol)}
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
