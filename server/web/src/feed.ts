// One stream of new readings for the whole page: it follows what anybody on the page wants, goes on where it was after a break,
// and rests while nobody looks. It keeps no readings.

import type { News } from './api.ts';

type State = 'resting' | 'live' | 'broken';

export interface Listener {
  /** Comes first where all together want more than one stream may follow. */
  first: boolean;
  news: (news: News[]) => void;
  /** What came before this is not told: ask for the whole window. */
  start: () => void;
}

/** Several parts of the page change what they want at the same time. */
const SETTLE_MS = 50;
/** A server that refuses a stream is asked again after this. */
const AGAIN_MS = 3000;
/** Most series that one stream may follow. */
const MAX_FOLLOWED = 1000;

export class Feed {
  #wanted = new Map<Listener, number[]>();
  #source: EventSource | null = null;
  #followed = '';
  /** Where the stream was. */
  #after: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ahead = 0;
  #state: State = 'resting';
  #watchers = new Set<() => void>();

  constructor() {
    document.addEventListener('visibilitychange', () => this.#settle());
  }

  /** The server's time, as well as it is known. */
  now = (): number => Date.now() + this.#ahead;

  /** An answer of the server told its time. */
  heard(now: number) {
    this.#ahead = now - Date.now();
  }

  state = () => this.#state;

  /** Told when the state changes. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  follow(ids: number[], listener: Listener): () => void {
    this.#wanted.set(listener, ids);
    this.#settle();
    return () => {
      this.#wanted.delete(listener);
      this.#settle();
    };
  }

  #settle(delay = SETTLE_MS) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), delay);
  }

  #open() {
    const wanted = [...this.#wanted].sort(([a], [b]) => Number(b.first) - Number(a.first));
    const ids = [...new Set(wanted.flatMap(([, ids]) => ids))].slice(0, MAX_FOLLOWED).sort((a, b) => a - b);
    const followed = document.hidden ? '' : ids.join();
    if (followed === this.#followed && this.#source?.readyState !== EventSource.CLOSED) return;
    // A series that is new here has no place in the past of the stream: whoever wants it asks for its window anyway.
    this.#source?.close();
    this.#source = null;
    this.#followed = followed;
    if (!followed) return this.#become('resting');
    const after = this.#after ? `&after=${encodeURIComponent(this.#after)}` : '';
    const source = new EventSource(`api/v1/live?series=${followed}${after}`);
    this.#source = source;
    source.addEventListener('open', () => this.#become('live'));
    source.addEventListener('error', () => {
      this.#become('broken');
      // It tries again by itself, unless the server answered with something else than a stream.
      if (source.readyState === EventSource.CLOSED) this.#settle(AGAIN_MS);
    });
    source.addEventListener('start', (event) => {
      this.#note(event);
      for (const listener of [...this.#wanted.keys()]) listener.start();
    });
    source.addEventListener('readings', (event) => {
      const { series }: { now: number; series: News[] } = this.#note(event);
      for (const [listener, ids] of [...this.#wanted]) {
        const mine = series.filter((s) => ids.includes(s.id));
        if (mine.length) listener.news(mine);
      }
    });
  }

  #note<T extends { now: number }>(event: MessageEvent<string>): T {
    this.#after = event.lastEventId;
    const data = JSON.parse(event.data) as T;
    this.heard(data.now);
    return data;
  }

  #become(state: State) {
    if (state === this.#state) return;
    this.#state = state;
    for (const watcher of this.#watchers) watcher();
  }
}

export const feed = new Feed();
