// New readings put into a window that is on screen, and what has left it taken out. Pure.

import type { Buckets, Columns, Raw, RawColumns } from './api.ts';

export type Answer = Buckets | Raw;

export const isBuckets = (answer: Answer): answer is Buckets => 'step_ms' in answer;

/** Exact readings with the new ones among them: each time once, a later word about it counts. */
export function merged(answer: Raw, news: RawColumns[]): Raw {
  const fresh = new Map(news.map((n) => [n.id, n]));
  return { ...answer, series: answer.series.map((old) => joined(old, fresh.get(old.id))) };
}

function joined(old: RawColumns, fresh: RawColumns | undefined): RawColumns {
  if (!fresh || fresh.t.length === 0) return old;
  const rows = new Map<number, [number, RawColumns]>();
  for (const from of [old, fresh]) from.t.forEach((t, i) => rows.set(t, [i, from]));
  const order = [...rows].sort(([a], [b]) => a - b);
  return {
    id: old.id,
    t: order.map(([t]) => t),
    v: order.map(([, [i, from]]) => from.v[i] ?? null),
    q: order.map(([, [i, from]]) => from.q[i] ?? 'good'),
    reason: order.map(([, [i, from]]) => from.reason[i] ?? null),
  };
}

/** Where buckets that new readings fall into begin and end; null if they lie before the window. */
export function stale(answer: Buckets, news: RawColumns[], now: number): { from: number; to: number; points: number } | null {
  const step = answer.step_ms;
  const oldest = news.reduce((t, n) => Math.min(t, n.t[0] ?? t), Infinity);
  const from = Math.max(answer.t0, Math.floor(Math.min(oldest, now) / step) * step);
  // Nothing lies past now but what a clock that is ahead has measured.
  const newest = news.reduce((t, n) => Math.max(t, n.t.at(-1) ?? t), now);
  const to = (Math.floor(newest / step) + 1) * step;
  return oldest === Infinity || to <= from ? null : { from, to, points: (to - from) / step };
}

const NUMBERS = ['min', 'max', 'avg', 'last'] as const;
const COUNTS = ['count', 'uncertain', 'bad'] as const;

/** The buckets with those of a newer answer in their place; null if the two do not fit together. */
export function patched(answer: Buckets, tail: Buckets): Buckets | null {
  const at = (tail.t0 - answer.t0) / answer.step_ms;
  if (tail.step_ms !== answer.step_ms || !Number.isInteger(at) || at < 0) return null;
  const slots = Math.max(answer.series[0]?.count.length ?? 0, at + (tail.series[0]?.count.length ?? 0));
  const put = <T>(old: T[], fresh: T[], empty: T): T[] => Array.from({ length: slots }, (_, i) => fresh[i - at] ?? old[i] ?? empty);
  const series = answer.series.map((old): Columns => {
    const fresh = tail.series.find((s) => s.id === old.id);
    if (!fresh) return old;
    const columns = { id: old.id } as Columns;
    const within = (i: number) => i >= at && i < at + fresh.count.length;
    for (const key of NUMBERS) columns[key] = Array.from({ length: slots }, (_, i) => (within(i) ? fresh[key][i - at] : old[key][i]) ?? null);
    for (const key of COUNTS) columns[key] = put(old[key], fresh[key], 0);
    return columns;
  });
  const gaps = [...answer.gaps.filter((gap) => gap.to < tail.from), ...tail.gaps];
  return { ...answer, series, gaps };
}

/** The window moved on: what has left it is gone. */
export function cut(answer: Answer, from: number, to: number): Answer {
  const gaps = answer.gaps.filter((gap) => gap.to >= from);
  if (isBuckets(answer)) {
    const gone = Math.max(0, Math.floor((from - answer.t0) / answer.step_ms));
    const cutOff = (columns: Columns): Columns => {
      const rest = { id: columns.id } as Columns;
      for (const key of NUMBERS) rest[key] = columns[key].slice(gone);
      for (const key of COUNTS) rest[key] = columns[key].slice(gone);
      return rest;
    };
    return { ...answer, from, to, t0: answer.t0 + gone * answer.step_ms, series: gone ? answer.series.map(cutOff) : answer.series, gaps };
  }
  const series = answer.series.map((columns) => {
    const first = columns.t.findIndex((t) => t >= from);
    const gone = first < 0 ? columns.t.length : first;
    if (gone === 0) return columns;
    const { id, t, v, q, reason } = columns;
    return { id, t: t.slice(gone), v: v.slice(gone), q: q.slice(gone), reason: reason.slice(gone) };
  });
  return { ...answer, from, to, series, gaps };
}
