// What the server answers, and how to ask it.

export interface Gateway {
  name: string;
  online: boolean;
  last_seen: number | null;
  version: string | null;
  buffer_batches: number | null;
  buffer_bytes: number | null;
  dropped_readings: number | null;
  written_bytes_per_day: number | null;
  clock: { offset: number; source: string; at: number } | null;
  received: { batches: number; readings: number; replays: number; changed: number; rejects: Record<string, number> };
}

export type Quality = 'good' | 'uncertain' | 'bad';

export interface Health {
  quality: Quality;
  reason: string | null;
  polls: number;
  failures: number;
  skipped: number;
  late_p99: number | null;
  latency_p99: number | null;
  timeout: number | null;
  misses: Record<string, number>;
}

export interface Device {
  name: string;
  gateway: string;
  profile: string;
  labels: Record<string, string>;
  series: number;
  health: Health | null;
}

export interface Series {
  id: number;
  gateway: string;
  device: string;
  point: string;
  unit: string;
  kind: 'gauge' | 'counter' | 'state' | 'text';
  labels: Record<string, string>;
  states: Record<string, string>;
}

export interface Latest {
  id: number;
  t: number | null;
  v: number | boolean | string | null;
  text: string | null;
  quality: Quality | null;
  reason: string | null;
}

export interface Gap {
  gateway: string;
  from: number;
  to: number;
  reason: string;
  readings: number;
  /** False where only the gateway's clock was set. */
  missing: boolean;
}

export interface Columns {
  id: number;
  min: (number | null)[];
  max: (number | null)[];
  avg: (number | null)[];
  last: (number | null)[];
  count: number[];
  uncertain: number[];
  bad: number[];
}

export interface Buckets {
  from: number;
  to: number;
  t0: number;
  step_ms: number;
  series: Columns[];
  gaps: Gap[];
  gaps_left_out: number;
}

export interface RawColumns {
  id: number;
  t: number[];
  v: (number | boolean | string | null)[];
  q: Quality[];
  reason: (string | null)[];
}

/** New readings of one series. */
export interface News extends RawColumns {
  /** The value of the last one with all its digits. */
  text: string | null;
}

export interface Raw {
  from: number;
  to: number;
  series: RawColumns[];
  truncated: boolean;
  gaps: Gap[];
  gaps_left_out: number;
}

/** An answer of the server that says no. Anything else that fails means that it cannot be reached. */
export class Refused extends Error {}

type Params = Record<string, string | number | boolean>;

async function ask<T>(path: string, params: Params, signal?: AbortSignal): Promise<T> {
  const query = new URLSearchParams(Object.entries(params).map(([k, v]): [string, string] => [k, String(v)])).toString();
  const response = await fetch(`api/v1/${path}${query && `?${query}`}`, { signal });
  if (response.ok) return (await response.json()) as T;
  // The session has ended: whoever asks for a login listens.
  if (response.status === 401) dispatchEvent(new Event('pattoo-login'));
  const body = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
  throw new Refused(body?.error?.message ?? `${path}: ${response.status}`);
}

export const gateways = async (signal?: AbortSignal) => (await ask<{ gateways: Gateway[] }>('gateways', {}, signal)).gateways;

export const devices = async (signal?: AbortSignal) => (await ask<{ devices: Device[] }>('devices', {}, signal)).devices;

/** Most series that the list shows; a search finds the others. */
export const MAX_LISTED = 5000;

const PAGE = 1000;

/** Series that have all words of `q`; of very many only the first. */
export async function series(q: string, signal?: AbortSignal): Promise<{ total: number; series: Series[] }> {
  const found: Series[] = [];
  for (;;) {
    const params: Params = { limit: PAGE, offset: found.length, ...(q ? { q } : {}) };
    const page = await ask<{ total: number; series: Series[] }>('series', params, signal);
    found.push(...page.series);
    if (found.length >= Math.min(page.total, MAX_LISTED) || page.series.length === 0) return { total: page.total, series: found };
  }
}

/** The first few series that have all words of `q`. */
export const found = (q: string, limit: number, signal?: AbortSignal) => ask<{ total: number; series: Series[] }>('series', { q, limit }, signal);

/** Those of these ids that exist. */
export async function byId(ids: number[], signal?: AbortSignal): Promise<Series[]> {
  if (ids.length === 0) return [];
  return (await ask<{ series: Series[] }>('series', { series: ids.join(), limit: PAGE }, signal)).series;
}

/** Most series that one request for latest values may name. */
export const MAX_LATEST = 1000;

export async function latest(ids: number[], signal?: AbortSignal): Promise<Map<number, Latest>> {
  if (ids.length === 0) return new Map();
  const answer = await ask<{ latest: Latest[] }>('latest', { series: ids.slice(0, MAX_LATEST).join() }, signal);
  return new Map(answer.latest.map((l) => [l.id, l]));
}

/** All series of one device, whatever their number. */
export async function ofDevice(gateway: string, device: string, signal?: AbortSignal): Promise<Series[]> {
  const found: Series[] = [];
  for (;;) {
    const page = await ask<{ total: number; series: Series[] }>('series', { gateway, device, limit: PAGE, offset: found.length }, signal);
    found.push(...page.series);
    if (found.length >= Math.min(page.total, MAX_LISTED) || page.series.length === 0) return found;
  }
}

/** An end of a window: ms since 1970, `now` or `now-15m`. */
type End = string | number;

export const buckets = (ids: number[], from: End, to: End, points: number, signal?: AbortSignal) =>
  ask<Buckets>('range', { series: ids.join(), from, to, points }, signal);

export const raw = (ids: number[], from: End, to: End, signal?: AbortSignal) =>
  ask<Raw>('range', { series: ids.join(), from, to, raw: true }, signal);
