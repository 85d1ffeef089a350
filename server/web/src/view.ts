// What the page shows, as the address says it: `?range=1h&series=3,7`. Pure.

export const RANGES = ['15m', '1h', '6h', '24h', '7d'] as const;

export type Range = (typeof RANGES)[number];

/** Most series on one chart: more cannot be told apart. */
export const MAX_CHARTED = 12;

export interface View {
  range: Range;
  /** Ids, in the order in which they were chosen. */
  series: number[];
}

export function readView(query: string): View {
  const params = new URLSearchParams(query);
  const range = RANGES.find((r) => r === params.get('range')) ?? '15m';
  const ids = (params.get('series') ?? '').split(',').map(Number);
  const valid = ids.filter((id) => Number.isSafeInteger(id) && id > 0 && id < 2 ** 32);
  return { range, series: [...new Set(valid)].slice(0, MAX_CHARTED) };
}

export function writeView(view: View): string {
  const series = view.series.length ? `&series=${view.series.join()}` : '';
  return `?range=${view.range}${series}`;
}

/** Adds a series, or takes it away if it is there. A full chart gives up its oldest. */
export function toggled(view: View, id: number): View {
  if (view.series.includes(id)) return { ...view, series: view.series.filter((s) => s !== id) };
  return { ...view, series: [...view.series, id].slice(-MAX_CHARTED) };
}
