// From an answer of the server to what is drawn: one x for all series, gaps where nothing was measured, marks for doubt. Pure.

import type { Buckets, Gap, Quality, Raw, RawColumns, Series } from './api.ts';

/** A number, null for a gap, undefined for "not sampled here, the line goes on". */
export type Cell = number | null | undefined;

export interface Mark {
  t: number;
  quality: Quality;
  /** Where on the y scale; none for a bad reading. */
  y: number | null;
}

export interface Trace {
  id: number;
  line: Cell[];
  /** Only where buckets hold more than one reading. */
  band: { min: Cell[]; max: Cell[] } | null;
  /** Consumption in periods, from edge to edge; what is not whole is the least that it was. */
  bars?: { edges: number[]; values: (number | null)[]; whole: boolean[] };
  marks: Mark[];
  min: number | null;
  max: number | null;
  avg: number | null;
  last: number | null;
  /** Readings with a number. */
  count: number;
  uncertain: number;
  bad: number;
  /** Reasons of what is not good and how often; none are known of buckets. */
  reasons: Map<string, number>;
}

export interface Plot {
  from: number;
  to: number;
  /** Width of a bucket; null for exact readings. */
  step: number | null;
  x: number[];
  traces: Trace[];
  gaps: Gap[];
  gapsLeftOut: number;
  truncated: boolean;
  /** Some history could not be asked for right now. */
  partial?: boolean;
}

/** Silence of more than so many usual intervals is a gap. */
const GAP_INTERVALS = 2.5;

/** Most readings of one chart that are drawn one by one. */
export const MAX_EXACT = 20_000;

/** Whether exact readings say more than buckets: no series has more of them than the chart has pixels. */
export function exact(counts: number[], pixels: number): boolean {
  const most = counts.reduce((a, b) => Math.max(a, b), 0);
  const all = counts.reduce((a, b) => a + b, 0);
  return most <= pixels && all <= MAX_EXACT;
}

export function rows(answer: Buckets | Raw): number[] {
  if ('step_ms' in answer) return answer.series.map((s) => sum(s.count) + sum(s.bad));
  return answer.series.map((s) => s.t.length);
}

