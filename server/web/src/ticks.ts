// Where the marks of an axis of time stand: on round times of the clock on the wall, also on the days when clocks are set. Pure.

import { ahead, fromWall, parts, type Zone } from './time.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** From this step on, months are counted. */
const MONTH_MS = 28 * DAY_MS;
/** More marks than any axis has room for. */
const MAX_TICKS = 500;

export function ticks(min: number, max: number, step: number, zone: Zone): number[] {
  const all = step >= MONTH_MS ? months(min, max, Math.max(1, Math.round(step / (30.4 * DAY_MS))), zone) : step >= DAY_MS ? days(min, max, Math.round(step / DAY_MS), zone) : hours(min, max, step, zone);
  return all.filter((t) => t >= min && t <= max);
}

const rest = (value: number, step: number) => ((value % step) + step) % step;

function hours(min: number, max: number, step: number, zone: Zone): number[] {
  const found: number[] = [];
  if (step <= HOUR_MS) {
    // An hour that comes twice has its marks twice.
    for (let t = min - rest(min + ahead(min, zone), step); t <= max && found.length < MAX_TICKS; t += step) {
      t += rest(-(t + ahead(t, zone)), step);
      found.push(t);
    }
    return found;
  }
  const first = min + ahead(min, zone);
  for (let wall = first - rest(first, step); found.length < MAX_TICKS; wall += step) {
    const t = fromWall(wall, zone);
    if (t > max) break;
    // One that is left out on that day has no mark.
    if (t + ahead(t, zone) === wall) found.push(t);
  }
  return found;
}

function days(min: number, max: number, many: number, zone: Zone): number[] {
  const found: number[] = [];
  const first = Math.floor((min + ahead(min, zone)) / DAY_MS);
  for (let d = first - rest(first, many); found.length < MAX_TICKS; d += many) {
    const t = fromWall(d * DAY_MS, zone);
    if (t > max) break;
    found.push(t);
  }
  return found;
}

function months(min: number, max: number, many: number, zone: Zone): number[] {
  const found: number[] = [];
  const { year, month } = parts(min, zone);
  const first = year * 12 + month - 1;
  for (let m = first - rest(first, many); found.length < MAX_TICKS; m += many) {
    const t = fromWall(Date.UTC(Math.floor(m / 12), m % 12, 1), zone);
    if (t > max) break;
    found.push(t);
  }
  return found;
}
