// What is drawn on a chart besides its lines: times whose readings are lost, readings that are bad or doubtful, units.

import type uPlot from 'uplot';

import type { Gap } from './api.ts';
import type { Plot } from './plot.ts';

export interface Inks {
  lost: string;
  text: string;
  bad: string;
  uncertain: string;
  paper: string;
  family: string;
}

/** Hatches the times whose readings are known to be lost, and says why where there is room. */
export function drawLost(u: uPlot, plot: Plot, inks: Inks): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const perPixel = (plot.to - plot.from) / Math.max(1, bbox.width);
  for (const gap of joined(plot.gaps.filter((gap) => gap.missing), 3 * devicePixelRatio * perPixel)) {
    const from = Math.max(bbox.left, u.valToPos(gap.from, 'x', true));
    const to = Math.min(bbox.left + bbox.width, Math.max(u.valToPos(gap.to, 'x', true), from + 3 * devicePixelRatio));
    ctx.save();
    ctx.beginPath();
    ctx.rect(from, bbox.top, to - from, bbox.height);
    ctx.clip();
    ctx.strokeStyle = inks.lost;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    const apart = 9 * devicePixelRatio;
    // From the frame on, so that neighbours look like one.
    for (let x = bbox.left - bbox.height; x < to; x += apart) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.font = `${11 * devicePixelRatio}px ${inks.family}`;
    const label = `lost: ${gap.reason}`;
    if (ctx.measureText(label).width + 8 * devicePixelRatio < to - from) {
      ctx.fillStyle = inks.text;
      ctx.fillText(label, from + 4 * devicePixelRatio, bbox.top + 14 * devicePixelRatio);
    }
    ctx.restore();
  }
  ctx.restore();
}

/** Losses of one reason that follow each other within `near` ms are one. */
export function joined(gaps: Gap[], near: number): Gap[] {
  const found: Gap[] = [];
  for (const gap of gaps.toSorted((a, b) => a.from - b.from)) {
    const before = found.findLast((earlier) => earlier.reason === gap.reason && earlier.gateway === gap.gateway);
    if (before && gap.from <= before.to + near) before.to = Math.max(before.to, gap.to);
    else found.push({ ...gap });
  }
  return found;
}

/** A cross at the foot for a bad reading, a diamond on the line for an uncertain one. */
export function drawMarks(u: uPlot, plot: Plot, scales: string[], inks: Inks): void {
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
        ctx.strokeStyle = mark.quality === 'bad' ? inks.bad : inks.uncertain;
        ctx.moveTo(x - r, y - r);
        ctx.lineTo(x + r, y + r);
        ctx.moveTo(x + r, y - r);
        ctx.lineTo(x - r, y + r);
      } else {
        const y = u.valToPos(mark.y, scales[n] ?? 'y ', true);
        ctx.strokeStyle = inks.uncertain;
        ctx.fillStyle = inks.paper;
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
export function drawUnits(u: uPlot, units: string[], inks: Inks): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `600 ${12 * devicePixelRatio}px ${inks.family}`;
  ctx.fillStyle = inks.text;
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
