// Draws a plot with uPlot. It decides colours, scales and axes; what is drawn comes from plot.ts.

import { useContext, useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';

import type { Series } from './api.ts';
import { state } from './format.ts';
import { fingers, key } from './hands.ts';
import { LookOf } from './look.ts';
import { drawLost, drawMarks, drawUnits, type Inks } from './marks.ts';
import type { Cell, Plot } from './plot.ts';
import { bars } from './bars.ts';
import { ticks } from './ticks.ts';
import { clock, day, type Zone } from './time.ts';
import { isBytes, scaleFor } from './units.ts';

interface Props {
  plot: Plot;
  series: Series[];
  /** All ids, in the order that gives them their colours. */
  order: number[];
  width: number;
  height: number;
  /** A series to lift out of the others. */
  focus: number | null;
  onHover: (index: number | null) => void;
  /** The cursor was moved by a key: it should be told in words. */
  onKey: () => void;
  onZoom: (from: number, to: number) => void;
  onWiden: () => void;
}

/** Each trace is three uPlot series: the two edges of its band, and its line. */
const PARTS = 3;
const lineOf = (n: number) => 1 + n * PARTS + 2;

const DAY_MS = 86_400_000;
const NARROW = 560;
/** A drag of fewer pixels was meant as a click. */
const LEAST_DRAG = 6;

export function Chart(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const { dark, zone } = useContext(LookOf);
  const { plot, series, width, height, focus } = props;
  const shape = plot.traces.map((t) => `${t.id}:${props.order.indexOf(t.id)}:${series.find((s) => s.id === t.id)?.unit}:${t.bars ? 'b' : ''}`).join();

  useEffect(() => {
    if (!place.current) return undefined;
    const made = new uPlot(options(latest, place.current, zone), data(latest.current.plot), place.current);
    fingers(made, () => latest.current.onZoom);
    chart.current = made;
    return () => {
      chart.current = null;
      made.destroy();
    };
  }, [shape, dark, zone, width < NARROW]);
  useEffect(() => chart.current?.setSize({ width, height }), [width, height]);
  useEffect(() => chart.current?.setData(data(plot)), [plot]);
  useEffect(() => {
    const n = plot.traces.findIndex((t) => t.id === focus);
    if (n >= 0) chart.current?.setSeries(lineOf(n), { focus: true });
    else chart.current?.setSeries(null, { focus: false });
  }, [focus, shape]);
  const names = series.map((s) => `${s.name} of ${s.device}`).join(', ');
  const onKeyDown = (event: KeyboardEvent) => {
    if (!chart.current || !key(chart.current, event, props.onZoom, props.onWiden)) return;
    event.preventDefault();
    props.onKey();
  };
  const help = 'arrow keys move the cursor, plus and minus zoom; the numbers are in the table below';
  return <div ref={place} class="plot" role="application" aria-roledescription="chart" aria-label={`Chart of ${names}; ${help}`} tabIndex={0} onKeyDown={onKeyDown} />;
}

function data(plot: Plot): uPlot.AlignedData {
  const none: Cell[] = plot.x.map(() => null);
  const columns = plot.traces.flatMap((t) => [t.band?.min ?? none, t.band?.max ?? none, t.line]);
  return [plot.x, ...columns] as uPlot.AlignedData;
}

/** A unit has a scale of its own; what has no unit shares one, and states share another. */
const scaleOf = (series: Series | undefined) => (series?.kind === 'state' ? 'states' : `y ${series?.unit ?? ''}`);

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 1000, 10_000];
const POWERS_OF_TWO = Array.from({ length: 62 }, (_, n) => 2 ** (n - 2));
const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30].concat(
  [1, 2, 5, 10, 15, 30].map((n) => n * 60),
  [1, 2, 3, 6, 12].map((n) => n * 3600),
  [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].map((n) => n * 86_400),
);

/** Steps of an axis that look round in what its numbers are shown in. */
function steps(scale: string): { incrs?: number[] } {
  if (scale === 'states') return { incrs: WHOLE };
  if (scale === 'y s') return { incrs: SECONDS };
  return isBytes(scale.slice(2)) ? { incrs: POWERS_OF_TWO } : {};
}

