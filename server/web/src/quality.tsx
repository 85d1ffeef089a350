// Quality as a sign and, where asked for, its reason as a word: never a colour alone.

import type { Quality as Name } from './api.ts';

export const SIGNS: Record<Name, string> = { good: '✓', uncertain: '◇', bad: '✕' };

export function Quality({ quality, reason, word = false }: { quality: Name; reason: string | null; word?: boolean }) {
  const text = reason ? `${quality}: ${reason}` : quality;
  return (
    <span class={`quality ${quality}`} title={text}>
      <span aria-hidden="true">{SIGNS[quality]}</span>
      {word && quality !== 'good' ? ` ${reason ?? quality}` : <span class="sr">{text}</span>}
    </span>
  );
}
