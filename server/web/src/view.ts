// What the page shows, as the address says it: `?series=3,7&from=now-1h`. Pure.

export const RANGES = ['15m', '1h', '6h', '24h', '7d', '30d'] as const;

/** A window of time: each end ms since 1970, `now`, or `now-15m`. */
export interface Span {
  from: string;
  to: string;
}

/** Whose clock: the reader's, the plant's, or UTC. */
export const ZONES = ['browser', 'site', 'utc'] as const;
export type ZoneChoice = (typeof ZONES)[number];

/** How counters are drawn: as rates, as what they stood at, or as consumption in periods. */
export const COUNTERS = ['rate', 'total', 'hour', 'day', 'month'] as const;
export type CounterMode = (typeof COUNTERS)[number];

export type Page = 'fleet' | 'device' | 'explore' | 'dashboards' | 'dashboard' | 'favourites';

export interface View {
  page: Page;
  /** Of the device page. */
  gateway: string;
  device: string;
  /** Ids on the explore page, in the order in which they were chosen. */
  series: number[];
  span: Span;
  zone: ZoneChoice;
  /** Null for what suits the chart. */
  counter: CounterMode | null;
  /** Name of a dashboard, and what was chosen of its variables. */
  dashboard: string;
  vars: Record<string, string>;
  /** The dashboard is being changed. */
  edit: boolean;
  /** Numbers in place of drawings. */
  table: boolean;
  /** Words to search for. */
  q: string;
}

/** Most series on one chart: more cannot be told apart. */
export const MAX_CHARTED = 12;

/** The shortest window: a few readings of a fast device. */
export const MIN_SPAN_MS = 5000;

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const MAX_TIME_MS = 253_402_300_799_999;

export const last = (range: string): Span => ({ from: `now-${range}`, to: 'now' });

/** Where the address says none. One that was chosen is another object, even if it says the same. */
export const DEFAULT = last('15m');

/** Ms since 1970 of one end; null for what is no time. */
function end(text: string, now: number): number | null {
  if (/^\d{1,15}$/.test(text)) return Number(text) <= MAX_TIME_MS ? Number(text) : null;
  const found = /^now(?:-(\d{1,9})([smhdw]))?$/.exec(text);
  if (!found) return null;
  return now - Number(found[1] ?? 0) * (UNIT_MS[found[2] ?? 's'] ?? 0);
}

/** Both ends in ms, as of now. */
export function resolved(span: Span, now: number): [number, number] {
  return [end(span.from, now) ?? now - 900_000, end(span.to, now) ?? now];
}

/** Whether it moves on with the time. */
export const isLive = (span: Span): boolean => span.to === 'now';

/** `15m` of the last 15 minutes; null for other windows. */
export function rangeOf(span: Span): string | null {
  return isLive(span) ? (/^now-(\w+)$/.exec(span.from)?.[1] ?? null) : null;
}

/** A window with fixed ends, never too short. */
export function fixed(from: number, to: number): Span {
  const [lo, hi] = [Math.min(from, to), Math.max(from, to)];
  const middle = (lo + hi) / 2;
  const half = Math.max(MIN_SPAN_MS, hi - lo) / 2;
  return { from: String(Math.max(0, Math.round(middle - half))), to: String(Math.min(MAX_TIME_MS, Math.round(middle + half))) };
}

/** The same window, but it no longer moves on. */
export const pinned = (span: Span, now: number): Span => fixed(...resolved(span, now));

/** Half a window earlier or later; one that would reach past now ends there. */
export function shifted(span: Span, now: number, steps: -1 | 1): Span {
  const [from, to] = resolved(span, now);
  const by = Math.min(((to - from) / 2) * steps, Math.max(0, now - to));
  return fixed(from + by, to + by);
}

/** Twice as long, around the middle; a window that ends now goes on to end now. */
export function widened(span: Span, now: number): Span {
  const [from, to] = resolved(span, now);
  const length = to - from;
  if (isLive(span)) return { from: `now-${Math.round((length * 2) / 1000)}s`, to: 'now' };
  const hi = Math.min(Math.max(now, to), to + length / 2);
  return fixed(Math.max(0, hi - length * 2), hi);
}

