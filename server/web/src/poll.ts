// Asks the server again and again while somebody looks.

import { useEffect, useRef, useState } from 'preact/hooks';

import { Refused } from './api.ts';

export interface Polled<T> {
  /** The newest answer; that of an earlier question until the new one is answered. */
  data: T | null;
  /** Why there is no newer one. */
  error: string | null;
}

export const whyNot = (e: unknown): string => (e instanceof Refused ? e.message : 'The server does not answer. Trying again…');

/** Asks at once when `key` changes, then every `ms` after an answer; not while the page is hidden. */
export function usePoll<T>(key: string, ms: number, ask: (signal: AbortSignal) => Promise<T>): Polled<T> {
  const [state, setState] = useState<Polled<T>>({ data: null, error: null });
  const question = useRef(ask);
  question.current = ask;
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asking = false;
    const next = async () => {
      clearTimeout(timer);
      if (asking || document.hidden) return;
      asking = true;
      try {
        const data = await question.current(stop.signal);
        if (!stop.signal.aborted) setState({ data, error: null });
      } catch (e) {
        if (!stop.signal.aborted) {
          setState((old) => ({ data: old.data, error: whyNot(e) }));
        }
      }
      asking = false;
      if (!stop.signal.aborted) timer = setTimeout(next, ms);
    };
    void next();
    document.addEventListener('visibilitychange', next);
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', next);
    };
  }, [key, ms]);
  return state;
}

/** The value once it has stayed the same for a while. */
export function useSettled(value: string, ms: number): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
