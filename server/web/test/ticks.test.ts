import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ticks } from '../src/ticks.ts';
import { fromField, fromWall, iso, parts, stamp } from '../src/time.ts';

const H = 3_600_000;
/** Both changes of the clocks in Vienna in 2026, looked at from a system that is elsewhere. */
const SPRING = Date.UTC(2026, 2, 29, 1);
const AUTUMN = Date.UTC(2026, 9, 25, 1);
const ELSEWHERE = ['UTC', 'America/St_Johns', 'Australia/Lord_Howe', 'Europe/Vienna'];

test('marks stand on round times of the zone over both changes, wherever the system is', () => {
  const before = process.env.TZ;
  for (const system of ELSEWHERE) {
    process.env.TZ = system;
    const told = (zone: string, from: number, to: number, step: number) => ticks(from, to, step, zone).map((t) => stamp(t, zone).slice(5, 16));
    for (const zone of ['Europe/Vienna', 'Asia/Kolkata', 'Australia/Lord_Howe', 'utc']) {
      for (const step of [60_000, 15 * 60_000, H, 2 * H, 6 * H, 12 * H]) {
        for (const at of [SPRING, AUTUMN, Date.UTC(2026, 3, 4, 15)]) {
          const found = ticks(at - 4 * step, at + 4 * step, step, zone);
          assert.ok(found.length >= 6 && found.length <= 10, `${system} ${zone} ${step}: ${found.length} marks`);
          for (const t of found) {
            const { hour, minute } = parts(t, zone);
            const wall = (hour * 60 + minute) * 60_000;
            // Half an hour of Lord Howe leaves no round hour on one mark.
            assert.ok(wall % step === 0 || (zone === 'Australia/Lord_Howe' && wall % (H / 2) === 0), `${system} ${zone} ${step}: ${stamp(t, zone)}`);
          }
          assert.ok(found.every((t, i) => i === 0 || t > (found[i - 1] ?? t)), 'ascending');
        }
      }
    }
    assert.deepEqual(told('Europe/Vienna', SPRING - 2 * H, SPRING + 2 * H, H), ['03-29 00:00', '03-29 01:00', '03-29 03:00', '03-29 04:00', '03-29 05:00']);
    assert.deepEqual(told('Europe/Vienna', AUTUMN - 26 * H, AUTUMN + 26 * H, 24 * H), ['10-25 00:00', '10-26 00:00']);
    assert.deepEqual(told('Europe/Vienna', Date.UTC(2026, 1, 10), Date.UTC(2026, 5, 10), 30 * 24 * H), ['03-01 00:00', '04-01 00:00', '05-01 00:00', '06-01 00:00']);
  }
  if (before === undefined) delete process.env.TZ;
  else process.env.TZ = before;
});

test('a time on the wall is found again, and one that never was is the next one', () => {
  for (const zone of ['Europe/Vienna', 'America/St_Johns', 'utc', 'browser']) {
    for (const at of [SPRING - 3 * H, SPRING + 3 * H, AUTUMN + 3 * H]) assert.equal(fromField(stamp(at, zone).replace(' ', 'T'), zone), at, zone);
  }
  assert.equal(iso(fromWall(Date.UTC(2026, 2, 29, 2, 30), 'Europe/Vienna'), 'Europe/Vienna'), '2026-03-29T03:30:00.000+02:00');
  assert.equal(iso(AUTUMN, 'Europe/Vienna'), '2026-10-25T02:00:00.000+01:00');
});
