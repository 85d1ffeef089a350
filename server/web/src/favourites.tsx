// What the reader wants at hand, in the reader's order: changed by drag or by keys, kept by the server.

import { useEffect, useRef, useState } from 'preact/hooks';

import { Go } from './link.tsx';
import { readView, type View } from './view.ts';
import type { Kept } from './kept.tsx';
import { moved } from './yaml.ts';

interface Props {
  view: View;
  setView: (view: View) => void;
  kept: Kept;
}

export function Favourites({ setView, kept }: Props) {
  const [held, setHeld] = useState<number | null>(null);
  const [said, setSaid] = useState('');
  const list = kept.list?.favourites ?? [];
  /** What had the focus when its row was moved: it has it afterwards too. */
  const focused = useRef<Element | null>(null);
  useEffect(() => {
    if (focused.current instanceof HTMLElement && focused.current.isConnected) focused.current.focus();
    focused.current = null;
  }, [list]);
  const put = (from: number, to: number) => {
    const title = list[from]?.title;
    if (to < 0 || to >= list.length || from === to || title === undefined) return;
    focused.current = document.activeElement === document.body ? null : document.activeElement;
    kept.keep(moved(list, from, to));
    setSaid(`${title} is now ${to + 1} of ${list.length}`);
  };
  const onKey = (event: KeyboardEvent, n: number) => {
    if (!event.altKey || !['ArrowUp', 'ArrowDown'].includes(event.key)) return;
    event.preventDefault();
    put(n, event.key === 'ArrowUp' ? n - 1 : n + 1);
  };
  return (
    <main class="page" data-page="favourites">
      <h1>Favourites</h1>
      {kept.error && <p class="banner" role="alert">{kept.error}</p>}
      {kept.list && list.length === 0 && <p class="quiet">None yet. The star on the page of a device, a chart or a dashboard adds it here.</p>}
      <p class="sr" aria-live="polite">{said}</p>
      <ol class="card favourites">
        {list.map((one, n) => (
          <li
            key={one.link} draggable data-favourite={one.title} class={held === n ? 'held' : ''} onKeyDown={(e) => onKey(e, n)}
            onDragStart={(e) => (setHeld(n), e.dataTransfer?.setData('text/plain', one.title))}
            onDragOver={(e) => held !== null && e.preventDefault()}
            onDrop={(e) => (e.preventDefault(), held !== null && put(held, n))}
            onDragEnd={() => setHeld(null)}
          >
            <span class="grip" aria-hidden="true">⠿</span>
            <Go view={readView(one.link)} setView={setView}>{one.title}</Go>
            <span class="tools">
              <button type="button" aria-label={`Move ${one.title} up`} title="Alt + arrow up" disabled={n === 0} onClick={() => put(n, n - 1)}>↑</button>
              <button type="button" aria-label={`Move ${one.title} down`} title="Alt + arrow down" disabled={n === list.length - 1} onClick={() => put(n, n + 1)}>↓</button>
              <button type="button" aria-label={`Take ${one.title} away`} onClick={() => kept.keep(list.toSpliced(n, 1))}>×</button>
            </span>
          </li>
        ))}
      </ol>
    </main>
  );
}
