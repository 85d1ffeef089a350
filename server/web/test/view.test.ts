import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fixed, last, MAX_CHARTED, MIN_SPAN_MS, pinned, rangeOf, readView, resolved, shifted, toDevice, toExplore, toFleet, toggled, widened, writeView } from '../src/view.ts';

test('the address says the whole view, and nonsense in it is left out', () => {
  for (const [query, page, from, to, ids] of [
    ['', 'fleet', 'now-15m', 'now', []],
    ['?from=now-7d&series=3,1,3', 'explore', 'now-7d', 'now', [3, 1]],
    ['?page=explore', 'explore', 'now-15m', 'now', []],
    ['?gateway=g&device=d/1%20%26&from=1000&to=9000', 'device', '1000', '9000', []],
    ['?device=d&series=7', 'explore', 'now-15m', 'now', [7]],
    ['?from=9000&to=1000&series=0,-1,x,1.5,99999999999,2', 'explore', 'now-15m', 'now', [2]],
    ['?from=yesterday', 'fleet', 'now-15m', 'now', []],
    ['?from=now&to=now-1h', 'fleet', 'now-15m', 'now', []],
    ['?from=1000&tz=utc&view=table&q=a+b', 'fleet', '1000', 'now', []],
    ['?dashboard=pumps&var.site=a%26b&var.x=&edit=&series=3', 'dashboard', 'now-15m', 'now', []],
    ['?page=favourites', 'favourites', 'now-15m', 'now', []],
    ['?page=nonsense&counter=week&tz=mars', 'fleet', 'now-15m', 'now', []],
    ['?series=3&counter=day&tz=site', 'explore', 'now-15m', 'now', [3]],
  ] as const) {
    const view = readView(query);
    assert.deepEqual([view.page, view.span, view.series], [page, { from, to }, [...ids]], query);
    assert.deepEqual(readView(writeView(view)), view, query);
  }
  assert.equal(readView('?gateway=g&device=d/1%20%26').device, 'd/1 &');
});

test('a name cannot break out of the address', () => {
  const view = toDevice(readView(''), 'g&device=x', '<script>#?&=+');
  assert.deepEqual(readView(writeView(view)), view);
});

test('going elsewhere keeps time and zone, and nothing else', () => {
  const view = readView('?gateway=g&device=d&from=now-7d&tz=utc');
  for (const next of [toFleet(view), toExplore(view, [1]), toDevice(view, 'g', 'e')]) {
    assert.deepEqual([next.span, next.zone], [view.span, view.zone]);
    assert.deepEqual(readView(writeView(next)), next);
  }
});

test('a click adds a series, the next one takes it away, a full chart gives up its oldest', () => {
  let view = toggled(readView('?page=explore'), 7);
  assert.deepEqual(view.series, [7]);
  assert.deepEqual(toggled(view, 7).series, []);
  assert.equal(readView(writeView(toggled(view, 7))).page, 'explore');
  for (let id = 100; id < 100 + MAX_CHARTED; id += 1) view = toggled(view, id);
  assert.equal(view.series.length, MAX_CHARTED);
  assert.equal(view.series[0], 100);
});

test('a window is shifted by half of itself and never past now', () => {
  const now = 1_000_000;
  assert.deepEqual(resolved(shifted(last('1m'), now, -1), now), [910_000, 970_000]);
  assert.deepEqual(resolved(shifted(fixed(910_000, 970_000), now, 1), now), [940_000, 1_000_000]);
  assert.deepEqual(resolved(shifted(fixed(950_000, 990_000), now, 1), now), [960_000, 1_000_000]);
});

test('zooming out doubles, and a window that ends now goes on to end now', () => {
  const now = 10_000_000;
  assert.deepEqual(widened(last('15m'), now), { from: 'now-1800s', to: 'now' });
  assert.deepEqual(resolved(widened(fixed(4_000_000, 5_000_000), now), now), [3_500_000, 5_500_000]);
  assert.deepEqual(resolved(widened(fixed(9_000_000, 10_000_000), now), now), [8_000_000, 10_000_000]);
});

test('zooming in has an end, and a pinned window stays', () => {
  assert.deepEqual(fixed(10_000, 10_001), { from: String(10_000.5 - MIN_SPAN_MS / 2 + 0.5), to: String(10_000.5 + MIN_SPAN_MS / 2 + 0.5) });
  assert.deepEqual(fixed(20_000, 10_000), { from: '10000', to: '20000' });
  assert.deepEqual(pinned(last('1m'), 100_000), { from: '40000', to: '100000' });
  assert.deepEqual([rangeOf(last('6h')), rangeOf(fixed(0, 10_000))], ['6h', null]);
});

test('a window that was chosen is told even where it is the usual one: a dashboard may have its own', () => {
  const view = readView('?dashboard=pumps');
  assert.equal(writeView(view), '?dashboard=pumps');
  assert.equal(writeView({ ...view, span: last('15m') }), '?dashboard=pumps&from=now-15m&to=now');
  assert.deepEqual(readView('?dashboard=pumps&var.site=north').vars, { site: 'north' });
});