function readSpan(params: URLSearchParams): Span {
  if (!params.has('from') && !params.has('to')) return DEFAULT;
  const span = { from: params.get('from') ?? DEFAULT.from, to: params.get('to') ?? DEFAULT.to };
  const now = 1e12;
  const [from, to] = [end(span.from, now), end(span.to, now)];
  const mixed = span.from.startsWith('now') !== span.to.startsWith('now');
  return from !== null && to !== null && (mixed || from < to) ? span : DEFAULT;
}

const known = <T extends string>(all: readonly T[], text: string | null): T | null => all.find((one) => one === text) ?? null;

const VAR = 'var.';
const MAX_VARS = 8;

export function readView(query: string): View {
  const params = new URLSearchParams(query);
  const ids = (params.get('series') ?? '').split(',').map(Number);
  const valid = ids.filter((id) => Number.isSafeInteger(id) && id > 0 && id < 2 ** 32);
  const series = [...new Set(valid)].slice(0, MAX_CHARTED);
  const [gateway, device, dashboard] = [params.get('gateway') ?? '', params.get('device') ?? '', params.get('dashboard') ?? ''];
  const named = known(['explore', 'dashboards', 'favourites'] as const, params.get('page'));
  const page = dashboard ? 'dashboard' : gateway && device ? 'device' : series.length ? 'explore' : (named ?? 'fleet');
  const vars = [...params].filter(([key]) => key.startsWith(VAR)).slice(0, MAX_VARS).map(([key, value]) => [key.slice(VAR.length), value]);
  return {
    page,
    gateway: page === 'device' ? gateway : '',
    device: page === 'device' ? device : '',
    series: page === 'explore' ? series : [],
    span: readSpan(params),
    zone: known(ZONES, params.get('tz')) ?? 'browser',
    counter: known(COUNTERS, params.get('counter')),
    dashboard,
    vars: page === 'dashboard' ? Object.fromEntries(vars) : {},
    edit: page === 'dashboard' && params.has('edit'),
    table: params.get('view') === 'table',
    q: params.get('q') ?? '',
  };
}

export function writeView(view: View): string {
  const params = new URLSearchParams();
  if (['dashboards', 'favourites'].includes(view.page) || (view.page === 'explore' && view.series.length === 0)) params.set('page', view.page);
  if (view.page === 'dashboard') params.set('dashboard', view.dashboard);
  if (view.page === 'device') {
    params.set('gateway', view.gateway);
    params.set('device', view.device);
  }
  for (const [name, value] of Object.entries(view.vars)) params.set(VAR + name, value);
  if (view.series.length) params.set('series', view.series.join());
  if (view.q) params.set('q', view.q);
  // A dashboard may have a window of its own, over which a choice has to be told.
  const told = view.page === 'dashboard' && view.span !== DEFAULT;
  if (told || view.span.from !== DEFAULT.from) params.set('from', view.span.from);
  if (told || view.span.to !== DEFAULT.to) params.set('to', view.span.to);
  if (view.zone !== 'browser') params.set('tz', view.zone);
  if (view.counter) params.set('counter', view.counter);
  if (view.table) params.set('view', 'table');
  if (view.edit) params.set('edit', '');
  return `?${params.toString().replaceAll('%2C', ',')}`;
}

export const toFleet = (view: View): View => ({ ...view, page: 'fleet', gateway: '', device: '', series: [], q: '', dashboard: '', vars: {}, edit: false });
export const toPage = (view: View, page: 'dashboards' | 'favourites'): View => ({ ...toFleet(view), page });
export const toDashboard = (view: View, dashboard: string): View => ({ ...toFleet(view), page: 'dashboard', dashboard, span: DEFAULT });
export const toDevice = (view: View, gateway: string, device: string): View => ({ ...toFleet(view), page: 'device', gateway, device });
export const toExplore = (view: View, series: number[]): View => ({ ...toFleet(view), page: 'explore', series: series.slice(0, MAX_CHARTED) });

/** Adds a series, or takes it away if it is there. A full chart gives up its oldest. */
export function toggled(view: View, id: number): View {
  if (view.series.includes(id)) return { ...view, series: view.series.filter((s) => s !== id) };
  return { ...view, series: [...view.series, id].slice(-MAX_CHARTED) };
}
