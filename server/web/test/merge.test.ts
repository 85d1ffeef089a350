import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Buckets, Columns, Raw, RawColumns } from '../src/api.ts';
import { cut, merged, patched, stale } from '../src/merge.ts';

const exact = (t: number[], v = t): RawColumns => ({ id: 1, t, v, q: t.map(() => 'good'), reason: t.map(() => null) });
const raw = (t: number[]): Raw => ({ from: 0, to: 100, series: [exact(t)], truncated: false, gaps: [], gaps_left_out: 0 });
const columns = (values: (number | null)[]): Columns => ({
  id: 1, min: values, max: values, avg: values, last: values, count: values.map((v) => (v === null ? 0 : 1)), uncertain: values.map(() => 0), bad: values.map(() => 0),
});
const buckets = (t0: number, values: (number | null)[]): Buckets => ({
  from: t0, to: t0 + values.length * 10, t0, step_ms: 10, series: [columns(values)], gaps: [], gaps_left_out: 0,
});

test('new readings go where their time is; told twice they are there once, and a later word counts', () => {
  const first = merged(raw([10, 30]), [exact([20, 40])]);
  assert.deepEqual(first.series[0]?.t, [10, 20, 30, 40]);
  assert.deepEqual(merged(first, [exact([20, 40])]), first);
  assert.deepEqual(merged(first, [exact([20], [7])]).series[0]?.v, [10, 7, 30, 40]);
  assert.deepEqual(merged(first, [{ ...exact([20], [7]), id: 2 }]), first);
});

test('buckets are asked for again from the oldest news on, and on the grid', () => {
  const answer = buckets(100, [1, 2, 3]);
  assert.deepEqual(stale(answer, [exact([127])], 128), { from: 120, to: 130, points: 1 });
  assert.deepEqual(stale(answer, [exact([115, 131])], 131), { from: 110, to: 140, points: 3 });
  assert.deepEqual(stale(answer, [exact([15, 131])], 131), { from: 100, to: 140, points: 4 });
  assert.deepEqual(stale(answer, [exact([155])], 131), { from: 130, to: 160, points: 3 });
  assert.equal(stale(answer, [], 131), null);
});

test('the newer buckets take the place of the older ones, and the grid grows', () => {
  const answer = patched(buckets(100, [1, 2, 3]), buckets(120, [4, null, 5]));
  assert.deepEqual(answer?.series[0]?.avg, [1, 2, 4, null, 5]);
  assert.deepEqual(answer?.series[0]?.count, [1, 1, 1, 0, 1]);
  assert.equal(patched(buckets(100, [1]), { ...buckets(100, [1]), step_ms: 20 }), null);
  assert.equal(patched(buckets(100, [1]), buckets(90, [1])), null);
  assert.deepEqual(patched(buckets(100, [1, 2, 3]), buckets(110, [null]))?.series[0]?.avg, [1, null, 3], 'what is gone is gone');
});

test('what has left the window is gone, whole buckets only', () => {
  const rest = cut(buckets(100, [1, 2, 3]), 115, 145) as Buckets;
  assert.deepEqual([rest.t0, rest.from, rest.to, rest.series[0]?.avg], [110, 115, 145, [2, 3]]);
  assert.deepEqual(cut(raw([10, 20, 30]), 20, 90).series[0], exact([20, 30]));
  assert.deepEqual(cut(raw([10, 20, 30]), 40, 90).series[0], exact([]));
});
