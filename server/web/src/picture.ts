// A chart as a picture that says by itself what it shows: title, window, zone, names of the series.

import type { Series } from './api.ts';

const MARGIN = 16;
const LINE = 20;

export async function picture(chart: HTMLCanvasElement, styled: HTMLElement, title: string, lines: string[], series: Series[], order: number[]): Promise<Blob> {
  const css = getComputedStyle(styled);
  const root = getComputedStyle(document.documentElement);
  const colour = (name: string) => root.getPropertyValue(`--${name}`).trim();
  const ratio = devicePixelRatio;
  const [width, top] = [chart.width / ratio + 2 * MARGIN, MARGIN + (1 + lines.length) * LINE + 8];
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round((top + chart.height / ratio + series.length * LINE + 2 * MARGIN) * ratio);
  const ctx = canvas.getContext('2d');
  if (!ctx) throw new Error('no canvas');
  ctx.scale(ratio, ratio);
  ctx.fillStyle = css.backgroundColor;
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = css.color;
  ctx.font = `600 16px ${css.fontFamily}`;
  ctx.fillText(title, MARGIN, MARGIN + 12);
  ctx.font = `12px ${css.fontFamily}`;
  ctx.fillStyle = colour('quiet');
  lines.forEach((line, n) => ctx.fillText(line, MARGIN, MARGIN + 12 + (n + 1) * LINE));
  ctx.drawImage(chart, MARGIN, top, chart.width / ratio, chart.height / ratio);
  series.forEach((s, n) => {
    const y = top + chart.height / ratio + MARGIN + n * LINE;
    ctx.fillStyle = colour(`s${order.indexOf(s.id) % 8}`);
    ctx.fillRect(MARGIN, y, 12, 12);
    ctx.fillStyle = css.color;
    ctx.fillText(`${s.name} · ${s.device} · ${s.gateway}`, MARGIN + 20, y + 10);
  });
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('no picture'))), 'image/png'));
}
