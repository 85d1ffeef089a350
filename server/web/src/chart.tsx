// Draws a plot with uPlot. It decides colours, scales and marks; what is drawn comes from plot.ts.

import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';

import type { Series } from './api.ts';
import { clock } from './format.ts';
import type { Cell, Plot } from './plot.ts';

interface Props {
  plot: Plot;
  series: Series[];
  /** All chosen ids, in the order that gives them their colours. */
  order: number[];
  width: number;
  /** A series to lift out of the others. */
  focus: number | null;
  onHover: (index: number | null) => void;
}

/** Each trace is three uPlot series: the two edges of its band, and its line. */
const PARTS = 3;
const lineOf = (n: number) => 1 + n * PARTS + 2;

const DAY_MS = 86_400_000;
const NARROW = 560;
const MONTHS = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

export function Chart(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const props_ = useRef(props);
  props_.current = props;
  const dark = useMedia('(prefers-color-scheme: dark)');
  const { plot, series, width, focus } = props;
  const shape = plot.traces.map((t) => `${t.id}:${props.order.indexOf(t.id)}:${series.find((s) => s.id === t.id)?.unit}`).join();

  useEffect(() => {
    if (!place.current) return;
    const made = new uPlot(options(props_, place.current), data(props_.current.plot), place.current);
    chart.current = made;
    return () => {
      chart.current = null;
      made.destroy();
    };
  }, [shape, dark, width < NARROW]);
  useEffect(() => chart.current?.setSize({ width, height: height(width) }), [width]);
  useEffect(() => chart.current?.setData(data(plot)), [plot]);
  useEffect(() => {
    const n = plot.traces.findIndex((t) => t.id === focus);
    if (n >= 0) chart.current?.setSeries(lineOf(n), { focus: true });
    else chart.current?.setSeries(null, { focus: false });
  }, [focus, shape]);
  const names = series.map((s) => `${s.point} of ${s.device}`).join(', ');
  return <div ref={place} class="plot" role="img" aria-label={`Chart of ${names}; the numbers are in the table below`} />;
}

const height = (width: number) => (width < NARROW ? 260 : 380);

function data(plot: Plot): uPlot.AlignedData {
  const none: Cell[] = plot.x.map(() => null);
  const columns = plot.traces.flatMap((t) => [t.band?.min ?? none, t.band?.max ?? none, t.line]);
  return [plot.x, ...columns] as uPlot.AlignedData;
}

/** A unit has a scale of its own; what has no unit shares one, and states share another. */
const scaleOf = (series: Series | undefined) => (series?.kind === 'state' ? 'states' : `y ${series?.unit ?? ''}`);

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 1000, 10_000];

