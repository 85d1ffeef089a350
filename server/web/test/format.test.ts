import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Latest } from '../src/api.ts';
import { ago, bytes, digits, duration, number, reading, share } from '../src/format.ts';
import { series } from './made.ts';

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
    assert.equal(reading(s, l, 'en-US').text, expected);
  }
});

test('a computed number is short, and shows no zero that was not computed', () => {
  for (const [value, expected] of [
    [230.08333333, '230.08'],
    [123456, '123,460'],
    [1.8446744073709552e19, '1.8447E19'],
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

test('a meter keeps its digits and its unit, bytes and long times do not have to', () => {
  const latest = (v: number, text = String(v)): Latest => ({ id: 1, t: 1, v, text, quality: 'good', reason: null });
  for (const [kind, unit, value, text, symbol] of [
    ['counter', 'kWh', latest(1234567.891, '1234567.891'), '1,234,568', 'kWh'],
    ['counter', 'By', latest(2 ** 33), '8', 'GiB'],
    ['gauge', 'W', latest(2300.5, '2300.50'), '2,300.50', 'W'],
    ['gauge', 'W', latest(23_012), '23.01', 'kW'],
    ['gauge', 's', latest(200_000), '2.315', 'd'],
    ['gauge', '1', latest(0.97, '0.970'), '0.970', ''],
    ['gauge', 'Cel', latest(21.5), '21.5', '°C'],
  ] as const) {
    assert.deepEqual(reading({ ...series(1, kind), unit }, value, 'en-US'), { text, symbol }, `${kind} ${unit}`);
  }
});

test('a share is never nothing for something, nor all for less', () => {
  const shares = [[0, 10], [1, 1e6], [1, 300], [999_999, 1e6], [10, 10], [0, 0]] as const;
  assert.deepEqual(shares.map(([a, b]) => share(a, b)), ['0 %', '< 0.01 %', '0.33 %', '> 99.9 %', '100 %', '–']);
});
