// How a device is, in one line.

import type { Health } from './api.ts';
import { counted, duration, share } from './format.ts';
import { Quality } from './quality.tsx';

const SLOW_MS = 1000;

/** The words of it, the important first. */
export function healthWords(health: Health): { text: string; warn: boolean }[] {
  const words = [];
  if (health.failures > 0) {
    words.push({ text: `${share(health.failures, health.polls)} of ${counted(health.polls, 'poll')} with errors`, warn: health.failures / health.polls > 0.01 });
  } else {
    words.push({ text: `${counted(health.polls, 'poll')} without error`, warn: false });
  }
  if (health.skipped > 0) words.push({ text: `${counted(health.skipped, 'poll')} left out`, warn: true });
  if (health.late_p99 !== null) words.push({ text: `late by ${duration(health.late_p99)}`, warn: health.late_p99 > SLOW_MS });
  if (health.latency_p99 !== null) words.push({ text: `answers in ${duration(health.latency_p99)}`, warn: false });
  if (health.timeout !== null) words.push({ text: `waited for ${duration(health.timeout)}`, warn: false });
  for (const [name, n] of Object.entries(health.misses)) words.push({ text: `${name} ×${n.toLocaleString()}`, warn: false });
  return words;
}

export function HealthLine({ health }: { health: Health | null }) {
  if (!health) return <p class="health quiet">Its gateway has not told how it is.</p>;
  return (
    <p class="health" title="Late: how long after it was due 99 of 100 polls began. Answers in: what 99 of 100 answers took. Waited for: the timeout at present.">
      <span><Quality quality={health.quality} reason={health.reason} word />{health.quality === 'good' && <span class="quality good" aria-hidden="true"> good</span>}</span>
      {healthWords(health).map(({ text, warn }) => <span key={text} class={warn ? 'warn' : ''}>{text}</span>)}
    </p>
  );
}
