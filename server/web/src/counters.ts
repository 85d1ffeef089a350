// Counters as what they counted: rates as lines, consumption as bars. From an answer of the server to a plot. Pure.

import type { Consumptions, Rates, Series } from './api.ts';
import { bridged, extreme, sum, type Plot, type Trace } from './plot.ts';
import { rateOf } from './units.ts';
import type { CounterMode } from './view.ts';

export type Counted = Rates | Consumptions;

export const isRates = (answer: Counted): answer is Rates => 'rates' in answer;

/** Series as they are drawn: a rate has another unit, and neither it nor consumption is a counter any more. */
export function asDrawn(series: Map<number, Series>, mode: CounterMode): Map<number, Series> {
  if (mode === 'total') return series;
  const drawn = (s: Series): Series => (s.kind !== 'counter' ? s : { ...s, kind: 'gauge', unit: mode === 'rate' ? rateOf(s.unit).unit : s.unit });
  return new Map([...series].map(([id, s]) => [id, drawn(s)]));
}

export function fromCounted(answer: Counted, series: Map<number, Series>): Plot {
  const base = { gaps: answer.gaps, gapsLeftOut: answer.gaps_left_out, truncated: false };
  if (isRates(answer)) {
    const x = Array.from({ length: answer.rates[0]?.avg.length ?? 0 }, (_, i) => answer.t0 + i * answer.step_ms);
    return { ...base, from: answer.from, to: answer.to, step: answer.step_ms, x, traces: answer.rates.map((r) => rate(r, series.get(r.id)?.unit ?? '')) };
  }
  const { edges } = answer;
  const traces = answer.consumption.map((c) => consumed(c, edges));
  // Periods are shown whole: a part of a day is not what a day took.
  return { ...base, from: Math.min(answer.from, edges[0] ?? answer.from), to: Math.max(answer.to, edges.at(-1) ?? answer.to), step: null, x: edges.slice(0, -1), traces };
}

const NOTHING = { marks: [], uncertain: 0, bad: 0, reasons: new Map<string, number>() };

function rate(columns: Rates['rates'][number], unit: string): Trace {
  const { factor } = rateOf(unit);
  const by = (values: (number | null)[]) => values.map((v) => (v === null ? null : v * factor));
  const [min, max, avg] = [by(columns.min), by(columns.max), by(columns.avg)];
  const none = avg.map(() => 0);
  const weights = columns.known.map((known, i) => (avg[i] === null ? 0 : known));
  const whole = sum(weights);
  const banded = min.some((v, i) => v !== max[i]);
  return {
    ...NOTHING,
    id: columns.id,
    line: bridged(avg, none),
    band: banded ? { min: bridged(min, none), max: bridged(max, none) } : null,
    min: extreme(min, Math.min),
    max: extreme(max, Math.max),
    avg: whole ? sum(avg.map((v, i) => (v ?? 0) * (weights[i] ?? 0))) / whole : null,
    last: avg.findLast((v) => v !== null) ?? null,
    count: avg.filter((v) => v !== null).length,
  };
}

function consumed(columns: Consumptions['consumption'][number], edges: number[]): Trace {
  const whole = columns.total.map((v) => v !== null);
  const values = columns.total.map((v, i) => v ?? (columns.at_least[i] || null));
  const known = columns.total.filter((v) => v !== null);
  return {
    ...NOTHING,
    id: columns.id,
    line: values,
    band: null,
    bars: { edges, values, whole },
    min: extreme(known, Math.min),
    max: extreme(known, Math.max),
    avg: known.length ? sum(known) / known.length : null,
    last: values.findLast((v) => v !== null) ?? null,
    count: values.filter((v) => v !== null).length,
  };
}
