// In which language points are called, of those that there are translations into. The server keeps the choice for each reader.

import { useState } from 'preact/hooks';

import * as api from './api.ts';
import { usePoll, whyNot } from './poll.ts';

/** A pack is imported once in a while. */
const LOOK_MS = 60_000;

/** A language in its own words. */
function called(code: string): string {
  try {
    return new Intl.DisplayNames([code], { type: 'language' }).of(code) ?? code;
  } catch {
    return code;
  }
}

export function LanguageChoice() {
  const { data } = usePoll('languages', LOOK_MS, api.languages);
  const [wrong, setWrong] = useState('');
  const all = data?.languages.map((one) => one.language) ?? [];
  if (!data || all.every((one) => one === data.language)) return null;
  // All names on the page are asked for anew.
  const choose = (language: string) => api.chooseLanguage(language).then(() => location.reload(), (e: unknown) => setWrong(whyNot(e)));
  return (
    <label>
      Names in <select value={data.language} onChange={(e) => void choose(e.currentTarget.value)}>
        {!all.includes(data.language) && <option value={data.language} disabled>no language</option>}
        {all.map((one) => <option key={one} value={one} lang={one}>{called(one)}</option>)}
      </select>
      {wrong && <span class="wrong" role="alert">{wrong}</span>}
    </label>
  );
}
