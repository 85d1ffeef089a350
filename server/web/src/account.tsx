// Who has logged in, in the corner of the page; behind it the password, the tokens and, for admins, the users.

import { useContext, useEffect, useRef, useState } from 'preact/hooks';

import { Choose, useSending } from './gate.tsx';
import { Audit, Users } from './people.tsx';
import * as api from './session.ts';
import { ROLES, SessionOf, type Role, type Token } from './session.ts';

export function Me() {
  const session = useContext(SessionOf);
  const [open, setOpen] = useState(false);
  if (!session.role) return null;
  if (!session.user) return <button type="button" class="me" onClick={() => dispatchEvent(new Event('pattoo-ask-login'))}>Log in</button>;
  return (
    <>
      <button type="button" class="me" aria-haspopup="dialog" onClick={() => setOpen(true)}>{session.user}</button>
      {open && <Account close={() => setOpen(false)} />}
    </>
  );
}

type Tab = 'account' | 'users' | 'audit';

function Account({ close }: { close: () => void }) {
  const { user, role } = useContext(SessionOf);
  const dialog = useRef<HTMLDialogElement>(null);
  const [tab, setTab] = useState<Tab>('account');
  useEffect(() => dialog.current?.showModal(), []);
  const leave = () => void api.logout().finally(() => dispatchEvent(new Event('pattoo-login')));
  const choice = (name: Tab, text: string) => (
    <button type="button" aria-pressed={tab === name} onClick={() => setTab(name)}>{text}</button>
  );
  return (
    <dialog ref={dialog} class="account" aria-label="Account" onClose={close}>
      <div class="head">
        <h2>{user} <small>{role}</small></h2>
        <button type="button" class="plain" onClick={leave}>Log out</button>
        <button type="button" class="plain" aria-label="Close" onClick={() => dialog.current?.close()}>✕</button>
      </div>
      {role === 'admin' && <div class="choices" role="group" aria-label="What to show">{choice('account', 'My account')}{choice('users', 'Users')}{choice('audit', 'Audit log')}</div>}
      {tab === 'users' ? <Users me={user ?? ''} /> : tab === 'audit' ? <Audit /> : <Mine user={user ?? ''} role={role ?? 'viewer'} />}
    </dialog>
  );
}

function Mine({ user, role }: { user: string; role: Role }) {
  const [changed, setChanged] = useState(false);
  return (
    <>
      <Tokens role={role} />
      <h3>Password</h3>
      {changed && <p role="status">Your password was changed. Your other sessions have ended.</p>}
      <Choose first={false} known user={user} done={() => setChanged(true)} />
    </>
  );
}

const DAYS = [7, 30, 90, 365];

function Tokens({ role }: { role: Role }) {
  const [list, setList] = useState<Token[]>([]);
  const [name, setName] = useState('');
  const [most, setMost] = useState<Role>('viewer');
  const [days, setDays] = useState('90');
  const [made, setMade] = useState('');
  const [busy, error, run] = useSending();
  const load = async () => setList(await api.tokens());
  useEffect(() => run(load), []);
  const add = (event: Event) => {
    event.preventDefault();
    run(async () => {
      setMade((await api.addToken(name, most, Number(days) || null)).token);
      setName('');
      await load();
    });
  };
  return (
    <>
      <h3>My API tokens</h3>
      <p class="quiet">Programs send one as <code>Authorization: Bearer …</code>. A token never may more than you may.</p>
      {error && <p class="wrong" role="alert">{error}</p>}
      {made && <p class="told" role="status">Copy it now, it is not shown again:<code>{made}</code></p>}
      {list.length > 0 && (
        <table>
          <thead><tr><th>For</th><th>Role</th><th>Good until</th><th><span class="sr">Revoke</span></th></tr></thead>
          <tbody>
            {list.map((t) => (
              <tr key={t.id}>
                <td>{t.name}</td><td>{t.role}</td><td>{t.expires ? new Date(t.expires).toLocaleDateString() : 'for ever'}</td>
                <td><button type="button" class="plain" disabled={busy} onClick={() => run(async () => { await api.revokeToken(t.id); await load(); })}>Revoke<span class="sr"> {t.name}</span></button></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <form class="row" onSubmit={add}>
        <label>For<input name="token" required maxLength={64} placeholder="Prometheus" value={name} onInput={(e) => setName(e.currentTarget.value)} /></label>
        <label>Role<RoleChoice value={most} upTo={role} choose={setMost} /></label>
        <label>Days<select value={days} onChange={(e) => setDays(e.currentTarget.value)}>{DAYS.map((d) => <option key={d} value={d}>{d}</option>)}<option value="">for ever</option></select></label>
        <button type="submit" disabled={busy}>Make a token</button>
      </form>
    </>
  );
}

export function RoleChoice({ value, upTo, choose, label }: { value: Role; upTo: Role; choose: (role: Role) => void; label?: string }) {
  return (
    <select value={value} aria-label={label} onChange={(e) => choose(e.currentTarget.value as Role)}>
      {ROLES.slice(0, ROLES.indexOf(upTo) + 1).map((r) => <option key={r} value={r}>{r}</option>)}
    </select>
  );
}
