// Numbers, times and durations as people read them. Pure but for the language and time zone of the browser.

import type { Latest, Series } from './api.ts';

/** Digits that a float of many is shortened to; the whole one is one hover away. */
const SIGNIFICANT = 7;

/** From here on, a rounded number would show zeros that nobody measured. */
const LONG = 1e9;

const EMPTY = '–';

/** A number given as its exact digits: an integer keeps all of them, `230.10` its zero. */
export function digits(text: string, locale?: string): string {
  const found = /^-?\d+(?:\.(\d+))?$/.exec(text);
  if (!found) return text;
  const decimals = found[1]?.length ?? 0;
  const long = decimals > 0 && text.replace(/^-?0*\.?0*/, '').replace('.', '').length > SIGNIFICANT;
  const shape = long ? { maximumSignificantDigits: SIGNIFICANT } : { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  // Intl takes decimal strings and rounds none of their digits away; its types do not know yet.
  return new Intl.NumberFormat(locale, shape).format(text as unknown as number);
}

/** A computed number, such as an average. */
export function number(value: number | null | undefined, locale?: string): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return EMPTY;
  const notation = Math.abs(value) >= LONG ? 'scientific' : 'standard';
  return new Intl.NumberFormat(locale, { maximumSignificantDigits: 6, notation }).format(value);
}

/** The text of a state, or what stands for it. */
export function state(series: Series, value: number | boolean | string): string {
  const key = typeof value === 'boolean' ? String(Number(value)) : String(value);
  return series.states[key] ?? (typeof value === 'boolean' ? (value ? 'on' : 'off') : key);
}

/** The latest value without its unit. */
export function latestText(series: Series, latest: Latest | undefined, locale?: string): string {
  if (!latest || latest.text === null) return EMPTY;
  if (typeof latest.v === 'boolean' || (series.kind === 'state' && latest.v !== null)) return state(series, latest.v);
  return typeof latest.v === 'number' ? digits(latest.text, locale) : latest.text;
}

const UNITS: [number, string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
];

/** `1.5 s`, `2 min`, `3 h`. */
export function duration(ms: number): string {
  const [size, unit] = UNITS.find(([size]) => ms >= size) ?? [1, 'ms'];
  const value = ms / size;
  return `${Number(value.toPrecision(value >= 100 ? 3 : 2))} ${unit}`;
}

/** How long ago, coarsely: what changes every second is not worth reading. */
export function ago(then: number, now: number): string {
  const ms = now - then;
  if (ms < 5000) return 'now';
  const [size, unit] = UNITS.find(([size]) => ms >= size) ?? [1000, 's'];
  return `${Math.floor(ms / size)} ${unit} ago`;
}

const two = (n: number) => String(n).padStart(2, '0');

export function clock(ms: number, seconds = true): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}${seconds ? `:${two(d.getSeconds())}` : ''}`;
}

/** Date and time, the same length everywhere. */
export function stamp(ms: number): string {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)}`;
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i += 1;
  }
  return `${Number(n.toPrecision(n >= 1000 ? 4 : 3))} ${units[i]}`;
}

export function counted(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}
