// What a chart shows as CSV: one row for each series and time. The dot is the decimal mark, times are ISO 8601. Pure.

import type { Series } from './api.ts';
import { isRates, type Counted } from './counters.ts';
import { isBuckets, type Answer } from './merge.ts';
import { iso, type Zone } from './time.ts';
import { rateOf } from './units.ts';

type Cell = string | number | boolean | null | undefined;

/** A field that a spreadsheet would run as a formula is made a text. */
export function field(value: Cell): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'string') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** All there are, in this order; those that nothing has are left out. */
const COLUMNS = ['time', 'until', 'gateway', 'device', 'point', 'unit', 'value', 'min', 'avg', 'max', 'last', 'total', 'at_least', 'known', 'readings', 'uncertain', 'bad', 'quality', 'reason'] as const;

type Row = Partial<Record<(typeof COLUMNS)[number], Cell>>;

export function csv(answers: (Answer | Counted)[], series: Map<number, Series>, zone: Zone): string {
  const rows = answers.flatMap((answer) => rowsOf(answer, series, zone));
  const columns = COLUMNS.filter((column) => rows.some((row) => column in row));
  return [columns.join(), ...rows.map((row) => columns.map((column) => field(row[column])).join())].join('\r\n') + '\r\n';
}

function rowsOf(answer: Answer | Counted, series: Map<number, Series>, zone: Zone): Row[] {
  const names = (id: number): Row => {
    const s = series.get(id);
    return { gateway: s?.gateway, device: s?.device, point: s?.point, unit: s?.unit };
  };
  const from = (answer: { t0: number; step_ms: number }, i: number) => iso(answer.t0 + i * answer.step_ms, zone);
  if ('consumption' in answer) {
    const at = (i: number) => iso(answer.edges[i] ?? 0, zone);
    return answer.consumption.flatMap((c) => c.total.map((total, i): Row => ({ time: at(i), until: at(i + 1), ...names(c.id), total, at_least: c.at_least[i] })));
  }
  if ('rates' in answer && isRates(answer)) {
    return answer.rates.flatMap((c) => {
      const { unit, factor } = rateOf(series.get(c.id)?.unit ?? '');
      const by = (v: number | null | undefined) => (v == null ? null : v * factor);
      return c.avg.flatMap((avg, i): Row[] => (avg === null ? [] : [{ time: from(answer, i), ...names(c.id), unit, min: by(c.min[i]), avg: by(avg), max: by(c.max[i]), known: c.known[i] }]));
    });
  }
  if (isBuckets(answer)) {
    return answer.series.flatMap((c) =>
      c.count.flatMap((readings, i): Row[] => {
        if (readings + (c.bad[i] ?? 0) === 0) return [];
        return [{ time: from(answer, i), ...names(c.id), min: c.min[i], avg: c.avg[i], max: c.max[i], last: c.last[i], readings, uncertain: c.uncertain[i], bad: c.bad[i] }];
      }),
    );
  }
  return answer.series.flatMap((c) => c.t.map((t, i): Row => ({ time: iso(t, zone), ...names(c.id), value: c.v[i], quality: c.q[i], reason: c.reason[i] })));
}
