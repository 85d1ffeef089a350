// What the page shows, as the address says it: `?series=3,7&from=now-1h`. Pure.

export const RANGES = ['15m', '1h', '6h', '24h', '7d', '30d'] as const;

/** A window of time: each end ms since 1970, `now`, or `now-15m`. */
export interface Span {
  from: string;
  to: string;
}

export type Zone = 'browser' | 'utc';

export type Page = 'fleet' | 'device' | 'explore';

export interface View {
  page: Page;
  /** Of the device page. */
  gateway: string;
  device: string;
  /** Ids on the explore page, in the order in which they were chosen. */
  series: number[];
  span: Span;
  zone: Zone;
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

const DEFAULT = last('15m');

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
  const span = { from: params.get('from') ?? DEFAULT.from, to: params.get('to') ?? DEFAULT.to };
  const now = 1e12;
  const [from, to] = [end(span.from, now), end(span.to, now)];
  const mixed = span.from.startsWith('now') !== span.to.startsWith('now');
  return from !== null && to !== null && (mixed || from < to) ? span : DEFAULT;
}

export function readView(query: string): View {
  const params = new URLSearchParams(query);
  const ids = (params.get('series') ?? '').split(',').map(Number);
  const valid = ids.filter((id) => Number.isSafeInteger(id) && id > 0 && id < 2 ** 32);
  const series = [...new Set(valid)].slice(0, MAX_CHARTED);
  const [gateway, device] = [params.get('gateway') ?? '', params.get('device') ?? ''];
  const page = gateway && device ? 'device' : series.length || params.get('page') === 'explore' ? 'explore' : 'fleet';
  return {
    page,
    gateway: page === 'device' ? gateway : '',
    device: page === 'device' ? device : '',
    series: page === 'explore' ? series : [],
    span: readSpan(params),
    zone: params.get('tz') === 'utc' ? 'utc' : 'browser',
    table: params.get('view') === 'table',
    q: params.get('q') ?? '',
  };
}

export function writeView(view: View): string {
  const params = new URLSearchParams();
  if (view.page === 'explore' && view.series.length === 0) params.set('page', 'explore');
  if (view.page === 'device') {
    params.set('gateway', view.gateway);
    params.set('device', view.device);
  }
  if (view.series.length) params.set('series', view.series.join());
  if (view.q) params.set('q', view.q);
  if (view.span.from !== DEFAULT.from) params.set('from', view.span.from);
  if (view.span.to !== DEFAULT.to) params.set('to', view.span.to);
  if (view.zone === 'utc') params.set('tz', 'utc');
  if (view.table) params.set('view', 'table');
  return `?${params.toString().replaceAll('%2C', ',')}`;
}

export const toFleet = (view: View): View => ({ ...view, page: 'fleet', gateway: '', device: '', series: [], q: '' });
export const toDevice = (view: View, gateway: string, device: string): View => ({ ...toFleet(view), page: 'device', gateway, device });
export const toExplore = (view: View, series: number[]): View => ({ ...toFleet(view), page: 'explore', series: series.slice(0, MAX_CHARTED) });

/** Adds a series, or takes it away if it is there. A full chart gives up its oldest. */
export function toggled(view: View, id: number): View {
  if (view.series.includes(id)) return { ...view, series: view.series.filter((s) => s !== id) };
  return { ...view, series: [...view.series, id].slice(-MAX_CHARTED) };
}
