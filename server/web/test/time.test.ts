import assert from 'node:assert/strict';
import { test } from 'node:test';

import { clock, field, fromField, iso, stamp } from '../src/time.ts';

/** Both changes of the clocks in Berlin in 2026, and the minutes around them. */
const SPRING = Date.UTC(2026, 2, 29, 1, 0);
const AUTUMN = Date.UTC(2026, 9, 25, 1, 0);

const inZone = (zone: string, check: () => void) => {
  const before = process.env.TZ;
  process.env.TZ = zone;
  try {
    check();
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
};

test('times are told in the zone asked for, over both changes of the clocks', () => {
  inZone('Europe/Berlin', () => {
    assert.deepEqual([SPRING - 60_000, SPRING].map((t) => clock(t, 'browser', false)), ['01:59', '03:00']);
    assert.deepEqual([AUTUMN - 60_000, AUTUMN].map((t) => clock(t, 'browser', false)), ['02:59', '02:00']);
    assert.deepEqual([SPRING - 60_000, AUTUMN].map((t) => iso(t, 'browser')), ['2026-03-29T01:59:00.000+01:00', '2026-10-25T02:00:00.000+01:00']);
    assert.equal(stamp(SPRING, 'utc'), '2026-03-29 01:00:00');
    assert.equal(iso(SPRING + 5, 'utc'), '2026-03-29T01:00:00.005Z');
  });
  inZone('America/St_Johns', () => assert.equal(iso(SPRING, 'browser'), '2026-03-28T22:30:00.000-02:30'));
});

test('what a field shows is what it gives back', () => {
  inZone('Asia/Kolkata', () => {
    for (const zone of ['browser', 'utc'] as const) assert.equal(fromField(field(SPRING, zone), zone), SPRING);
    assert.equal(fromField('2026-03-29T01:00', 'utc'), SPRING);
    for (const wrong of ['', 'x', '2026-03-29', '2026-99-29T01:00']) assert.equal(fromField(wrong, 'utc'), null);
  });
});
