// The series of a chart with their numbers: at the cursor or latest, least, most, average, last. A click on one shows it alone.

import { useContext } from 'preact/hooks';

import type { Latest, Series } from './api.ts';
import { number, reading, scaled, state, withUnit } from './format.ts';
import { LookOf } from './look.ts';
import { at, type Plot } from './plot.ts';
import { Quality } from './quality.tsx';
import { clock, stamp } from './time.ts';
import { scaleFor } from './units.ts';

interface Props {
  ids: number[];
  series: Map<number, Series>;
  latest: Map<number, Latest>;
  /** Those that are shown as what they counted. */
  counting: number[];
  plot: Plot | null;
  hovered: number | null;
  known: boolean;
  alone: number | null;
  /** Whether the window ends now. */
  live: boolean;
  onFocus: (id: number | null) => void;
  onAlone: (id: number | null) => void;
  onRemove?: (id: number) => void;
}

export function Legend(props: Props) {
  const { ids, series, plot, hovered, known, onRemove } = props;
  const { zone } = useContext(LookOf);
  const time = plot && hovered !== null ? plot.x[hovered] : undefined;
  const columns = onRemove ? 6 : 5;
  return (
    <div class="legend">
      <table>
        <thead>
          <tr>
            <th scope="col">Series</th>
            <th scope="col">{time === undefined ? 'Last' : clock(time, zone)}</th>
            <th scope="col">Min</th>
            <th scope="col">Max</th>
            <th scope="col">Avg</th>
            {onRemove && <th scope="col"><span class="sr">Take away</span></th>}
          </tr>
        </thead>
        <tbody>
          {ids.map((id, place) => {
            const s = series.get(id);
            if (!s) return <tr key={id} data-legend={id}><td colSpan={columns} class="quiet">{known ? `There is no series ${id}.` : 'Loading…'}</td></tr>;
            return <Row key={id} s={s} place={place} time={time} all={props} />;
          })}
        </tbody>
      </table>
    </div>
  );
}

function Row({ s, place, time, all }: { s: Series; place: number; time: number | undefined; all: Props }) {
  const { plot, hovered, alone } = all;
  const { zone } = useContext(LookOf);
  const trace = plot?.traces.find((t) => t.id === s.id);
  const last = all.latest.get(s.id);
  const scale = scaleFor(s.unit, Math.max(Math.abs(trace?.min ?? 0), Math.abs(trace?.max ?? 0)));
  const figure = (value: number | null | undefined) => (s.kind === 'state' && value != null ? state(s, value) : scaled(value, scale));
  const shown = all.counting.includes(s.id) ? { text: '', symbol: '' } : reading(s, last);
  const several = all.ids.some((id) => all.series.get(id)?.device !== s.device);
  return (
    <tr data-legend={s.id} class={alone !== null && alone !== s.id ? 'hidden' : ''} onMouseEnter={() => all.onFocus(s.id)} onMouseLeave={() => all.onFocus(null)}>
      <th scope="row">
        <button type="button" class="alone" aria-pressed={alone === s.id} title={alone === s.id ? 'Show all again' : 'Show this one alone'} onClick={() => all.onAlone(alone === s.id ? null : s.id)}>
          <i class={`swatch s${place % 8}`} aria-hidden="true" />
          <span class="who"><b>{s.name}</b>{several && <small> {s.device}</small>}</span>
        </button>
      </th>
      <td class="now" title={last?.t ? `${last.text ?? ''} ${s.unit} at ${stamp(last.t, zone)}` : ''} data-t={last?.t ?? ''}>
        {time !== undefined && trace && hovered !== null ? (
          figure(at(trace, hovered))
        ) : (!all.live || all.counting.includes(s.id)) && trace ? (
          figure(trace.last)
        ) : (
          <>
            {last?.quality && last.quality !== 'good' && <Quality quality={last.quality} reason={last.reason} word />}{' '}
            {last?.quality !== 'bad' && withUnit(shown.text, shown.symbol)}
          </>
        )}
      </td>
      <td>{figure(trace?.min)}</td>
      <td>{figure(trace?.max)}</td>
      <td>{s.kind === 'gauge' ? figure(trace?.avg) : number(null)}</td>
      {all.onRemove && (
        <td><button type="button" class="away" aria-label={`Take ${s.name} away`} onClick={() => all.onRemove?.(s.id)}>×</button></td>
      )}
    </tr>
  );
}
