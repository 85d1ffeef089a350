// Keeps the chart on screen under a name: in a dashboard that is there, or in a new one.

import { useState } from 'preact/hooks';

import * as api from './api.ts';
import { Go } from './link.tsx';
import { usePoll, whyNot } from './poll.ts';
import { toDashboard, type View } from './view.ts';
import { chartBlock, dashboardText, nameFor } from './yaml.ts';

const LIST_MS = 5000;

interface Props {
  title: string;
  series: api.Series[];
  view: View;
  setView: (view: View) => void;
}

export function SaveAs({ title, series, view, setView }: Props) {
  const { data } = usePoll('dashboards', LIST_MS, api.dashboards);
  const [name, setName] = useState(title);
  const [into, setInto] = useState('');
  const [told, setTold] = useState<{ error?: string; saved?: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const block = chartBlock(name, series, view.counter);
      if (into) {
        const { tag } = await api.dashboard(into);
        await api.change(into, tag, { add: block });
      } else await api.save(nameFor(name), dashboardText(name, [block]), null);
      setTold({ saved: into || nameFor(name) });
    } catch (e) {
      const there = e instanceof api.Refused && e.status === 412 && !into;
      setTold({ error: there ? `There is a dashboard ${nameFor(name)} already: choose it, or another name.` : whyNot(e) });
    }
    setBusy(false);
  };
  return (
    <form class="own card" onSubmit={(e) => void save(e)} aria-label="Save as named chart">
      <label>Name <input required maxLength={100} value={name} onInput={(e) => setName(e.currentTarget.value)} /></label>
      <label>In <select aria-label="Dashboard" value={into} onChange={(e) => setInto(e.currentTarget.value)}>
        <option value="">a new dashboard</option>
        {data?.dashboards.filter((d) => !d.problem).map((d) => <option key={d.name} value={d.name}>{d.title}</option>)}
      </select></label>
      <button type="submit" class="primary" disabled={busy || !name.trim()}>Save</button>
      {told?.saved && <span role="status">Saved in <Go view={toDashboard(view, told.saved)} setView={setView}>{told.saved}</Go></span>}
      {told?.error && <span class="wrong" role="alert">{told.error}</span>}
    </form>
  );
}
