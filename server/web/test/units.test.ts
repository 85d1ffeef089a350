import assert from 'node:assert/strict';
import { test } from 'node:test';

import { scaleFor } from '../src/units.ts';

test('a prefix suits the number, and nobody has to count zeros', () => {
  for (const [unit, value, symbol, shown] of [
    ['W', 230, 'W', 230],
    ['W', 9999, 'W', 9999],
    ['W', -12_500, 'kW', -12.5],
    ['kWh', 0.5, 'kWh', 0.5],
    ['kWh', 25_000, 'MWh', 25],
    ['MWh', 2_000_000, 'TWh', 2],
    ['A', 0.002, 'mA', 2],
    ['V', 0, 'V', 0],
    ['MOhm', 5, 'MΩ', 5],
    ['kPa', 101.3, 'kPa', 101.3],
    ['By', 1023, 'B', 1023],
    ['By', 3 * 2 ** 30, 'GiB', 3],
    ['By/s', 2048, 'KiB/s', 2],
    ['bit/s', 1e9, 'Gbit/s', 1],
    ['s', 90, 's', 90],
    ['s', 7200, 'h', 2],
    ['s', 0.005, 'ms', 5],
    ['%', 1e6, '%', 1e6],
    ['Cel', 21, '°C', 21],
    ['1', 123_456, '', 123_456],
    ['rpm', 1_500_000, 'rpm', 1_500_000],
    ['', 5, '', 5],
    ['m', 0.001, 'mm', 1],
    ['<b>', 1e9, '<b>', 1e9],
  ] as const) {
    const scale = scaleFor(unit, value);
    assert.equal(scale.symbol, symbol, `${value} ${unit}`);
    assert.ok(Math.abs(value * scale.factor - shown) <= 1e-9 * Math.max(1, Math.abs(shown)), `${value} ${unit}: ${value * scale.factor}`);
  }
  assert.equal(scaleFor('W', Number.NaN).factor, 1);
});
