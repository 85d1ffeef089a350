import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Buckets, Raw, Series } from '../src/api.ts';
import { csv, field } from '../src/csv.ts';
import { grouped, quantity } from '../src/groups.ts';
import { happenings, spells } from '../src/spells.ts';
import { series } from './made.ts';

const gauge = (id: number, point: string, unit: string): Series => ({ ...series(id, 'gauge', {}, point), unit });

test('a name without its phase or row is a quantity', () => {
  for (const [point, expected] of [
    ['voltage_l1', 'voltage #'],
    ['voltage_l1_l2', 'voltage # #'],
    ['current_avg', 'current'],
    ['if_in_octets[eth0/1_2]', 'if in octets'],
    ['load_15', 'load #'],
    ['[x]', ''],
  ] as const) {
    assert.equal(quantity(point), expected, point);
  }
});

test('what belongs together lies on one chart, in one unit, each gauge exactly once', () => {
  const names: [string, string][] = [
    ['voltage_l1', 'V'], ['voltage_l2', 'V'], ['voltage_l1_l2', 'V'], ['voltage_l2_l3', 'V'], ['voltage_thd_l1', '%'],
    ['memory_used', 'By'], ['memory_total', 'By'], ['frequency', 'Hz'], ['current_avg', 'A'], ['current_l1', 'A'],
  ];
  const all = names.map(([point, unit], n) => gauge(n + 1, point, unit));
  const ports = Array.from({ length: 20 }, (_, n) => gauge(100 + n, `if_speed[eth${n}]`, 'bit/s'));
  const { charts } = grouped([...all, ...ports]);
  const points = charts.map((c) => [c.title, c.series.map((s) => s.point).join(' ')]);
  assert.deepEqual(points.slice(0, 6), [
    ['Voltage', 'voltage_l1 voltage_l2'],
    ['Voltage between phases', 'voltage_l1_l2 voltage_l2_l3'],
    ['Voltage thd', 'voltage_thd_l1'],
    ['Memory', 'memory_used memory_total'],
    ['Frequency', 'frequency'],
    ['Current', 'current_avg current_l1'],
  ]);
  assert.deepEqual(points.slice(6).map(([title]) => title), ['If speed (1 of 3)', 'If speed (2 of 3)', 'If speed (3 of 3)']);
  assert.deepEqual(charts.flatMap((c) => c.series.map((s) => s.id)).sort(), [...all, ...ports].map((s) => s.id).sort());
  for (const chart of charts) assert.equal(new Set(chart.series.map((s) => s.unit)).size, 1, chart.title);
});

test('kinds have places of their own', () => {
  const found = grouped([series(1, 'state'), series(2, 'counter'), series(3, 'text'), series(4, 'gauge')]);
  assert.deepEqual([found.states, found.counters, found.texts].map((list) => list.map((s) => s.id)), [[1], [2], [3]]);
  assert.deepEqual(found.charts.map((group) => group.series.map((s) => s.id)), [[4], [2]], 'what a counter counts is a line as well');
});

test('no two charts of a device are called the same', () => {
  const named = (id: number, unit: string, kind: 'gauge' | 'counter' = 'counter') => ({ ...series(id, kind, {}, 'energy_l1'), unit });
  const { charts } = grouped([named(1, 'kWh'), named(2, 'kvarh'), named(3, 'kvarh', 'gauge'), named(4, '', 'gauge')]);
  const titles = charts.map((group) => group.title);
  assert.equal(new Set(titles).size, 4, titles.join());
  assert.ok(titles.includes('Energy in kWh'), titles.join());
});

test('a chart is called as its points are, where they have one name', () => {
  const named = (id: number, point: string, name = point) => ({ ...series(id, 'gauge', {}, point), name, unit: `u${point.split('[')[0]}` });
  const { charts } = grouped([named(1, 'in[a]', 'Inbound [a]'), named(2, 'in[b]', 'Inbound [b]'), named(3, 'out[a]'), named(4, 'out[b]', 'Outbound [b]')]);
  assert.deepEqual(charts.map((group) => group.title), ['Inbound', 'Out']);
});

const pump = series(1, 'state', { 0: 'stopped', 1: 'running' }, 'pump');
const answer: Raw = {
  from: 0, to: 100, truncated: false, gaps_left_out: 0,
  gaps: [{ gateway: 'g', from: 60, to: 80, reason: 'buffer full', readings: 1200, missing: true }],
  series: [{ id: 1, t: [0, 10, 20, 30, 40, 90], v: [0, 0, true, 1, null, 0], q: ['good', 'good', 'good', 'good', 'bad', 'good'], reason: [null, null, null, null, 'timeout', null] }],
};

test('a state lasts until it changes; a silence and a bad reading are neither', () => {
  assert.deepEqual(spells(answer, pump).map((s) => [s.from, s.to, s.text]), [[0, 20, 'stopped'], [20, 40, 'running'], [40, 50, null], [90, 100, 'stopped']]);
});

test('events name what changed, what failed and what was lost, newest first', () => {
  assert.deepEqual(happenings(answer, [pump]).map((e) => [e.t, e.what, e.text]), [
    [90, 'change', 'running → stopped'],
    [60, 'loss', `${(1200).toLocaleString()} readings of g lost: buffer full`],
    [40, 'bad', 'timeout'],
    [20, 'change', 'stopped → running'],
  ]);
});

test('a bucket with two states says so', () => {
  const buckets: Buckets = {
    from: 0, to: 30, t0: 0, step_ms: 10, gaps: [], gaps_left_out: 0,
    series: [{ id: 1, min: [0, 0, 1], max: [0, 1, 1], avg: [0, 0.5, 1], last: [0, 1, 1], count: [3, 3, 3], uncertain: [0, 0, 0], bad: [0, 0, 0] }],
  };
  assert.deepEqual(spells(buckets, pump).map((s) => [s.from, s.text, s.mixed]), [[0, 'stopped', false], [10, 'running', true], [20, 'running', false]]);
  assert.deepEqual(happenings(buckets, [pump]).map((e) => [e.t, e.within]), [[10, 10]]);
});

test('a file of numbers has a dot, a zone, and no formula', () => {
  const evil = { ...pump, device: '=HYPERLINK("x")', point: 'a,b' };
  const lines = csv([{ ...answer, series: answer.series.map((s) => ({ ...s, t: s.t.slice(0, 1) })) }], new Map([[1, evil]]), 'utc').split('\r\n');
  assert.deepEqual(lines, ['time,gateway,device,point,unit,value,quality,reason', `1970-01-01T00:00:00.000Z,g,"'=HYPERLINK(""x"")","a,b",,0,good,`, '']);
  assert.deepEqual([-1.5, null, 'a"b', '-1', true].map(field), ['-1.5', '', '"a""b"', "'-1", 'true']);
});
