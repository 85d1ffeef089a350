import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Buckets, Latest, Raw, Series } from '../src/api.ts';
import { ago, bytes, digits, duration, latestText, number } from '../src/format.ts';
import { at, bridged, exact, fromBuckets, fromRaw, rows } from '../src/plot.ts';
import { MAX_CHARTED, readView, toggled, writeView } from '../src/view.ts';

const series = (id: number, kind: Series['kind'], states: Record<string, string> = {}): Series => ({
  id, kind, states, gateway: 'g', device: 'd', point: 'p', unit: '', labels: {},
});

test('the address says the whole view, and nonsense in it is left out', () => {
  for (const [query, range, ids] of [
    ['', '15m', []],
    ['?range=7d&series=3,1,3', '7d', [3, 1]],
    ['?range=1y&series=0,-1,x,1.5,99999999999,2', '15m', [2]],
  ] as const) {
    const view = readView(query);
    assert.deepEqual(view, { range, series: [...ids] });
    assert.deepEqual(readView(writeView(view)), view);
  }
});

test('a click adds a series, the next one takes it away, a full chart gives up its oldest', () => {
  let view = toggled(readView(''), 7);
  assert.deepEqual(view.series, [7]);
  assert.deepEqual(toggled(view, 7).series, []);
  for (let id = 100; id < 100 + MAX_CHARTED; id += 1) view = toggled(view, id);
  assert.equal(view.series.length, MAX_CHARTED);
  assert.equal(view.series[0], 100);
});

test('digits stay what the meter said', () => {
  for (const [text, expected] of [
    ['230.1', '230.1'],
    ['230.10', '230.10'],
    ['-0.05', '-0.05'],
    ['0.00', '0.00'],
    ['18446744073709551615', '18,446,744,073,709,551,615'],
    ['0.123456789', '0.1234568'],
    ['1234.56789', '1,234.568'],
    ['inf', 'inf'],
  ] as const) {
    assert.equal(digits(text, 'en-US'), expected);
  }
});

test('a value is shown as its kind wants it', () => {
  const latest = (v: Latest['v'], text: string | null): Latest => ({ id: 1, t: 1, v, text, quality: 'good', reason: null });
  const pump = series(1, 'state', { 0: 'stopped', 1: 'running' });
  for (const [s, l, expected] of [
    [pump, latest(1, '1'), 'running'],
    [pump, latest(true, 'true'), 'running'],
    [pump, latest(9, '9'), '9'],
    [series(1, 'state'), latest(false, 'false'), 'off'],
    [series(1, 'text'), latest('<b>', '<b>'), '<b>'],
    [series(1, 'text'), latest('12.5', '12.5'), '12.5'],
    [series(1, 'gauge'), latest(null, null), '–'],
    [series(1, 'gauge'), undefined, '–'],
  ] as const) {
    assert.equal(latestText(s, l, 'en-US'), expected);
  }
});

test('a computed number is short, and shows no zero that was not computed', () => {
  for (const [value, expected] of [
    [230.08333333, '230.083'],
    [123456, '123,456'],
    [1.8446744073709552e19, '1.84467E19'],
    [0, '0'],
    [null, '–'],
    [Number.NaN, '–'],
  ] as const) {
    assert.equal(number(value, 'en-US'), expected);
  }
});

test('durations and sizes are short', () => {
  assert.deepEqual([0.9, 1500, 60_000, 5_400_000, 604_800_000].map(duration), ['0.9 ms', '1.5 s', '1 min', '1.5 h', '7 d']);
  assert.deepEqual([1000, 65_000, 7_300_000].map((ms) => ago(0, ms)), ['now', '1 min ago', '2 h ago']);
  assert.deepEqual([0, 1023, 1536, 5 << 20].map(bytes), ['0 B', '1023 B', '1.5 KiB', '5 MiB']);
});

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