const shownAs = (u: uPlot, scale: string) => {
  const { min, max } = u.scales[scale] ?? {};
  return scaleFor(scale.slice(2), Math.max(Math.abs(min ?? 0), Math.abs(max ?? 0)));
};

function options(now: { current: Props }, element: HTMLElement, zone: Zone): uPlot.Options {
  const css = getComputedStyle(element);
  const colour = (name: string) => css.getPropertyValue(`--${name}`).trim();
  const { plot, series, order, width, height } = now.current;
  const chosen = plot.traces.map((t) => ({ id: t.id, barred: t.bars !== undefined, series: series.find((s) => s.id === t.id), ink: colour(`s${order.indexOf(t.id) % 8}`) }));
  const scales = [...new Set(chosen.map((c) => scaleOf(c.series)))];
  const states = chosen.filter((c) => c.series?.kind === 'state').map((c) => c.series);
  const only = states.length === 1 ? states[0] : undefined;
  const font = `12px ${css.fontFamily}`;
  const grid = { stroke: colour('grid'), width: 1 };
  const visibleAxes = width < NARROW ? 1 : scales.length;
  const inks: Inks = {
    lost: colour('lost'), text: colour('quiet'), bad: colour('bad'), uncertain: colour('uncertain'), paper: colour('card'), family: css.fontFamily,
  };
  const axes: uPlot.Axis[] = [
    { stroke: colour('quiet'), font, grid, ticks: { show: false }, splits: (_, __, min, max, step) => ticks(min, max, step, zone), values: (_, splits, __, ___, step) => times(splits, step, zone), space: 80, size: 44 },
    ...scales.map((scale, n): uPlot.Axis => ({
      scale,
      show: n < visibleAxes,
      side: n % 2 ? 1 : 3,
      stroke: colour('quiet'),
      font,
      grid: { ...grid, show: n === 0 },
      ticks: { show: false },
      size: axisSize,
      space: 36,
      ...steps(scale),
      values: (u, splits, _, __, step) =>
        scale === 'states' ? splits.map((v) => (only ? state(only, v) : String(v))) : splits.map((v) => scaleText(v, step, shownAs(u, scale).factor)),
    })),
  ];
  return {
    width,
    height,
    ms: 1,
    padding: [26, visibleAxes > 1 ? 0 : 22, 0, 0],
    legend: { show: false },
    focus: { alpha: 0.2 },
    cursor: {
      drag: { x: true, y: false, setScale: false, dist: LEAST_DRAG },
      points: { size: 7, width: 2 },
      sync: { key: 'pattoo', setSeries: false, scales: ['x', null], filters: { pub: (type) => type === 'mousemove' || type === 'mouseleave', sub: () => true } },
      bind: { dblclick: () => () => (now.current.onWiden(), null) },
    },
    scales: {
      x: { time: true, range: () => [now.current.plot.from, now.current.plot.to] },
      ...Object.fromEntries(scales.map((scale): [string, uPlot.Scale] => [scale, { range: (_, lo, hi) => padded(lo, hi, chosen.some((c) => c.barred && scaleOf(c.series) === scale)) }])),
    },
    axes,
    series: [
      {},
      ...chosen.flatMap(({ series: s, ink, barred }, n): uPlot.Series[] => {
        const scale = scaleOf(s);
        const edge: uPlot.Series = { scale, stroke: 'transparent', width: 0, points: { show: false } };
        const stepped = s?.kind === 'state' ? { paths: uPlot.paths.stepped?.({ align: 1 }) } : {};
        const barsOf = () => now.current.plot.traces.filter((t) => t.bars);
        if (barred) return [edge, edge, { scale, stroke: ink, fill: `${ink}b0`, width: 1, points: { show: false }, paths: bars(() => barsOf().find((t) => t.id === plot.traces[n]?.id), barsOf), label: `${n}` }];
        const points = { show: sparse, filter: lonely, size: 5, fill: ink, stroke: ink, width: 1 };
        return [edge, edge, { scale, stroke: ink, width: 1.75, points, ...stepped, label: `${n}` }];
      }),
    ],
    bands: chosen.map(({ ink }, n) => ({ series: [1 + n * PARTS + 1, 1 + n * PARTS] as [number, number], fill: `${ink}38` })),
    hooks: {
      drawClear: [(u) => drawLost(u, now.current.plot, inks)],
      draw: [
        (u) => drawMarks(u, now.current.plot, chosen.map((c) => scaleOf(c.series)), inks),
        (u) => drawUnits(u, scales.slice(0, visibleAxes).map((scale) => (scale === 'states' ? '' : shownAs(u, scale).symbol)), inks),
      ],
      setCursor: [(u) => now.current.onHover(u.cursor.idx ?? null)],
      setSelect: [
        (u) => {
          const { left, width } = u.select;
          if (width < LEAST_DRAG) return;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          now.current.onZoom(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'));
        },
      ],
    },
  };
}

/** Some air above and below, so that neither a flat line nor a peak sticks to the frame. */
function padded(lo: number | null, hi: number | null, barred: boolean): [number, number] {
  if (barred) return [Math.min(0, lo ?? 0), Math.max(hi ?? 0, 0) * 1.08 || 1];
  if (lo === null || hi === null || !Number.isFinite(lo) || !Number.isFinite(hi)) return [0, 1];
  const air = hi > lo ? (hi - lo) * 0.08 : Math.max(Math.abs(hi) * 0.05, 0.5);
  return [lo - air, hi + air];
}

/** Dots where there is room for them between the first and the last. */
function sparse(u: uPlot, n: number): boolean {
  const [x, cells] = [u.data[0], u.data[n] as Cell[]];
  const there = cells.flatMap((cell, i) => (typeof cell === 'number' ? [i] : []));
  const [first, last] = [x[there[0] ?? 0] ?? 0, x[there.at(-1) ?? 0] ?? 0];
  const pixels = u.valToPos(last, 'x') - u.valToPos(first, 'x');
  return there.length < 2 || pixels / (there.length - 1) >= 8;
}

/** A reading between two gaps has no line to be part of: it always gets a dot. */
function lonely(u: uPlot, n: number, show: boolean): number[] | null {
  if (show) return null;
  const cells = u.data[n] as Cell[];
  const found: number[] = [];
  let before: Cell = null;
  let last = -1;
  cells.forEach((cell, i) => {
    if (cell === undefined) return;
    if (cell === null && last >= 0 && before === null) found.push(last);
    if (cell === null) [before, last] = [null, -1];
    else [before, last] = [last >= 0 ? 0 : before, i];
  });
  if (last >= 0 && before === null) found.push(last);
  return found;
}

function times(splits: number[], step: number, zone: Zone): string[] {
  return splits.map((ms, n) => {
    if (step >= DAY_MS) return day(ms, zone);
    const time = clock(ms, zone, step < 60_000);
    return n === 0 || clock(ms, zone) === '00:00:00' ? `${time}\n${day(ms, zone)}` : time;
  });
}

function scaleText(value: number, step: number, factor: number): string {
  const decimals = Math.max(0, Math.min(12, -Math.floor(Math.log10(step * factor) + 1e-9)));
  const shown = value * factor;
  const size = Math.abs(shown);
  const notation = size >= 1e12 ? 'scientific' : size >= 1e5 ? 'compact' : 'standard';
  const shape: Intl.NumberFormatOptions =
    notation === 'standard' ? { minimumFractionDigits: Math.min(decimals, 6), maximumFractionDigits: Math.min(decimals, 6) } : { notation, maximumSignificantDigits: 6 };
  return new Intl.NumberFormat(undefined, shape).format(shown);
}

function axisSize(u: uPlot, values: string[] | null, n: number, cycle: number): number {
  const axis = u.axes[n] as uPlot.Axis & { _size?: number; font?: string[] };
  if (cycle > 1) return axis._size ?? 50;
  const longest = (values ?? []).reduce((a, b) => (b.length > a.length ? b : a), '');
  u.ctx.font = axis.font?.[0] ?? u.ctx.font;
  // The unit stands over it.
  return Math.max(44, Math.ceil(u.ctx.measureText(longest).width / devicePixelRatio) + 18);
}
