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
  warnings: { about: string; text: string }[];
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
  /** What that is called in the reader's language. */
  profile_name: string;
  labels: Record<string, string>;
  series: number;
  health: Health | null;
}

export interface Series {
  id: number;
  gateway: string;
  device: string;
  point: string;
  /** What it is called in the reader's language; the point where that is not translated. */
  name: string;
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
  /** Some history could not be asked for right now. */
  partial?: boolean;
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

export interface Rates {
  from: number;
  to: number;
  t0: number;
  step_ms: number;
  rates: { id: number; min: (number | null)[]; max: (number | null)[]; avg: (number | null)[]; known: number[] }[];
  gaps: Gap[];
  gaps_left_out: number;
}

export interface Consumptions {
  from: number;
  to: number;
  zone: string;
  edges: number[];
  consumption: { id: number; total: (number | null)[]; at_least: number[] }[];
  gaps: Gap[];
  gaps_left_out: number;
}

/** What is wrong with a text, and where. */
export interface Problem {
  line: number;
  column: number;
  message: string;
}

export interface DashboardEntry {
  name: string;
  title: string;
  panels: number;
  problem: Problem | null;
}

export interface DashboardFile {
  name: string;
  tag: string;
  yaml: string;
  problem: Problem | null;
  panels: string[];
}

export interface Panel {
  place: number;
  title: string;
  type: 'chart' | 'stat' | 'state' | 'text';
  width: number;
  counter: 'rate' | 'total' | 'hour' | 'day' | 'month';
  text: string;
  series: Series[];
  left_out: number;
}

export interface Shown {
  name: string;
  title: string;
  range: string | null;
  variables: { name: string; value: string; values: string[] }[];
  panels: Panel[];
  left_out: number;
}

export interface Favourite {
  title: string;
  link: string;
}

export interface Favourites {
  revision: number;
  favourites: Favourite[];
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
export class Refused extends Error {
  constructor(
    message: string,
    readonly status = 0,
    /** Where in a text. */
    readonly at: Problem | null = null,
  ) {
    super(message);
  }
}

type Params = Record<string, string | number | boolean>;

async function answer<T>(path: string, init: RequestInit): Promise<T> {
  const response = await fetch(`api/v1/${path}`, init);
  if (response.status === 204) return undefined as T;
  if (response.ok) return (await response.json()) as T;
  // The session has ended: whoever asks for a login listens.
  if (response.status === 401) dispatchEvent(new Event('pattoo-login'));
  const body = (await response.json().catch(() => null)) as { error?: { message?: string; at?: Problem } } | null;
  throw new Refused(body?.error?.message ?? `${path}: ${response.status}`, response.status, body?.error?.at ?? null);
}

async function ask<T>(path: string, params: Params, signal?: AbortSignal): Promise<T> {
  const query = new URLSearchParams(Object.entries(params).map(([k, v]): [string, string] => [k, String(v)])).toString();
  return answer(`${path}${query && `?${query}`}`, { signal: signal ?? null });
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

export const rates = (ids: number[], from: End, to: End, points: number, signal?: AbortSignal) =>
  ask<Rates>('range', { series: ids.join(), from, to, points, counter: 'rate' }, signal);

export const consumption = (ids: number[], from: End, to: End, every: string, zone: string, signal?: AbortSignal) =>
  ask<Consumptions>('range', { series: ids.join(), from, to, counter: 'consumption', every, zone }, signal);

/** Where the exact readings of a window are as a file. */
export const exported = (ids: number[], from: End, to: End, zone: string) =>
  `api/v1/export.csv?${new URLSearchParams({ series: ids.join(), from: String(from), to: String(to), zone })}`;

export const site = (signal?: AbortSignal) => ask<{ zone: string | null }>('site', {}, signal);

export interface Languages {
  /** The reader's. */
  language: string;
  languages: { language: string; points: number; programs: number }[];
}

export const languages = (signal?: AbortSignal) => ask<Languages>('translations', {}, signal);

export const chooseLanguage = (language: string) =>
  answer<Languages>('language', { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ language }) });

export const dashboards = (signal?: AbortSignal) => ask<{ dashboards: DashboardEntry[]; folder: string; trouble: string | null }>('dashboards', {}, signal);

const at = (name: string) => `dashboards/${encodeURIComponent(name)}`;

export const shown = (name: string, vars: Record<string, string>, signal?: AbortSignal) =>
  ask<Shown>(`${at(name)}/shown`, Object.keys(vars).length ? { vars: JSON.stringify(vars) } : {}, signal);

export const dashboard = (name: string, signal?: AbortSignal) => ask<DashboardFile>(at(name), {}, signal);

/** Only over what has this tag; null for a new one. */
const over = (tag: string | null): HeadersInit => (tag === null ? { 'if-none-match': '*' } : { 'if-match': `"${tag}"` });

export const save = (name: string, yaml: string, tag: string | null) => answer<DashboardFile>(at(name), { method: 'PUT', headers: over(tag), body: yaml });

/** What is wrong with a text; nothing is kept. */
export const check = (name: string, yaml: string, signal: AbortSignal) => answer<DashboardFile>(`${at(name)}?check=true`, { method: 'PUT', body: yaml, signal });

export type Change = { add: string } | { remove: number } | { rename: { place: number; title: string } };

export const change = (name: string, tag: string, what: Change) => answer<DashboardFile>(at(name), { method: 'PATCH', headers: over(tag), body: JSON.stringify(what) });

export const remove = (name: string, tag: string) => answer<void>(at(name), { method: 'DELETE', headers: over(tag) });

export const favourites = (signal?: AbortSignal) => ask<Favourites>('favourites', {}, signal);

export const keep = (list: Favourites) => answer<Favourites>('favourites', { method: 'PUT', body: JSON.stringify(list) });
