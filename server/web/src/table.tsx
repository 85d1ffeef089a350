// The numbers of a chart as a table, newest first, a page at a time.

import { useContext, useState } from 'preact/hooks';

import type { Series } from './api.ts';
import { EMPTY, number, state } from './format.ts';
import { LookOf } from './look.ts';
import type { Plot, Trace } from './plot.ts';
import { stamp, zoneName } from './time.ts';
import { scaleFor } from './units.ts';

const ROWS = 25;

export function Table({ title, plot, series }: { title: string; plot: Plot; series: Map<number, Series> }) {
  const { zone } = useContext(LookOf);
  const [wanted, setPage] = useState(0);
  const filled = plot.x.flatMap((_, i) => (plot.traces.some((t) => typeof t.line[i] === 'number') ? [i] : [])).reverse();
  const pages = Math.max(1, Math.ceil(filled.length / ROWS));
  const page = Math.min(wanted, pages - 1);
  const columns = plot.traces.map((trace) => ({ trace, s: series.get(trace.id), unit: scaleFor(series.get(trace.id)?.unit ?? '', 0).symbol }));
  return (
    <div class="numbers">
      <div class="scroll" tabIndex={0} role="region" aria-label={`Numbers of ${title}`}>
        <table>
          <thead>
            <tr>
              <th scope="col">Time <small>{zoneName(zone)}</small></th>
              {columns.map(({ trace, s, unit }) => <th scope="col" key={trace.id}>{s?.name} {unit && <small>{unit}</small>}</th>)}
            </tr>
          </thead>
          <tbody>
            {filled.slice(page * ROWS, (page + 1) * ROWS).map((i) => (
              <tr key={plot.x[i]}>
                <th scope="row">{stamp(plot.x[i] ?? 0, zone)}</th>
                {columns.map(({ trace, s }) => <td key={trace.id}>{cell(trace, i, s)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="pages">
        <button type="button" disabled={page === 0} onClick={() => setPage(page - 1)}>Newer</button>
        <span>Page {page + 1} of {pages}</span>
        <button type="button" disabled={page + 1 >= pages} onClick={() => setPage(page + 1)}>Older</button>
      </p>
    </div>
  );
}

function cell(trace: Trace, i: number, s: Series | undefined): string {
  const value = trace.line[i];
  if (typeof value !== 'number') return EMPTY;
  if (s?.kind === 'state') return state(s, value);
  const [lo, hi] = [trace.band?.min[i], trace.band?.max[i]];
  const band = typeof lo === 'number' && typeof hi === 'number' && lo !== hi ? ` (${number(lo)} … ${number(hi)})` : '';
  return number(value) + band;
}
