// Writes what the page itself adds to a dashboard, as YAML. A text in double quotes of JSON is one of YAML too. Pure.

import type { Series } from './api.ts';
import type { CounterMode } from './view.ts';

/** A pattern that fits this name and no other. */
export const exactly = (name: string): string => name.replace(/[*$\\]/g, '\\$&');

/** A title of one line. */
const line = (text: string): string => text.replace(/\s+/g, ' ').trim();

/** A chart of these series, as a block. */
export function chartBlock(title: string, series: Series[], counter: CounterMode | null): string {
  const names = series.map(({ gateway, device, point }) => {
    const [g, d, p] = [gateway, device, point].map((name) => JSON.stringify(exactly(name)));
    return `  - { gateway: ${g}, device: ${d}, point: ${p} }`;
  });
  return [`title: ${JSON.stringify(line(title))}`, 'type: chart', ...(counter ? [`counter: ${counter}`] : []), 'series:', ...names, ''].join('\n');
}

/** A dashboard with panels of these blocks. */
export function dashboardText(title: string, blocks: string[]): string {
  const item = (block: string) => block.trimEnd().split('\n').map((l, n) => `${n ? '    ' : '  - '}${l}`).join('\n');
  const panels = blocks.length ? `panels:\n${blocks.map(item).join('\n')}` : 'panels: []';
  return `version: 1\ntitle: ${JSON.stringify(line(title))}\n${panels}\n`;
}

/** The name of a file for a title. */
export function nameFor(title: string): string {
  const plain = title.normalize('NFKD').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '');
  return plain.slice(0, 63) || 'dashboard';
}

/** A list with one of it at another place. */
export function moved<T>(list: T[], from: number, to: number): T[] {
  const rest = list.toSpliced(from, 1);
  return rest.toSpliced(to, 0, ...list.slice(from, from + 1));
}
