import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Buckets, Raw } from '../src/api.ts';
import { joined } from '../src/marks.ts';
import { at, bridged, exact, fromBuckets, fromRaw, rows } from '../src/plot.ts';
import { series } from './made.ts';

test('an empty bucket between two readings of a slow meter is no gap; silence and bad readings are', () => {
  const none = (n: number) => new Array<null>(n).fill(null);
  const values = [1, ...none(1), 2, ...none(1), 3, ...none(5), 4, ...none(1), 5];
  const bad = values.map((_, i) => (i === 3 ? 1 : 0));
  const u = undefined;
  assert.deepEqual(bridged(values, bad), [1, u, 2, null, 3, null, null, null, null, null, 4, u, 5]);
  assert.deepEqual(bridged([null, 1, null], [0, 0, 0]), [null, 1, null]);
});

const buckets: Buckets = {
  from: 0, to: 4000, t0: 0, step_ms: 1000, gaps: [], gaps_left_out: 0,
  series: [
    { id: 1, min: [1, 5, null, 2], max: [3, 900, null, 2], avg: [2, 300, null, 2], last: [3, 5, null, 2], count: [2, 3, 0, 1], uncertain: [0, 1, 0, 0], bad: [0, 0, 4, 0] },
  ],
};

test('a spike in a bucket reaches the band and the legend', () => {
  const [gauge] = fromBuckets(buckets, new Map([[1, series(1, 'gauge')]])).traces;
  assert.ok(gauge?.band);
  assert.deepEqual(gauge.band.max, [3, 900, null, 2]);
  assert.deepEqual([gauge.min, gauge.max, gauge.last, gauge.count, gauge.bad, gauge.uncertain], [1, 900, 2, 6, 4, 1]);
  assert.equal(gauge.avg, (2 * 2 + 300 * 3 + 2) / 6);
  assert.deepEqual(gauge.marks, [{ t: 1500, quality: 'uncertain', y: 300 }, { t: 2500, quality: 'bad', y: null }]);
  assert.deepEqual(rows(buckets), [10]);
});

test('a counter and a state are never averaged', () => {
  for (const kind of ['counter', 'state'] as const) {
    assert.deepEqual(fromBuckets(buckets, new Map([[1, series(1, kind)]])).traces[0]?.line, [3, 5, null, 2]);
  }
});

const raw: Raw = {
  from: 0, to: 100, truncated: false, gaps: [], gaps_left_out: 0,
  series: [
    { id: 1, t: [0, 10, 20, 60, 70], v: [1, true, null, 4, 5], q: ['good', 'uncertain', 'bad', 'good', 'good'], reason: [null, 'stale', 'timeout', null, null] },
    { id: 2, t: [5, 70], v: [7, 8], q: ['good', 'good'], reason: [null, null] },
  ],
};

test('exact readings share one ascending x; a bad one and a silence break the line', () => {
  const plot = fromRaw(raw);
  assert.deepEqual(plot.x, [0, 5, 10, 20, 21, 60, 70]);
  const u = undefined;
  assert.deepEqual(plot.traces[0]?.line, [1, u, 1, null, null, 4, 5]);
  assert.deepEqual(plot.traces[1]?.line, [u, 7, u, u, u, u, 8]);
  assert.deepEqual([...(plot.traces[0]?.reasons ?? [])], [['stale', 1], ['timeout', 1]]);
  assert.deepEqual(plot.traces[0]?.marks, [{ t: 10, quality: 'uncertain', y: 1 }, { t: 20, quality: 'bad', y: null }]);
  assert.equal(at(plot.traces[1]!, 4), 7);
  assert.equal(at(plot.traces[0]!, 4), null);
});

test('readings are drawn one by one while there are no more than pixels', () => {
  assert.equal(exact([1000, 10], 1000), true);
  assert.equal(exact([1001], 1000), false);
  assert.equal(exact(new Array<number>(30).fill(900), 1000), false);
  assert.equal(exact([], 1000), true);
});

test('losses that follow each other are drawn as one, those of another reason or gateway are not', () => {
  const gap = (from: number, to: number, reason = 'buffer full', gateway = 'g') => ({ gateway, from, to, reason, readings: 1, missing: true });
  const found = joined([gap(30, 40), gap(0, 10), gap(15, 20), gap(16, 18, 'too old'), gap(12, 14, 'buffer full', 'h')], 5);
  assert.deepEqual(found.map((g) => [g.from, g.to, g.reason, g.gateway]), [[0, 20, 'buffer full', 'g'], [12, 14, 'buffer full', 'h'], [16, 18, 'too old', 'g'], [30, 40, 'buffer full', 'g']]);
});
