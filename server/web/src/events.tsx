// States and texts over time as strips, and what happened as a list.

import { useContext, useMemo } from 'preact/hooks';

import type { Series } from './api.ts';
import { duration } from './format.ts';
import { LookOf } from './look.ts';
import { isBuckets, type Answer } from './merge.ts';
import { happenings, spells, type Spell } from './spells.ts';
import { stamp } from './time.ts';

/** Most events in the list. */
const MAX_EVENTS = 100;
/** Most spells of one strip that are drawn; more of them are thinner than a pixel. */
const MAX_SPELLS = 2000;

/** Series that were asked for together, and what came of it. */
export interface Part {
  answer: Answer | null;
  series: Series[];
}

export function Strips({ title, parts, error, left }: { title: string; parts: Part[]; error: string | null; left: number }) {
  const answers = parts.flatMap(({ answer, series }) => (answer && series.length ? [answer] : []));
  const steps = answers.flatMap((answer) => (isBuckets(answer) ? [answer.step_ms] : []));
  return (
    <section class="card strips" aria-label={title}>
      <h2>{title}</h2>
      {answers.length === 0 && <p class="quiet">{error ?? 'Loading…'}</p>}
      {parts.map(({ answer, series }) => answer && series.map((s) => <Strip key={s.id} answer={answer} s={s} />))}
      {steps.map((step) => <p key={step} class="scale">In steps of {duration(step)}; a step with more than one state is striped.</p>)}
      {answers.some((answer) => !isBuckets(answer) && answer.truncated) && <p class="scale warn">Not all texts fit into one answer; choose a shorter range.</p>}
      {left > 0 && <p class="scale">{left} more are in the list of all points.</p>}
    </section>
  );
}

function Strip({ answer, s }: { answer: Answer; s: Series }) {
  const all = useMemo(() => spells(answer, s), [answer, s]);
  const now = all.at(-1);
  const span = answer.to - answer.from;
  return (
    <div class="strip" data-strip={s.id}>
      <div class="strip-name"><span>{s.name}</span> <b>{now ? (now.text ?? now.reason ?? 'bad') : '–'}</b></div>
      <div class="strip-bar" role="img" aria-label={`${s.name}: ${all.slice(-5).map((spell) => spell.text ?? 'bad').join(', then ')}`}>
        {all.slice(-MAX_SPELLS).map((spell) => <Piece key={spell.from} spell={spell} from={answer.from} span={span} />)}
      </div>
    </div>
  );
}

function Piece({ spell, from, span }: { spell: Spell; from: number; span: number }) {
  const { zone } = useContext(LookOf);
  const left = Math.max(0, ((spell.from - from) / span) * 100);
  const width = Math.min(100 - left, ((spell.to - from) / span) * 100 - left);
  if (width <= 0) return null;
  const text = spell.text ?? `bad: ${spell.reason ?? 'no reason given'}`;
  const tone = spell.text === null ? 'bad' : `tone${toneOf(spell)}`;
  const title = `${text}${spell.quality === 'good' ? '' : ` (${spell.quality}${spell.reason ? `: ${spell.reason}` : ''})`}\n${stamp(spell.from, zone)} – ${stamp(spell.to, zone)}, ${duration(spell.to - spell.from)}`;
  return (
    <span class={`piece ${tone} ${spell.quality} ${spell.mixed ? 'mixed' : ''}`} style={{ left: `${left}%`, width: `${width}%` }} title={title}>
      {width > 4 ? text : ''}
    </span>
  );
}

/** Zero is a quiet colour; others go round. */
function toneOf(spell: Spell): number {
  if (spell.value !== null) return Number.isInteger(spell.value) ? (spell.value === 0 ? 0 : 1 + ((Math.abs(spell.value) - 1) % 7)) : 1;
  let sum = 0;
  for (const c of spell.text ?? '') sum = (sum * 31 + (c.codePointAt(0) ?? 0)) % 7;
  return 1 + sum;
}

const SIGNS = { change: '→', bad: '✕', loss: '▨', clock: '◷' } as const;
const NAMES = { change: 'change', bad: 'bad', loss: 'loss', clock: 'clock' } as const;

export function Events({ parts }: { parts: Part[] }) {
  const { zone } = useContext(LookOf);
  const answers = parts.map((part) => part.answer);
  const all = useMemo(() => {
    // Each answer tells the same losses.
    const told = parts.map(({ answer, series }, n) => (answer ? happenings(n === 0 ? answer : { ...answer, gaps: [] }, series) : []));
    return told.flat().sort((a, b) => b.t - a.t);
  }, answers);
  if (all.length === 0) return null;
  return (
    <details class="card events" open={all.length <= 10}>
      <summary><h2>Events in this window ({all.length})</h2></summary>
      <ol>
        {all.slice(0, MAX_EVENTS).map((event, i) => (
          <li key={i}>
            <span class={`sign ${event.what}`} title={NAMES[event.what]} aria-hidden="true">{SIGNS[event.what]}</span>
            <time>{stamp(event.t, zone)}{event.within > 0 && <small> within {duration(event.within)}</small>}</time>
            <span>{event.series && <b>{event.series.name}</b>} {event.text}</span>
          </li>
        ))}
      </ol>
      {all.length > MAX_EVENTS && <p class="quiet">The newest {MAX_EVENTS}; choose a shorter range for others.</p>}
    </details>
  );
}
