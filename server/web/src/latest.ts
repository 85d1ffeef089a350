// The latest value of each series that is on screen: asked for once, then told by the feed.

import { useEffect, useState } from 'preact/hooks';

import * as api from './api.ts';
import { feed } from './feed.ts';
import { whyNot } from './poll.ts';

const AGAIN_MS = 2000;

export interface LatestValues {
  values: Map<number, api.Latest>;
  error: string | null;
}

/** The newer one of two. */
export function newer(old: api.Latest | undefined, news: api.News): api.Latest | undefined {
  const i = news.t.length - 1;
  const t = news.t[i];
  if (t === undefined || (old?.t ?? -Infinity) > t) return old;
  return { id: news.id, t, v: news.v[i] ?? null, text: news.text, quality: news.q[i] ?? null, reason: news.reason[i] ?? null };
}

export function useLatest(wanted: number[]): LatestValues {
  const [state, setState] = useState<LatestValues>({ values: new Map(), error: null });
  const ids = wanted.slice(0, api.MAX_LATEST);
  const key = ids.join();
  useEffect(() => {
    if (!key) return undefined;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async () => {
      clearTimeout(timer);
      try {
        const found = await api.latest(ids, stop.signal);
        setState((old) => {
          const values = new Map(found);
          // What the feed told while the answer was under way is not forgotten.
          for (const [id, one] of found) if ((old.values.get(id)?.t ?? -Infinity) > (one.t ?? -Infinity)) values.set(id, old.values.get(id) ?? one);
          return { values, error: null };
        });
      } catch (e) {
        if (stop.signal.aborted) return;
        setState((old) => ({ ...old, error: whyNot(e) }));
        timer = setTimeout(load, AGAIN_MS);
      }
    };
    const news = (news: api.News[]) =>
      setState((old) => {
        const values = new Map(old.values);
        for (const one of news) {
          const next = newer(values.get(one.id), one);
          if (next) values.set(one.id, next);
        }
        return { values, error: null };
      });
    void load();
    const leave = feed.follow(ids, { first: false, news, start: () => void load() });
    return () => {
      stop.abort();
      clearTimeout(timer);
      leave();
    };
  }, [key]);
  return state;
}
