// A window of states or texts as spells: from when to when it was what, and what happened at their edges. Pure.

import type { Buckets, Gap, RawColumns, Series } from './api.ts';
import { state } from './format.ts';
import { isBuckets, type Answer } from './merge.ts';

export interface Spell {
  from: number;
  to: number;
  /** What it was; null for a bad reading. */
  text: string | null;
  /** Number of the state, for its colour. */
  value: number | null;
  quality: 'good' | 'uncertain' | 'bad';
  reason: string | null;
  /** It changed within one bucket. */
  mixed: boolean;
}

export interface Happening {
  t: number;
  /** Up to so much later, where only a bucket is known. */
  within: number;
  what: 'change' | 'bad' | 'loss' | 'clock';
  series: Series | null;
  text: string;
}

const GAP_INTERVALS = 2.5;

export function spells(answer: Answer, s: Series): Spell[] {
  if (isBuckets(answer)) return fromBuckets(answer, s);
  const columns = answer.series.find((c) => c.id === s.id);
  return columns ? fromReadings(columns, s, answer.to) : [];
}

function fromReadings(c: RawColumns, s: Series, end: number): Spell[] {
  const steps = c.t.slice(1).map((t, i) => t - (c.t[i] ?? t)).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? Infinity;
  return joined(
    c.t.map((t, i): Spell => {
      const v = c.v[i] ?? null;
      const quality = c.q[i] ?? 'good';
      const next = c.t[i + 1] ?? end;
      const to = next - t > usual * GAP_INTERVALS ? t + usual : next;
      return { from: t, to, text: v === null ? null : textOf(s, v), value: numeric(v), quality, reason: c.reason[i] ?? null, mixed: false };
    }),
  );
}

function fromBuckets(answer: Buckets, s: Series): Spell[] {
  const c = answer.series.find((c) => c.id === s.id);
  if (!c) return [];
  const all = c.last.flatMap((v, i): Spell[] => {
    const from = answer.t0 + i * answer.step_ms;
    const base = { from, to: Math.min(from + answer.step_ms, answer.to), reason: null };
    if (v === null) return c.bad[i] ? [{ ...base, text: null, value: null, quality: 'bad', mixed: false }] : [];
    const quality = c.bad[i] ? 'bad' : c.uncertain[i] ? 'uncertain' : 'good';
    return [{ ...base, text: textOf(s, v), value: v, quality, mixed: c.min[i] !== c.max[i] }];
  });
  return joined(bridged(all, answer.step_ms));
}

/** A device that is read less often than there are buckets leaves some empty: its state lasts until it is read again. */
function bridged(all: Spell[], step: number): Spell[] {
  const steps = all.slice(1).map((spell, i) => spell.from - (all[i]?.from ?? 0)).sort((a, b) => a - b);
  const usual = Math.max(step, steps[Math.floor(steps.length / 2)] ?? step);
  return all.map((spell, i) => {
    const next = all[i + 1]?.from;
    return next !== undefined && next - spell.from <= usual * GAP_INTERVALS ? { ...spell, to: next } : spell;
  });
}

function joined(all: Spell[]): Spell[] {
  const found: Spell[] = [];
  for (const spell of all) {
    const before = found.at(-1);
    const same = before && before.to === spell.from && before.text === spell.text && before.quality === spell.quality;
    if (same && before.reason === spell.reason && before.mixed === spell.mixed) before.to = spell.to;
    else found.push({ ...spell });
  }
  return found;
}

const textOf = (s: Series, v: number | boolean | string): string => (s.kind === 'state' ? state(s, v) : String(v));

function numeric(v: number | boolean | string | null): number | null {
  return typeof v === 'boolean' ? Number(v) : typeof v === 'number' ? v : null;
}

/** Changes of states and texts, bad spells, losses and clock steps, newest first. */
export function happenings(answer: Answer, series: Series[]): Happening[] {
  const within = isBuckets(answer) ? answer.step_ms : 0;
  const found = series.flatMap((s) => {
    const all = spells(answer, s);
    return all.flatMap((spell, i): Happening[] => {
      const before = all.slice(0, i).findLast((earlier) => earlier.text !== null);
      const events: Happening[] = [];
      if (spell.mixed) events.push({ t: spell.from, within, what: 'change', series: s, text: `changed, at last ${spell.text}` });
      else if (spell.text !== null && before && before.text !== spell.text) {
        events.push({ t: spell.from, within, what: 'change', series: s, text: `${before.text} → ${spell.text}` });
      }
      if (spell.quality === 'bad' && all[i - 1]?.quality !== 'bad') {
        events.push({ t: spell.from, within, what: 'bad', series: s, text: spell.reason ?? 'bad readings' });
      }
      return events;
    });
  });
  return [...found, ...answer.gaps.map(lost)].sort((a, b) => b.t - a.t);
}

function lost(gap: Gap): Happening {
  const many = gap.readings > 0 ? `${gap.readings.toLocaleString()} readings` : 'readings';
  const what = gap.missing ? 'loss' : 'clock';
  return { t: gap.from, within: 0, what, series: null, text: gap.missing ? `${many} of ${gap.gateway} lost: ${gap.reason}` : `the clock of ${gap.gateway} was set` };
}
