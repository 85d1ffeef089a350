// What a chart shows as CSV: one row for each series and time. The dot is the decimal mark, times are ISO 8601. Pure.

import type { Series } from './api.ts';
import { isBuckets, type Answer } from './merge.ts';
import { iso } from './time.ts';
import type { Zone } from './view.ts';

/** A field that a spreadsheet would run as a formula is made a text. */
export function field(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'string') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const BUCKETS = ['time', 'gateway', 'device', 'point', 'unit', 'min', 'avg', 'max', 'last', 'readings', 'uncertain', 'bad'];
const EXACT = ['time', 'gateway', 'device', 'point', 'unit', 'value', 'quality', 'reason'];

export function csv(answer: Answer, series: Map<number, Series>, zone: Zone): string {
  const names = (id: number) => {
    const s = series.get(id);
    return [s?.gateway, s?.device, s?.point, s?.unit];
  };
  const rows: (string | number | boolean | null | undefined)[][] = [];
  if (isBuckets(answer)) {
    for (const c of answer.series) {
      c.count.forEach((count, i) => {
        if (count + (c.bad[i] ?? 0) === 0) return;
        rows.push([iso(answer.t0 + i * answer.step_ms, zone), ...names(c.id), c.min[i], c.avg[i], c.max[i], c.last[i], count, c.uncertain[i], c.bad[i]]);
      });
    }
  } else {
    for (const c of answer.series) c.t.forEach((t, i) => rows.push([iso(t, zone), ...names(c.id), c.v[i], c.q[i], c.reason[i]]));
  }
  return [isBuckets(answer) ? BUCKETS : EXACT, ...rows].map((row) => row.map(field).join()).join('\r\n') + '\r\n';
}
