// Draws consumption as bars, each as wide as its period; series beside each other. One that is not known whole has an outline only.

import type uPlot from 'uplot';

import type { Trace } from './plot.ts';

/** Of a period, so much is left free on both sides together. */
const FREE = 0.16;

export function bars(mine: () => Trace | undefined, all: () => Trace[]): uPlot.Series.PathBuilder {
  return (u, n) => {
    const [fill, stroke] = [new Path2D(), new Path2D()];
    const trace = mine();
    const scale = u.series[n]?.scale ?? 'y ';
    const [place, many] = [all().findIndex((t) => t.id === trace?.id), Math.max(1, all().length)];
    trace?.bars?.values.forEach((value, i) => {
      const [from, to] = [trace.bars?.edges[i], trace.bars?.edges[i + 1]];
      if (value === null || from === undefined || to === undefined) return;
      const [left, right] = [u.valToPos(from, 'x', true), u.valToPos(to, 'x', true)];
      const wide = ((right - left) * (1 - FREE)) / many;
      const x = left + ((right - left) * FREE) / 2 + wide * place;
      const [y, foot] = [u.valToPos(value, scale, true), u.valToPos(0, scale, true)];
      const box = [x, Math.min(y, foot), Math.max(1, wide - (many > 1 ? 1 : 0)), Math.max(1, Math.abs(foot - y))] as const;
      stroke.rect(...box);
      if (trace.bars?.whole[i]) fill.rect(...box);
    });
    return { fill, stroke, clip: null, band: null, gaps: null, flags: 0 } as unknown as uPlot.Series.Paths;
  };
}
