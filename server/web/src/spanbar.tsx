// Which window of time: quick ranges, half a window earlier or later, twice as long, fixed ends; the zone; drawings or numbers; a link.

import { useContext, useState } from 'preact/hooks';

import { feed } from './feed.ts';
import { duration } from './format.ts';
import { LookOf } from './look.ts';
import { field, fromField, stamp, zoneName, type Zone } from './time.ts';
import { fixed, isLive, last, pinned, rangeOf, RANGES, resolved, shifted, widened, writeView, ZONES, type Span, type View, type ZoneChoice } from './view.ts';

interface Props {
  view: View;
  setView: (view: View) => void;
}

const NAMES: Record<ZoneChoice, string> = { browser: 'Here', site: 'Site', utc: 'UTC' };

export function SpanBar({ view, setView }: Props) {
  const { zone, site } = useContext(LookOf);
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
        <select aria-label="Time zone" title={`Times are in ${zoneName(zone)}`} value={view.zone} onChange={(e) => setView({ ...view, zone: e.currentTarget.value as ZoneChoice })}>
          {ZONES.filter((one) => one !== 'site' || site || view.zone === 'site').map((one) => <option key={one} value={one}>{NAMES[one]}{one === 'utc' ? '' : ` (${one === 'site' ? (site ?? 'not known') : zoneName(one)})`}</option>)}
        </select>
        <button type="button" aria-pressed={view.table} onClick={() => setView({ ...view, table: !view.table })}>Table</button>
        <Share view={view} />
      </div>
      {range === null && <p class="window">{windowText(view, zone)}</p>}
      {own && <Own view={view} zone={zone} onChoose={(span) => (setOwn(false), go(span))} />}
    </div>
  );
}

function windowText(view: View, zone: Zone): string {
  const [from, to] = resolved(view.span, feed.now());
  const end = isLive(view.span) ? 'now' : stamp(to, zone);
  return `${stamp(from, zone)} – ${end} · ${duration(to - from)} · ${zoneName(zone)}`;
}

function Own({ view, zone, onChoose }: { view: View; zone: Zone; onChoose: (span: Span) => void }) {
  const [from, to] = resolved(view.span, feed.now());
  const [start, setStart] = useState(field(from, zone));
  const [end, setEnd] = useState(field(to, zone));
  const [a, b] = [fromField(start, zone), fromField(end, zone)];
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
      <span class="quiet">{wrong ?? zoneName(zone)}</span>
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
