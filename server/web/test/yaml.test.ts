import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chartBlock, dashboardText, exactly, moved, nameFor } from '../src/yaml.ts';
import { series } from './made.ts';

test('what the page writes names its series exactly, whatever they are called', () => {
  assert.equal(exactly('a*$\\b'), 'a\\*\\$\\\\b');
  const odd = { ...series(1, 'gauge'), device: 'pump "*"' };
  const block = chartBlock('Two\nlines: "x" # y', [odd], 'day');
  assert.equal(block, 'title: "Two lines: \\"x\\" # y"\ntype: chart\ncounter: day\nseries:\n  - { gateway: "g", device: "pump \\"\\\\*\\"", point: "p" }\n');
  assert.equal(dashboardText('T', [block]), `version: 1\ntitle: "T"\npanels:\n  - ${block.trimEnd().replaceAll('\n', '\n    ')}\n`);
  assert.equal(dashboardText('T', []), 'version: 1\ntitle: "T"\npanels: []\n');
});

test('a title makes a name of a file', () => {
  for (const [title, name] of [['Pumps of the river', 'pumps-of-the-river'], ['Zähler Süd', 'za-hler-su-d'], ['../..', 'dashboard'], ['9', '9'], ['x'.repeat(80), 'x'.repeat(63)]] as const) {
    assert.equal(nameFor(title), name);
    assert.match(nameFor(title), /^[a-z0-9][a-z0-9_-]{0,62}$/);
  }
});

test('one of a list is moved and all stay', () => {
  assert.deepEqual(moved(['a', 'b', 'c', 'd'], 0, 2), ['b', 'c', 'a', 'd']);
  assert.deepEqual(moved(['a', 'b', 'c', 'd'], 3, 0), ['d', 'a', 'b', 'c']);
});
