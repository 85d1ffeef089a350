// From the series of a device to its page: what lies on one chart, which are states, counters, texts. Pure, and without any
// configuration: names and units say what belongs together.

import type { Series } from './api.ts';
import { scaleFor } from './units.ts';

export interface Group {
  title: string;
  series: Series[];
}

export interface Groups {
  charts: Group[];
  states: Series[];
  counters: Series[];
  texts: Series[];
}

/** Most series on one chart of a device's page. */
const MAX_GROUP = 8;

/** What is left of a name besides these is the quantity. */
const AGGREGATES = ['total', 'sum', 'avg', 'average', 'mean', 'neutral', 'ln', 'll'];

/** `power_l1` -> `power #`, `if_in_octets[eth0]` -> `if in octets`: names that differ in phase or row only become the same. */
export function quantity(point: string): string {
  const tokens = point.replace(/\[.*\]$/s, '').split('_').filter((token) => token && !AGGREGATES.includes(token));
  return tokens.map((token) => (/^(l?\d+|[abc])$/.test(token) ? '#' : token)).join(' ');
}

function titled(name: string): string {
  const words = name.replaceAll('#', '').trim().replace(/\s+/g, ' ');
  const between = name.includes('# #') ? ' between phases' : '';
  return words ? words.charAt(0).toUpperCase() + words.slice(1) + between : name;
}

export function grouped(series: Series[]): Groups {
  const of = (kind: Series['kind']) => series.filter((s) => s.kind === kind);
  // What counters count is a line as well: its rate.
  return { charts: told([...charts(of('gauge')), ...charts(of('counter'))]), states: of('state'), counters: of('counter'), texts: of('text') };
}

/** No two charts of a page are called the same. */
function told(groups: Group[]): Group[] {
  const seen = new Set<string>();
  return groups.map((group) => {
    let { title } = group;
    if (seen.has(title) && group.series[0]?.unit) title = `${title} in ${scaleFor(group.series[0].unit, 0).symbol}`;
    for (let n = 2; seen.has(title); n += 1) title = `${group.title}, ${n}`;
    seen.add(title);
    return { ...group, title };
  });
}

function charts(gauges: Series[]): Group[] {
  const exact = by(gauges, (s) => `${quantity(s.point).replace(/ #$/, '')}\n${s.unit}`);
  // What stands alone joins others of its unit whose name begins alike: memory_used, memory_available.
  const alone = [...exact.values()].flatMap((group) => (group.length === 1 ? group : []));
  const first = (s: Series) => `${quantity(s.point).split(' ')[0] ?? ''}\n${s.unit}`;
  const families = by(alone, first);
  const groups = new Map<string, Series[]>();
  for (const [key, group] of exact) {
    const [one] = group;
    if (group.length > 1 || !one) groups.set(key, group);
    else groups.set(`family ${first(one)}`, families.get(first(one)) ?? group);
  }
  return [...groups].flatMap(([key, group]) => {
    const shared = key.startsWith('family ') && group.length > 1;
    const title = titled(shared ? key.slice(7).split('\n')[0] ?? '' : spoken(group));
    const parts = Math.ceil(group.length / MAX_GROUP);
    return Array.from({ length: parts }, (_, n): Group => ({
      title: parts > 1 ? `${title} (${n + 1} of ${parts})` : title,
      series: group.slice(n * MAX_GROUP, (n + 1) * MAX_GROUP),
    }));
  });
}

/** What a chart is called: by the name of its points where they all have one, row of a table or not. */
function spoken(group: Series[]): string {
  const names = new Set(group.map((s) => (s.name === s.point ? '' : s.name.replace(/ \[.*\]$/s, ''))));
  const [name] = names;
  return name && names.size === 1 ? name : quantity(group[0]?.point ?? '');
}

function by(series: Series[], key: (s: Series) => string): Map<string, Series[]> {
  const groups = new Map<string, Series[]>();
  for (const s of series) {
    const of = key(s);
    const group = groups.get(of);
    if (group) group.push(s);
    else groups.set(of, [s]);
  }
  return groups;
}