export function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function median(values: number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

/** Makes short runs of empty buckets part of the line: a meter read every 10 s leaves nine of ten one-second buckets empty. */
export function bridged(values: (number | null)[], bad: number[]): Cell[] {
  const there = values.flatMap((v, i) => (v === null ? [] : [i]));
  const usual = median(there.slice(1).map((i, n) => i - (there[n] ?? i)));
  const line: Cell[] = [...values];
  if (usual === null) return line;
  for (let n = 1; n < there.length; n += 1) {
    const [a, b] = [there[n - 1] ?? 0, there[n] ?? 0];
    if (b - a > usual * GAP_INTERVALS) continue;
    for (let i = a + 1; i < b; i += 1) if (!bad[i]) line[i] = undefined;
  }
  return line;
}

export function fromBuckets(answer: Buckets, series: Map<number, Series>): Plot {
  const slots = answer.series[0]?.avg.length ?? 0;
  const step = answer.step_ms;
  const x = Array.from({ length: slots }, (_, i) => answer.t0 + i * step);
  const traces = answer.series.map((columns): Trace => {
    const kind = series.get(columns.id)?.kind;
    // The average of counter readings or of state numbers means nothing.
    const shown = kind === 'counter' || kind === 'state' ? columns.last : columns.avg;
    const marks: Mark[] = [];
    let weighted = 0;
    for (let i = 0; i < slots; i += 1) {
      const t = (x[i] ?? 0) + step / 2;
      if (columns.bad[i]) marks.push({ t, quality: 'bad', y: null });
      if (columns.uncertain[i]) marks.push({ t, quality: 'uncertain', y: shown[i] ?? null });
      weighted += (columns.avg[i] ?? 0) * (columns.count[i] ?? 0);
    }
    const count = sum(columns.count);
    const many = columns.count.some((n) => n > 1);
    const line = (values: (number | null)[]) => bridged(values, columns.bad);
    return {
      id: columns.id,
      line: line(shown),
      band: many && kind !== 'state' ? { min: line(columns.min), max: line(columns.max) } : null,
      marks,
      min: extreme(columns.min, Math.min),
      max: extreme(columns.max, Math.max),
      avg: count ? weighted / count : null,
      last: columns.last.findLast((v) => v !== null) ?? null,
      count,
      uncertain: sum(columns.uncertain),
      bad: sum(columns.bad),
      reasons: new Map(),
    };
  });
  return { from: answer.from, to: answer.to, step, x, traces, gaps: answer.gaps, gapsLeftOut: answer.gaps_left_out, truncated: false, ...(answer.partial && { partial: true }) };
}

export function extreme(values: (number | null)[], pick: (a: number, b: number) => number): number | null {
  return values.reduce<number | null>((a, b) => (a === null ? b : b === null ? a : pick(a, b)), null);
}

/** Times and cells of one series, with a null put into every silence. */
export function withGaps(columns: RawColumns): { t: number[]; y: Cell[] } {
  const usual = median(columns.t.slice(1).map((t, i) => t - (columns.t[i] ?? t)));
  const t: number[] = [];
  const y: Cell[] = [];
  columns.t.forEach((at, i) => {
    const before = columns.t[i - 1];
    if (before !== undefined && usual !== null && at - before > usual * GAP_INTERVALS) {
      t.push(before + 1);
      y.push(null);
    }
    t.push(at);
    y.push(numeric(columns.v[i]));
  });
  return { t, y };
}

function numeric(value: number | boolean | string | null | undefined): number | null {
  if (typeof value === 'boolean') return Number(value);
  return typeof value === 'number' ? value : null;
}

export function fromRaw(answer: Raw): Plot {
  const parts = answer.series.map(withGaps);
  const x = [...new Set(parts.flatMap((p) => p.t))].sort((a, b) => a - b);
  const place = new Map(x.map((t, i) => [t, i]));
  const traces = answer.series.map((columns, n): Trace => {
    const part = parts[n] ?? { t: [], y: [] };
    const line: Cell[] = new Array<Cell>(x.length).fill(undefined);
    part.t.forEach((t, i) => {
      line[place.get(t) ?? 0] = part.y[i];
    });
    const marks: Mark[] = [];
    const reasons = new Map<string, number>();
    columns.q.forEach((quality, i) => {
      if (quality === 'good') return;
      marks.push({ t: columns.t[i] ?? 0, quality, y: numeric(columns.v[i]) });
      const reason = columns.reason[i] ?? 'no reason given';
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    });
    const numbers = columns.v.map(numeric).filter((v) => v !== null);
    return {
      id: columns.id,
      line,
      band: null,
      marks,
      min: extreme(numbers, Math.min),
      max: extreme(numbers, Math.max),
      avg: numbers.length ? sum(numbers) / numbers.length : null,
      last: numbers.at(-1) ?? null,
      count: numbers.length,
      uncertain: columns.q.filter((q) => q === 'uncertain').length,
      bad: columns.q.filter((q) => q === 'bad').length,
      reasons,
    };
  });
  return { from: answer.from, to: answer.to, step: null, x, traces, gaps: answer.gaps, gapsLeftOut: answer.gaps_left_out, truncated: answer.truncated };
}

/** The number of a trace that stands at an index of x: the nearest one before it if the series was not sampled there. */
export function at(trace: Trace, index: number): number | null {
  for (let i = index; i >= 0; i -= 1) {
    const cell = trace.line[i];
    if (cell !== undefined) return cell;
  }
  return null;
}

/** Several plots of one window on one x, their traces in this order. A line goes on where another one was sampled. */
export function together(plots: Plot[], order: number[]): Plot | null {
  const [first, ...others] = plots;
  if (!first) return null;
  const same = others.every((plot) => plot.x.length === first.x.length && plot.x.every((t, i) => t === first.x[i]));
  const x = same ? first.x : [...new Set(plots.flatMap((plot) => plot.x))].sort((a, b) => a - b);
  const place = new Map(x.map((t, i) => [t, i]));
  const spread = (plot: Plot) => (cells: Cell[]): Cell[] => {
    if (same) return cells;
    const line: Cell[] = new Array<Cell>(x.length).fill(undefined);
    cells.forEach((cell, i) => {
      line[place.get(plot.x[i] ?? 0) ?? 0] = cell;
    });
    return line;
  };
  const traces = plots.flatMap((plot) => {
    const on = spread(plot);
    return plot.traces.map((t): Trace => ({ ...t, line: on(t.line), band: t.band && { min: on(t.band.min), max: on(t.band.max) } }));
  });
  const gaps = new Map(plots.flatMap((plot) => plot.gaps).map((gap) => [`${gap.gateway} ${gap.from} ${gap.to} ${gap.reason}`, gap]));
  return {
    ...first,
    from: Math.min(...plots.map((plot) => plot.from)),
    to: Math.max(...plots.map((plot) => plot.to)),
    x,
    traces: traces.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id)),
    gaps: [...gaps.values()],
    truncated: plots.some((plot) => plot.truncated),
    ...(plots.some((plot) => plot.partial) && { partial: true }),
  };
}
