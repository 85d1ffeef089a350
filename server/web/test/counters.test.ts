import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Consumptions, Rates, Raw } from '../src/api.ts';
import { asDrawn, fromCounted } from '../src/counters.ts';
import { csv } from '../src/csv.ts';
import { fromRaw, together } from '../src/plot.ts';
import { rateOf } from '../src/units.ts';
import { series } from './made.ts';

const meter = { ...series(1, 'counter'), unit: 'kWh' };
const known = new Map([[1, meter]]);
const rates: Rates = {
  from: 0, to: 3000, t0: 0, step_ms: 1000, gaps: [], gaps_left_out: 0,
  rates: [{ id: 1, min: [0.001, null, 0.002], max: [0.003, null, 0.002], avg: [0.002, null, 0.002], known: [1, 0, 0.5] }],
};
const DAY = 86_400_000;
const used: Consumptions = {
  from: DAY / 2, to: 2 * DAY, zone: 'UTC', edges: [0, DAY, 2 * DAY, 3 * DAY], gaps: [], gaps_left_out: 0,
  consumption: [{ id: 1, total: [5, 7, null], at_least: [5, 7, 2] }],
};

test('the rate of a counter is told in the unit of people', () => {
  for (const [unit, rate, factor] of [
    ['kWh', 'kW', 3600], ['varh', 'var', 3600], ['Wh', 'W', 3600], ['J', 'W', 1], ['m3', 'm3/h', 3600], ['By', 'By/s', 1], ['1', '/s', 1], ['', '/s', 1], ['h', 'h/s', 1],
  ] as const) assert.deepEqual(rateOf(unit), { unit: rate, factor }, unit);
});

test('a rate is a line with a band, in its own unit, and what is not known is a gap', () => {
  const [trace] = fromCounted(rates, known).traces;
  assert.deepEqual(trace?.line.map((v) => (typeof v === 'number' ? Number(v.toFixed(6)) : v)), [7.2, undefined, 7.2]);
  assert.ok(Math.abs((trace?.max ?? 0) - 10.8) < 1e-9 && trace?.band);
  const drawn = asDrawn(known, 'rate').get(1);
  assert.deepEqual([drawn?.unit, drawn?.kind, asDrawn(known, 'total').get(1), asDrawn(known, 'day').get(1)?.unit], ['kW', 'gauge', meter, 'kWh']);
});

test('consumption is whole periods; the least that is known of another one is marked so', () => {
  const plot = fromCounted(used, known);
  assert.deepEqual([plot.from, plot.to, plot.x], [0, 3 * DAY, [0, DAY, 2 * DAY]]);
  const [trace] = plot.traces;
  assert.deepEqual(trace?.bars, { edges: used.edges, values: [5, 7, 2], whole: [true, true, false] });
  assert.deepEqual([trace.min, trace.max, trace.avg, trace.last], [5, 7, 6, 2], 'what is not whole is no least');
});

test('gauges and counters lie on one x, in the order of their choice', () => {
  const raw: Raw = { from: 0, to: 3000, truncated: false, gaps: [], gaps_left_out: 0, series: [{ id: 2, t: [500, 1500], v: [1, 2], q: ['good', 'good'], reason: [null, null] }] };
  const plot = together([fromRaw(raw), fromCounted(rates, known)], [1, 2]);
  assert.deepEqual(plot?.x, [0, 500, 1000, 1500, 2000]);
  assert.deepEqual(plot.traces.map((t) => t.id), [1, 2]);
  assert.deepEqual(plot.traces[1]?.line, [undefined, 1, undefined, 2, undefined]);
  assert.equal(together([], []), null);
  const same = fromCounted(rates, known);
  assert.equal(together([same, same], [1])?.x, same.x);
});

test('a file of what is shown says what its numbers are', () => {
  assert.deepEqual(csv([used], known, 'utc').split('\r\n').slice(0, 2), ['time,until,gateway,device,point,unit,total,at_least', '1970-01-01T00:00:00.000Z,1970-01-02T00:00:00.000Z,g,d,p,kWh,5,5']);
  const [head, first] = csv([rates], known, 'utc').split('\r\n');
  assert.equal(head, 'time,gateway,device,point,unit,min,avg,max,known');
  assert.match(first ?? '', /^1970-01-01T00:00:00.000Z,g,d,p,kW,3.6,7.2,10.8/);
});