function options(now: { current: Props }, element: HTMLElement): uPlot.Options {
  const css = getComputedStyle(element);
  const colour = (name: string) => css.getPropertyValue(`--${name}`).trim();
  const { plot, series, order, width } = now.current;
  const chosen = plot.traces.map((t) => ({ id: t.id, series: series.find((s) => s.id === t.id), ink: colour(`s${order.indexOf(t.id) % 8}`) }));
  const scales = [...new Set(chosen.map((c) => scaleOf(c.series)))];
  const units = scales.map((scale) => (scale === 'states' ? '' : scale.slice(2)));
  const states = chosen.filter((c) => c.series?.kind === 'state').map((c) => c.series);
  const only = states.length === 1 ? states[0] : undefined;
  const font = `12px ${css.fontFamily}`;
  const grid = { stroke: colour('grid'), width: 1 };
  const visibleAxes = width < NARROW ? 1 : scales.length;
  const axes: uPlot.Axis[] = [
    { stroke: colour('quiet'), font, grid, ticks: { show: false }, values: (_, splits, __, ___, step) => times(splits, step), space: 80, size: 44 },
    ...scales.map((scale, n): uPlot.Axis => ({
      scale,
      show: n < visibleAxes,
      side: n % 2 ? 1 : 3,
      stroke: colour('quiet'),
      font,
      grid: { ...grid, show: n === 0 },
      ticks: { show: false },
      size: axisSize,
      ...(scale === 'states'
        ? { incrs: WHOLE, values: (_, splits) => splits.map((v) => only?.states[v] ?? String(v)) }
        : { values: (_, splits, __, ___, step) => splits.map((v) => scaleText(v, step)) }),
    })),
  ];
  return {
    width,
    height: height(width),
    ms: 1,
    padding: [26, visibleAxes > 1 ? 0 : 14, 0, 0],
    legend: { show: false },
    focus: { alpha: 0.2 },
    cursor: { drag: { x: false, y: false, setScale: false }, points: { size: 7, width: 2 } },
    scales: {
      x: { time: true, range: () => [now.current.plot.from, now.current.plot.to] },
      ...Object.fromEntries(scales.map((scale): [string, uPlot.Scale] => [scale, { range: (_, lo, hi) => padded(lo, hi) }])),
    },
    axes,
    series: [
      {},
      ...chosen.flatMap(({ series: s, ink }, n): uPlot.Series[] => {
        const scale = scaleOf(s);
        const edge: uPlot.Series = { scale, stroke: 'transparent', width: 0, points: { show: false } };
        const stepped = s?.kind === 'state' ? { paths: uPlot.paths.stepped?.({ align: 1 }) } : {};
        const points = { show: sparse, filter: lonely, size: 5, fill: ink, stroke: ink, width: 1 };
        return [edge, edge, { scale, stroke: ink, width: 1.75, points, ...stepped, label: `${n}` }];
      }),
    ],
    bands: chosen.map(({ ink }, n) => ({ series: [1 + n * PARTS + 1, 1 + n * PARTS] as [number, number], fill: `${ink}38` })),
    hooks: {
      drawClear: [(u) => drawLost(u, now.current.plot, colour('lost'), colour('quiet'), css.fontFamily)],
      draw: [
        (u) => drawMarks(u, now.current.plot, chosen.map((c) => scaleOf(c.series)), colour('bad'), colour('uncertain'), colour('card')),
        (u) => drawUnits(u, units.slice(0, visibleAxes), colour('quiet'), css.fontFamily),
      ],
      setCursor: [(u) => now.current.onHover(u.cursor.idx ?? null)],
    },
  };
}

/** Some air above and below, so that neither a flat line nor a peak sticks to the frame. */
function padded(lo: number | null, hi: number | null): [number, number] {
  if (lo === null || hi === null || !Number.isFinite(lo) || !Number.isFinite(hi)) return [0, 1];
  const air = hi > lo ? (hi - lo) * 0.08 : Math.max(Math.abs(hi) * 0.05, 0.5);
  return [lo - air, hi + air];
}

/** Dots where there is room for them. */
function sparse(u: uPlot, n: number): boolean {
  const cells = (u.data[n] as Cell[]).reduce<number>((sum, v) => sum + (typeof v === 'number' ? 1 : 0), 0);
  return cells <= u.bbox.width / devicePixelRatio / 8;
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

function times(splits: number[], step: number): string[] {
  return splits.map((ms, n) => {
    if (step >= DAY_MS) return MONTHS.format(ms);
    const time = clock(ms, step < 60_000);
    const midnight = new Date(ms).getHours() + new Date(ms).getMinutes() === 0;
    return n === 0 || midnight ? `${time}\n${MONTHS.format(ms)}` : time;
  });
}

function scaleText(value: number, step: number): string {
  const decimals = Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)));
  const size = Math.abs(value);
  const notation = size >= 1e12 ? 'scientific' : size >= 1e5 ? 'compact' : 'standard';
  const shape: Intl.NumberFormatOptions =
    notation === 'standard' ? { minimumFractionDigits: decimals, maximumFractionDigits: decimals } : { notation, maximumSignificantDigits: 6 };
  return new Intl.NumberFormat(undefined, shape).format(value);
}

function axisSize(u: uPlot, values: string[] | null, n: number, cycle: number): number {
  const axis = u.axes[n] as uPlot.Axis & { _size?: number; font?: string[] };
  if (cycle > 1) return axis._size ?? 50;
  const longest = (values ?? []).reduce((a, b) => (b.length > a.length ? b : a), '');
  u.ctx.font = axis.font?.[0] ?? u.ctx.font;
  return Math.ceil(u.ctx.measureText(longest).width / devicePixelRatio) + 18;
}

