// Which window of time: quick ranges, half a window earlier or later, twice as long, fixed ends; the zone; drawings or numbers; a link.

import { useState } from 'preact/hooks';

import { feed } from './feed.ts';
import { duration } from './format.ts';
import { field, fromField, stamp, zoneName } from './time.ts';
import { fixed, isLive, last, pinned, rangeOf, RANGES, resolved, shifted, widened, writeView, type Span, type View } from './view.ts';

interface Props {
  view: View;
  setView: (view: View) => void;
}

export function SpanBar({ view, setView }: Props) {
  const [own, setOwn] = useState(false);
  const range = rangeOf(view.span);
  const go = (span: Span) => setView({ ...view, span });
  return (
    <div class="spanbar">
      <div class="ranges" role="group" aria-label="Range">
        <button type="button" aria-label="Half a window earlier" title="Half a window earlier" onClick={() => go(shifted(view.span, feed.now(), -1))}>‹</button>
        {RANGES.map((r) => (
          <button type="button" key={r} aria-pressed={r === range} onClick={() => go(last(r))}>{r.replace(/(\d+)/, '$1 ').replace('m', 'min')}</button>
        ))}
        <button type="button" aria-label="Half a window later" title="Half a window later" disabled={isLive(view.span)} onClick={() => go(shifted(view.span, feed.now(), 1))}>›</button>
        <button type="button" aria-label="Twice as long" title="Twice as long" onClick={() => go(widened(view.span, feed.now()))}>−</button>
        <button type="button" aria-expanded={own} onClick={() => setOwn(!own)}>Own…</button>
      </div>
      <div class="ranges" role="group" aria-label="Show">
        <button type="button" aria-pressed={view.zone === 'utc'} title={`Times are in ${zoneName(view.zone)}`} onClick={() => setView({ ...view, zone: view.zone === 'utc' ? 'browser' : 'utc' })}>UTC</button>
        <button type="button" aria-pressed={view.table} onClick={() => setView({ ...view, table: !view.table })}>Table</button>
        <Share view={view} />
      </div>
      {range === null && <p class="window">{windowText(view)}</p>}
      {own && <Own view={view} onChoose={(span) => (setOwn(false), go(span))} />}
    </div>
  );
}

function windowText(view: View): string {
  const [from, to] = resolved(view.span, feed.now());
  const end = isLive(view.span) ? 'now' : stamp(to, view.zone);
  return `${stamp(from, view.zone)} – ${end} · ${duration(to - from)} · ${zoneName(view.zone)}`;
}

function Own({ view, onChoose }: { view: View; onChoose: (span: Span) => void }) {
  const [from, to] = resolved(view.span, feed.now());
  const [start, setStart] = useState(field(from, view.zone));
  const [end, setEnd] = useState(field(to, view.zone));
  const [a, b] = [fromField(start, view.zone), fromField(end, view.zone)];
  const wrong = a === null || b === null ? 'Both ends are needed.' : a >= b ? 'It ends before it begins.' : null;
  const submit = (event: Event) => {
    event.preventDefault();
    if (a !== null && b !== null && !wrong) onChoose(fixed(a, b));
  };
  return (
    <form class="own" onSubmit={submit}>
      <label>From <input type="datetime-local" step="1" value={start} onInput={(e) => setStart(e.currentTarget.value)} /></label>
      <label>To <input type="datetime-local" step="1" value={end} onInput={(e) => setEnd(e.currentTarget.value)} /></label>
      <button type="submit" class="primary" disabled={wrong !== null}>Show</button>
      <span class="quiet">{wrong ?? zoneName(view.zone)}</span>
    </form>
  );
}

/** A link to exactly this: a window that moves on would show somebody else something else. */
function Share({ view }: { view: View }) {
  const [link, setLink] = useState<string | null>(null);
  const share = async () => {
    const url = new URL(writeView({ ...view, span: pinned(view.span, feed.now()) }), location.href).href;
    try {
      await navigator.clipboard.writeText(url);
      setLink('copied');
    } catch {
      // Without TLS there is no clipboard for pages.
      setLink(url);
    }
  };
  return (
    <>
      <button type="button" title="A link to exactly this window" onClick={() => void share()}>Link</button>
      {link === 'copied' && <span class="told" role="status">copied</span>}
      {link && link !== 'copied' && <input class="link" readOnly aria-label="Link to this window" value={link} ref={(e) => e?.select()} />}
    </>
  );
}
