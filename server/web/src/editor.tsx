// Changes a dashboard: its text with what is wrong line by line, another title for a panel, a panel less. Saved only over what was read.

import { useEffect, useRef, useState } from 'preact/hooks';

import * as api from './api.ts';
import { useSettled, whyNot } from './poll.ts';
import { toPage, type View } from './view.ts';

const CHECK_MS = 300;

export function Editor({ view, setView }: { view: View; setView: (view: View) => void }) {
  const name = view.dashboard;
  const [file, setFile] = useState<api.DashboardFile | null>(null);
  const [text, setText] = useState('');
  const [problem, setProblem] = useState<api.Problem | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [told, setTold] = useState('');
  const area = useRef<HTMLTextAreaElement>(null);
  const numbers = useRef<HTMLPreElement>(null);
  const settled = useSettled(text, CHECK_MS);
  const changed = file !== null && text !== file.yaml;

  const take = (found: api.DashboardFile, said = '') => {
    setFile(found);
    setText(found.yaml);
    setProblem(found.problem);
    setError(null);
    setTold(said);
  };
  const load = () => api.dashboard(name).then((found) => take(found), (e) => setError(whyNot(e)));
  useEffect(() => void load(), [name]);
  useEffect(() => {
    if (!file || settled === file.yaml) return undefined;
    const stop = new AbortController();
    api.check(name, settled, stop.signal).then((found) => setProblem(found.problem), () => undefined);
    return () => stop.abort();
  }, [settled]);
  // Text that is not saved is not lost by a slip.
  useEffect(() => {
    const ask = (event: Event) => changed && event.preventDefault();
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [changed]);

  const attempt = async (work: () => Promise<api.DashboardFile>, said: string) => {
    try {
      take(await work(), said);
    } catch (e) {
      setTold('');
      if (e instanceof api.Refused && e.at) setProblem(e.at);
      else setError(whyNot(e));
    }
  };
  const save = () => file && attempt(() => api.save(name, text, file.tag), 'Saved.');
  const change = (what: api.Change, said: string) => file && attempt(() => api.change(name, file.tag, what), said);
  const remove = async () => {
    if (!file || !confirm(`Delete the dashboard ${name}?`)) return;
    try {
      await api.remove(name, file.tag);
      setView(toPage(view, 'dashboards'));
    } catch (e) {
      setError(whyNot(e));
    }
  };
  const show = ({ line, column }: api.Problem) => {
    const before = text.split('\n').slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0) + column - 1;
    area.current?.focus();
    area.current?.setSelectionRange(before, before);
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key !== 's' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    void save();
  };
  return (
    <section class="card editor" aria-label="Change this dashboard">
      {file && file.panels.length > 0 && (
        <details>
          <summary><h2>Panels</h2></summary>
          <ol class="favourites">
            {file.panels.map((title, n) => <PanelLine key={`${n} ${title}`} title={title} place={n} disabled={changed} change={change} />)}
          </ol>
          {changed && <p class="quiet">Save the text first.</p>}
        </details>
      )}
      <label class="sr" for="yaml">Text of {name}.yaml</label>
      <div class="text">
        <pre ref={numbers} aria-hidden="true">{text.split('\n').map((_, n) => <span key={n} class={problem?.line === n + 1 ? 'wrong' : ''}>{n + 1}{'\n'}</span>)}</pre>
        <textarea
          id="yaml" ref={area} spellcheck={false} wrap="off" value={text} rows={Math.min(40, Math.max(10, text.split('\n').length + 1))} disabled={!file}
          aria-invalid={problem !== null} aria-describedby="problem" onInput={(e) => setText(e.currentTarget.value)} onKeyDown={keys}
          onScroll={(e) => numbers.current?.scrollTo(0, e.currentTarget.scrollTop)}
        />
      </div>
      <p id="problem" role="status" class={problem ? 'wrong' : 'quiet'}>
        {problem ? <button type="button" onClick={() => show(problem)}>✕ Line {problem.line}, column {problem.column}: {problem.message}</button> : changed ? 'This text is right.' : told || ' '}
      </p>
      {error && <p class="wrong" role="alert">{error}</p>}
      <div class="own">
        <button type="button" class="primary" disabled={!changed || problem !== null} onClick={() => void save()}>Save</button>
        <button type="button" class="more" onClick={() => void load()}>{changed ? 'Give up my changes' : 'Load again'}</button>
        <button type="button" class="more" disabled={!file} onClick={() => void remove()}>Delete</button>
        <a class="more" href="api/v1/dashboard.schema.json">Schema for editors</a>
      </div>
    </section>
  );
}

function PanelLine({ title, place, disabled, change }: { title: string; place: number; disabled: boolean; change: (what: api.Change, said: string) => unknown }) {
  const [name, setName] = useState(title);
  const known = title || `panel ${place + 1}`;
  return (
    <li>
      <form class="own" onSubmit={(e) => (e.preventDefault(), change({ rename: { place, title: name } }, `${known} has another title.`))}>
        <label><span class="sr">Title of {known}</span><input value={name} maxLength={100} onInput={(e) => setName(e.currentTarget.value)} /></label>
        <button type="submit" class="more" aria-label={`Rename ${known}`} disabled={disabled || name.trim() === title}>Rename</button>
        <button type="button" class="more" aria-label={`Remove ${known}`} disabled={disabled} onClick={() => change({ remove: place }, `${known} is gone.`)}>Remove</button>
      </form>
    </li>
  );
}
