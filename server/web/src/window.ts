// A window of series as it is on screen: asked for once, kept up to date by the feed, asked for anew where that cannot be.

import { useEffect, useState } from 'preact/hooks';

import * as api from './api.ts';
import { feed } from './feed.ts';
import { cut, isBuckets, merged, patched, stale, type Answer } from './merge.ts';
import { exact, rows } from './plot.ts';
import { whyNot } from './poll.ts';
import type { Counted } from './counters.ts';
import { isLive, resolved, type CounterMode, type Span } from './view.ts';

export interface Window {
  /** None until the first answer. */
  answer: Answer | null;
  /** Why there is no newer one. */
  error: string | null;
}

/** After a failure. */
const AGAIN_MS = 2000;
/** The window moves on in steps of a pixel, no more often than this. */
const TICK_MS = 1000;
/** Buckets under way are asked for so often within one step, at most. */
const TAILS_PER_STEP = 10;
const [MIN_TAIL_MS, MAX_TAIL_MS] = [1000, 15_000];

/** In place of pixels: exact readings, as many as one answer may hold. Texts have no other form. */
export const EXACT = Infinity;

/** The form that suits the window: exact readings while there are no more than pixels, else buckets. */
async function load(ids: number[], span: Span, pixels: number, signal: AbortSignal): Promise<Answer> {
  if (pixels === EXACT) return api.raw(ids, span.from, span.to, signal);
  const coarse = await api.buckets(ids, span.from, span.to, pixels, signal);
  if (coarse.partial || !exact(rows(coarse), pixels)) return coarse;
  const fine = await api.raw(ids, coarse.from, coarse.to, signal);
  return fine.truncated ? coarse : fine;
}

/** `pixels` 0 waits until the width is known. The last picture of the same series stays until the next one is there. */
export function useWindow(ids: number[], span: Span, pixels: number): Window {
  const of = ids.join();
  const key = of && pixels ? `${of} ${span.from} ${span.to} ${pixels}` : '';
  const [state, setState] = useState<Window & { of: string }>({ of, answer: null, error: null });
  useEffect(() => {
    if (!key) return undefined;
    return keep(ids, span, pixels, (change) => setState((old) => ({ ...(old.of === of ? old : { answer: null, error: null }), ...change, of })));
  }, [key]);
  return state.of === of ? state : { answer: null, error: null };
}

type Change = (change: Partial<Window>) => void;

/** Keeps one window up to date until the function that it gives is called. */
function keep(ids: number[], span: Span, pixels: number, change: Change): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const later = (ms: number, what: () => void) => {
    const timer = setTimeout(() => (timers.delete(timer), what()), ms);
    timers.add(timer);
  };
  let answer: Answer | null = null;
  let waiting: api.News[] = [];
  let loading = false;
  let asking = false;
  /** The feed began after the answer under way was asked for: something between the two may be missing. */
  let late = false;

  const show = (next: Answer) => {
    answer = isLive(span) ? cut(next, ...resolved(span, feed.now())) : next;
    change({ answer, error: null });
  };
  const reload = async () => {
    if (loading) return;
    loading = true;
    late = false;
    try {
      const found = await load(ids, span, pixels, signal);
      loading = false;
      if (isLive(span)) feed.heard(found.to);
      show(found);
      if (late) void reload();
      else if (waiting.length) take([]);
    } catch (e) {
      loading = false;
      if (signal.aborted) return;
      change({ error: whyNot(e) });
      later(AGAIN_MS, () => void reload());
    }
  };
  const take = (news: api.News[]) => {
    waiting.push(...news);
    if (loading || !answer) return;
    if (!isBuckets(answer)) {
      const all = waiting;
      waiting = [];
      show(all.reduce((next, one) => merged(next, [one]), answer));
    } else if (!asking) {
      asking = true;
      later(Math.min(MAX_TAIL_MS, Math.max(MIN_TAIL_MS, answer.step_ms / TAILS_PER_STEP)), () => void tail());
    }
  };
  const tail = async () => {
    const news = waiting;
    waiting = [];
    const wanted = answer && isBuckets(answer) ? stale(answer, news, feed.now()) : null;
    try {
      if (!wanted) return;
      const found = await api.buckets(ids, wanted.from, wanted.to, wanted.points, signal);
      const next = answer && isBuckets(answer) ? patched(answer, found) : null;
      if (next) show(next);
      else await reload();
    } catch (e) {
      if (!signal.aborted) {
        waiting.unshift(...news);
        change({ error: whyNot(e) });
      }
    } finally {
      asking = false;
      if (waiting.length && !signal.aborted) take([]);
    }
  };

  void reload();
  if (!isLive(span)) return () => stop.abort();
  const start = () => {
    late = loading;
    void reload();
  };
  const leave = feed.follow(ids, { first: true, news: take, start });
  const [from, to] = resolved(span, 0);
  const perPixel = Number.isFinite(pixels) ? (to - from) / pixels : (to - from) / 1000;
  const tick = setInterval(() => answer && !loading && !document.hidden && feed.state() !== 'broken' && show(answer), Math.max(TICK_MS, perPixel));
  return () => {
    stop.abort();
    leave();
    clearInterval(tick);
    timers.forEach(clearTimeout);
  };
}

/** What counters counted is asked for anew: each new reading changes the end of it. */
const [MIN_COUNTED_MS, MAX_COUNTED_MS] = [2000, 60_000];

/** What counters counted in a window, as it is on screen. */
export function useCounted(ids: number[], span: Span, pixels: number, mode: CounterMode, zone: string): { answer: Counted | null; error: string | null } {
  const of = `${ids.join()} ${mode} ${zone}`;
  const key = ids.length && pixels && mode !== 'total' ? `${of} ${span.from} ${span.to} ${pixels}` : '';
  const [state, setState] = useState<{ of: string; answer: Counted | null; error: string | null }>({ of, answer: null, error: null });
  useEffect(() => {
    if (!key) return undefined;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async () => {
      let again = AGAIN_MS;
      const hidden = document.hidden;
      try {
        if (!hidden) {
          const ask = mode === 'rate' ? api.rates(ids, span.from, span.to, pixels, stop.signal) : api.consumption(ids, span.from, span.to, mode, zone, stop.signal);
          const answer = await ask;
          setState({ of, answer, error: null });
          again = Math.min(MAX_COUNTED_MS, Math.max(MIN_COUNTED_MS, (answer.to - answer.from) / 500));
        }
      } catch (e) {
        if (stop.signal.aborted) return;
        setState((old) => ({ ...(old.of === of ? old : { answer: null }), of, error: whyNot(e) }));
        // What was refused is refused again.
        if (e instanceof api.Refused) again = MAX_COUNTED_MS;
        timer = setTimeout(load, again);
        return;
      }
      if ((isLive(span) || hidden) && !stop.signal.aborted) timer = setTimeout(load, again);
    };
    void load();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key]);
  return state.of === of ? state : { answer: null, error: null };
}
