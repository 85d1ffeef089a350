// All dashboards, with what is wrong with those that cannot be read; and a new one.

import { useContext, useState } from 'preact/hooks';

import * as api from './api.ts';
import { counted } from './format.ts';
import { Go } from './link.tsx';
import { usePoll, whyNot } from './poll.ts';
import { may, SessionOf } from './session.ts';
import { toDashboard, type View } from './view.ts';
import { dashboardText, nameFor } from './yaml.ts';

const LIST_MS = 5000;

export function Dashboards({ view, setView }: { view: View; setView: (view: View) => void }) {
  const { data, error } = usePoll('dashboards', LIST_MS, api.dashboards);
  const [title, setTitle] = useState('');
  const [wrong, setWrong] = useState<string | null>(null);
  const changes = may(useContext(SessionOf), 'operator');
  const make = async (event: Event) => {
    event.preventDefault();
    const name = nameFor(title);
    try {
      await api.save(name, dashboardText(title, []), null);
      setView({ ...toDashboard(view, name), edit: true });
    } catch (e) {
      setWrong(e instanceof api.Refused && e.status === 412 ? `There is a dashboard ${name} already.` : whyNot(e));
    }
  };
  return (
    <main class="page" data-page="dashboards">
      <h1>Dashboards</h1>
      {error && <p class="banner" role="alert">{error}</p>}
      {data?.trouble && <p class="banner" role="alert">{data.trouble}</p>}
      {data && (
        <ul class="card boards">
          {data.dashboards.length === 0 && <li class="quiet">None yet. {changes ? 'Save a chart of Explore under a name, make one here, or put' : 'Operators make them on this page, or put'} a file into {data.folder}.</li>}
          {data.dashboards.map((d) => (
            <li key={d.name} data-dashboard={d.name}>
              <Go view={{ ...toDashboard(view, d.name), edit: changes && d.problem !== null }} setView={setView}>{d.title}</Go>
              <small> {d.name}.yaml{!d.problem && ` · ${counted(d.panels, 'panel')}`}</small>
              {d.problem && <p class="wrong"><b>✕ {d.name}.yaml:{d.problem.line}:{d.problem.column}</b> {d.problem.message}</p>}
            </li>
          ))}
        </ul>
      )}
      {changes && <form class="own" onSubmit={(e) => void make(e)}>
        <label>New dashboard <input required maxLength={100} placeholder="Its title" value={title} onInput={(e) => setTitle(e.currentTarget.value)} /></label>
        <button type="submit" class="primary" disabled={!title.trim()}>Make</button>
        {wrong && <span class="wrong" role="alert">{wrong}</span>}
      </form>}
    </main>
  );
}
