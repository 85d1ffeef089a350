// Numbers and durations as people read them. Pure but for the language of the browser.

import type { Latest, Series } from './api.ts';
import { isBytes, scaleFor, type Scale } from './units.ts';

/** Digits that a float of many is shortened to; the whole one is one hover away. */
const SIGNIFICANT = 7;

/** Digits of a number that was computed. */
const COMPUTED = 5;

/** From here on, a rounded number would show zeros that nobody measured. */
const LONG = 1e9;

export const EMPTY = '–';

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
  return new Intl.NumberFormat(locale, { maximumSignificantDigits: COMPUTED, notation }).format(value);
}

/** A computed number in a scale, with its unit. */
export function scaled(value: number | null | undefined, scale: Scale, locale?: string): string {
  if (value === null || value === undefined) return EMPTY;
  return withUnit(number(value * scale.factor, locale), scale.symbol);
}

export const withUnit = (text: string, symbol: string): string => (symbol && text !== EMPTY ? `${text} ${symbol}` : text);

/** The text of a state, or what stands for it. */
export function state(series: Series, value: number | boolean | string): string {
  const key = typeof value === 'boolean' ? String(Number(value)) : String(value);
  return series.states[key] ?? (typeof value === 'boolean' ? (value ? 'on' : 'off') : key);
}

export interface Shown {
  text: string;
  symbol: string;
}

/** The latest value and its unit. What a meter counts keeps its digits and its unit; bytes and times do not have to. */
export function reading(series: Series, latest: Latest | undefined, locale?: string): Shown {
  if (!latest || latest.text === null) return { text: EMPTY, symbol: '' };
  if (typeof latest.v === 'boolean' || (series.kind === 'state' && latest.v !== null)) return { text: state(series, latest.v), symbol: '' };
  if (typeof latest.v !== 'number') return { text: latest.text, symbol: series.unit === '1' ? '' : series.unit };
  const scale = scaleFor(series.unit, latest.v);
  const exact = scale.factor === 1 || (series.kind === 'counter' && !isBytes(series.unit) && series.unit !== 's');
  if (!exact) return { text: number(Number((latest.v * scale.factor).toPrecision(4)), locale), symbol: scale.symbol };
  return { text: digits(latest.text, locale), symbol: scaleFor(series.unit, 0).symbol };
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

export function bytes(n: number): string {
  const scale = scaleFor('By', n);
  return `${Number((n * scale.factor).toPrecision(n >= 1000 ? 4 : 3))} ${scale.symbol}`;
}

/** A share in percent: never 0 for something, never 100 for less than all. */
export function share(part: number, whole: number): string {
  if (whole <= 0 || part <= 0) return whole > 0 ? '0 %' : EMPTY;
  const percent = (100 * part) / whole;
  if (percent < 0.01) return '< 0.01 %';
  return `${part < whole && percent > 99.9 ? '> 99.9' : Number(percent.toPrecision(2))} %`;
}

export function counted(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}

/** `site=north, floor=2` */
export function labelText(labels: Record<string, string>): string {
  return Object.entries(labels).map(([k, v]) => `${k}=${v}`).join(', ');
}
