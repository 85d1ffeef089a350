// For admins: users with what they may, and who did what.

import { useEffect, useState } from 'preact/hooks';

import { RoleChoice } from './account.tsx';
import { useSending } from './gate.tsx';
import * as api from './session.ts';
import type { Entry, Invitation, Role, User } from './session.ts';

export function Users({ me }: { me: string }) {
  const [list, setList] = useState<User[]>([]);
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [invited, setInvited] = useState<Invitation | null>(null);
  const [busy, error, run] = useSending();
  const load = async () => setList(await api.users());
  useEffect(() => run(load), []);
  const then = (what: () => Promise<Invitation | void>) => run(async () => {
    setInvited((await what()) ?? null);
    await load();
  });
  const add = (event: Event) => {
    event.preventDefault();
    then(async () => {
      const invitation = await api.addUser(name.trim(), role);
      setName('');
      return invitation;
    });
  };
  const link = invited && `${location.origin}${location.pathname}#link=${invited.link}`;
  return (
    <>
      <h3>Users</h3>
      {error && <p class="wrong" role="alert">{error}</p>}
      {invited && <p class="told" role="status">Give this link to {invited.user}; it is good once, for 24 h, to choose a password:<code>{link}</code></p>}
      <table>
        <thead><tr><th>User</th><th>Role</th><th>State</th><th><span class="sr">Change</span></th></tr></thead>
        <tbody>
          {list.map((u) => (
            <tr key={u.name} data-user={u.name}>
              <td>{u.name}</td>
              <td><RoleChoice value={u.role} upTo="admin" label={`Role of ${u.name}`} choose={(r) => then(() => api.changeUser(u.name, { role: r }))} /></td>
              <td>{u.disabled ? 'disabled' : u.has_password ? (u.sessions ? 'logged in' : 'may log in') : 'no password yet'}</td>
              <td>
                {u.name !== me && <button type="button" class="plain" disabled={busy} onClick={() => then(() => api.changeUser(u.name, { disabled: !u.disabled }))}>{u.disabled ? 'Enable' : 'Disable'}<span class="sr"> {u.name}</span></button>}
                {u.name !== me && !u.disabled && <button type="button" class="plain" disabled={busy} title="Ends the password and all sessions" onClick={() => then(() => api.resetUser(u.name))}>New link<span class="sr"> for {u.name}</span></button>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <form class="row" onSubmit={add}>
        <label>Name<input name="name" required maxLength={64} autocapitalize="none" spellcheck={false} value={name} onInput={(e) => setName(e.currentTarget.value)} /></label>
        <label>Role<RoleChoice value={role} upTo="admin" choose={setRole} /></label>
        <button type="submit" disabled={busy}>Add a user</button>
      </form>
    </>
  );
}

export function Audit() {
  const [entries, setEntries] = useState<Entry[]>([]);
  const [, error, run] = useSending();
  useEffect(() => run(async () => setEntries(await api.audit())), []);
  return (
    <>
      <h3>Audit log</h3>
      {error && <p class="wrong" role="alert">{error}</p>}
      <table>
        <thead><tr><th>When</th><th>Who</th><th>From</th><th>What</th></tr></thead>
        <tbody>
          {entries.map((e, n) => (
            <tr key={n} class={e.done ? '' : 'refused'}>
              <td>{new Date(e.time).toLocaleString()}</td><td>{e.who}</td><td>{e.from}</td><td>{e.what} {e.on ?? ''}{e.done ? '' : ' (refused)'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
