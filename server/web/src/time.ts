// Times as people read them, in the zone of the browser or in UTC. Pure but for the browser's zone and language.

import type { Zone } from './view.ts';

const two = (n: number) => String(n).padStart(2, '0');

export interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

export function parts(ms: number, zone: Zone): Parts {
  const d = new Date(ms);
  return zone === 'utc'
    ? { year: d.getUTCFullYear(), month: d.getUTCMonth() + 1, day: d.getUTCDate(), hour: d.getUTCHours(), minute: d.getUTCMinutes(), second: d.getUTCSeconds() }
    : { year: d.getFullYear(), month: d.getMonth() + 1, day: d.getDate(), hour: d.getHours(), minute: d.getMinutes(), second: d.getSeconds() };
}

export function clock(ms: number, zone: Zone, seconds = true): string {
  const p = parts(ms, zone);
  return `${two(p.hour)}:${two(p.minute)}${seconds ? `:${two(p.second)}` : ''}`;
}

/** Date and time, the same length everywhere. */
export function stamp(ms: number, zone: Zone): string {
  const p = parts(ms, zone);
  return `${p.year}-${two(p.month)}-${two(p.day)} ${clock(ms, zone)}`;
}

/** Minutes by which the zone is ahead of UTC at that time. */
export const offset = (ms: number, zone: Zone): number => (zone === 'utc' ? 0 : -new Date(ms).getTimezoneOffset());

/** ISO 8601 with its offset, for programs. */
export function iso(ms: number, zone: Zone): string {
  const ahead = offset(ms, zone);
  const text = new Date(ms + ahead * 60_000).toISOString().slice(0, -1);
  const size = Math.abs(ahead);
  return ahead === 0 ? `${text}Z` : `${text}${ahead < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** As a `datetime-local` field has it. */
export function field(ms: number, zone: Zone): string {
  return stamp(ms, zone).replace(' ', 'T');
}

/** Ms since 1970 of such a field; null for what is none. */
export function fromField(text: string, zone: Zone): number | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text)) return null;
  const ms = Date.parse(zone === 'utc' ? `${text}Z` : text);
  return Number.isFinite(ms) && ms >= 0 ? ms : null;
}

/** The zone's name, with its offset where it has one. */
export function zoneName(zone: Zone): string {
  return zone === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone || 'local time';
}

/** Day and month. */
export function day(ms: number, zone: Zone): string {
  return new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', ...(zone === 'utc' ? { timeZone: 'UTC' } : {}) }).format(ms);
}