/** Hatches the times whose readings are known to be lost, and says why where there is room. */
function drawLost(u: uPlot, plot: Plot, ink: string, text: string, family: string): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const gap of plot.gaps.filter((gap) => gap.missing)) {
    const from = Math.max(bbox.left, u.valToPos(gap.from, 'x', true));
    const to = Math.min(bbox.left + bbox.width, Math.max(u.valToPos(gap.to, 'x', true), from + 3 * devicePixelRatio));
    ctx.save();
    ctx.beginPath();
    ctx.rect(from, bbox.top, to - from, bbox.height);
    ctx.clip();
    ctx.strokeStyle = ink;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    const apart = 9 * devicePixelRatio;
    for (let x = from - bbox.height; x < to; x += apart) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.font = `${11 * devicePixelRatio}px ${family}`;
    const label = `lost: ${gap.reason}`;
    if (ctx.measureText(label).width + 8 * devicePixelRatio < to - from) {
      ctx.fillStyle = text;
      ctx.fillText(label, from + 4 * devicePixelRatio, bbox.top + 14 * devicePixelRatio);
    }
    ctx.restore();
  }
  ctx.restore();
}

/** A cross at the foot for a bad reading, a diamond on the line for an uncertain one. */
function drawMarks(u: uPlot, plot: Plot, scales: string[], bad: string, uncertain: string, paper: string): void {
  const { ctx, bbox } = u;
  const r = 3.2 * devicePixelRatio;
  const foot = bbox.top + bbox.height - 2 * r;
  ctx.save();
  ctx.lineWidth = 1.6 * devicePixelRatio;
  plot.traces.forEach((trace, n) => {
    const free = { good: 0, uncertain: -Infinity, bad: -Infinity };
    for (const mark of trace.marks) {
      const x = u.valToPos(mark.t, 'x', true);
      if (x < bbox.left || x > bbox.left + bbox.width || x < free[mark.quality]) continue;
      free[mark.quality] = x + 2.4 * r;
      ctx.beginPath();
      if (mark.quality === 'bad' || mark.y === null) {
        const y = foot - n * 3 * r;
        ctx.strokeStyle = mark.quality === 'bad' ? bad : uncertain;
        ctx.moveTo(x - r, y - r);
        ctx.lineTo(x + r, y + r);
        ctx.moveTo(x + r, y - r);
        ctx.lineTo(x - r, y + r);
      } else {
        const y = u.valToPos(mark.y, scales[n] ?? 'y ', true);
        ctx.strokeStyle = uncertain;
        ctx.fillStyle = paper;
        ctx.moveTo(x, y - 1.5 * r);
        ctx.lineTo(x + 1.5 * r, y);
        ctx.lineTo(x, y + 1.5 * r);
        ctx.lineTo(x - 1.5 * r, y);
        ctx.closePath();
        ctx.fill();
      }
      ctx.stroke();
    }
  });
  ctx.restore();
}

/** The unit above its axis. */
function drawUnits(u: uPlot, units: string[], ink: string, family: string): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `600 ${12 * devicePixelRatio}px ${family}`;
  ctx.fillStyle = ink;
  let [left, right] = [bbox.left, bbox.left + bbox.width];
  units.forEach((unit, n) => {
    const axis = u.axes[n + 1] as uPlot.Axis & { _size?: number };
    const size = (axis._size ?? 50) * devicePixelRatio;
    ctx.textAlign = n % 2 ? 'left' : 'right';
    const gap = 8 * devicePixelRatio;
    ctx.fillText(unit, n % 2 ? right + gap : left - gap, bbox.top - 10 * devicePixelRatio);
    if (n % 2) right += size;
    else left -= size;
  });
  ctx.restore();
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const change = () => setMatches(media.matches);
    media.addEventListener('change', change);
    return () => media.removeEventListener('change', change);
  }, [query]);
  return matches;
}

/** The width of an element, as it changes. */
export function useWidth(): [(element: HTMLElement | null) => void, number] {
  const [element, setElement] = useState<HTMLElement | null>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!element) return;
    const observer = new ResizeObserver((entries) => setWidth(Math.floor(entries[0]?.contentRect.width ?? 0)));
    observer.observe(element);
    return () => observer.disconnect();
  }, [element]);
  return [setElement, width];
}
