// Fingers and keys on a chart: two fingers zoom, one moves the crosshair, and so do the arrow keys.

import type uPlot from 'uplot';

type Zoom = (from: number, to: number) => void;

/** Two fingers stretch the window; what was under them stays under them. */
export function fingers(u: uPlot, zoom: () => Zoom): void {
  const over = u.over;
  let held: [number, number] | null = null;
  let now: [number, number] | null = null;
  const places = (event: TouchEvent) => [...event.touches].map((touch) => touch.clientX - over.getBoundingClientRect().left);
  const pair = (event: TouchEvent): [number, number] | null => {
    const [a, b] = places(event).sort((a, b) => a - b);
    return a !== undefined && b !== undefined ? [a, b] : null;
  };
  over.addEventListener('touchstart', (event) => {
    const two = pair(event);
    if (!two) return;
    event.preventDefault();
    now = two;
    held = [u.posToVal(two[0], 'x'), u.posToVal(two[1], 'x')];
  }, { passive: false });
  over.addEventListener('touchmove', (event) => {
    const [x] = places(event);
    if (held) {
      event.preventDefault();
      now = pair(event) ?? now;
    } else if (x !== undefined) {
      u.setCursor({ left: Math.max(0, Math.min(x, over.clientWidth)), top: 10 });
    }
  }, { passive: false });
  over.addEventListener('touchend', () => {
    if (held && now && now[1] - now[0] > 10) {
      const perPixel = (held[1] - held[0]) / (now[1] - now[0]);
      const from = held[0] - now[0] * perPixel;
      zoom()(from, from + over.clientWidth * perPixel);
    }
    [held, now] = [null, null];
  });
}

/** Steps of the cursor by key; Shift makes ten of one. */
const STEPS: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: -50, PageDown: 50, Home: -Infinity, End: Infinity };

/** Moves the crosshair, or zooms around it by + and -. Gives whether the key was meant for the chart. */
export function key(u: uPlot, event: KeyboardEvent, zoom: Zoom, wider: () => void): boolean {
  const x = u.data[0];
  const [first, end] = [x.findIndex((t) => t >= (u.scales.x?.min ?? 0)), x.length - 1];
  if (event.ctrlKey || event.altKey || event.metaKey || end < 0 || first < 0) return false;
  const at = u.cursor.idx ?? end;
  const step = STEPS[event.key];
  if (step !== undefined) {
    const next = Math.max(first, Math.min(end, at + step * (event.shiftKey ? 10 : 1)));
    u.setCursor({ left: u.valToPos(x[next] ?? 0, 'x'), top: u.over.clientHeight / 2 });
    return true;
  }
  if (event.key === 'Escape') {
    u.setCursor({ left: -10, top: -10 });
    return true;
  }
  if (event.key === '+') {
    const [lo, hi] = [u.scales.x?.min ?? 0, u.scales.x?.max ?? 0];
    const middle = u.cursor.idx === null || u.cursor.idx === undefined ? (lo + hi) / 2 : (x[at] ?? lo);
    zoom(middle - (hi - lo) / 4, middle + (hi - lo) / 4);
    return true;
  }
  if (event.key === '-') wider();
  return event.key === '-';
}
