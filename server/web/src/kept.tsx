// The reader's favourites as the server keeps them, and the star that adds a place or takes it away.

import { createContext } from 'preact';
import { useContext, useMemo, useRef, useState } from 'preact/hooks';

import * as api from './api.ts';
import { usePoll, whyNot } from './poll.ts';
import { writeView, type View } from './view.ts';

export interface Kept {
  list: api.Favourites | null;
  error: string | null;
  keep: (favourites: api.Favourite[]) => void;
}

export const KeptOf = createContext<Kept>({ list: null, error: null, keep: () => undefined });

export function useKept(): Kept {
  const [turn, setTurn] = useState(0);
  const asked = usePoll(`favourites ${turn}`, 60_000, api.favourites);
  const [mine, setMine] = useState<api.Favourites | null>(null);
  const [error, setError] = useState<string | null>(null);
  // Of what was asked for and what was kept, the later one.
  const list = mine && (asked.data === null || mine.revision >= asked.data.revision) ? mine : asked.data;
  /** What is being kept: the next change waits for it, and goes on from its revision. */
  const going = useRef<Promise<api.Favourites> | null>(null);
  return useMemo(() => {
    const keep = (favourites: api.Favourite[]) => {
      if (!list) return;
      // Shown at once: nobody waits for a server to see a star.
      setMine({ ...list, favourites });
      const now = (async () => api.keep({ ...((await going.current) ?? list), favourites }))();
      going.current = now;
      const done = (kept: api.Favourites | null, error: string | null) => {
        if (going.current !== now) return;
        going.current = null;
        setMine(kept);
        setError(error);
        if (error) setTurn((n) => n + 1);
      };
      now.then((kept) => done(kept, null), (e) => done(null, whyNot(e)));
    };
    return { list, error: error ?? asked.error, keep };
  }, [list, error, asked.error]);
}

export function Star({ title, view }: { title: string; view: View }) {
  const { list, keep } = useContext(KeptOf);
  const link = writeView(view);
  const all = list?.favourites ?? [];
  const there = all.some((one) => one.link === link);
  const turn = () => keep(there ? all.filter((one) => one.link !== link) : [...all, { title: title.slice(0, 200), link }]);
  return <button type="button" class="star" aria-pressed={there} disabled={!list} aria-label={`Favourite: ${title}`} title="Favourite" onClick={turn}>{there ? '★' : '☆'}</button>;
}
