// Stands before the page: lets in whoever may read, and asks everybody else to log in.

import './account.css';

import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import * as api from './session.ts';
import { SessionOf, said, secretOf, type Session } from './session.ts';
import { Line } from './welcome.tsx';

const AGAIN_MS = 3000;
/** As the server has it. */
const LEAST_PASSWORD = 12;

export function Gate({ children }: { children: ComponentChildren }) {
  const [session, setSession] = useState<Session | null>(null);
  const [note, setNote] = useState('');
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      clearTimeout(timer);
      try {
        const secret = secretOf(location.hash);
        if (secret) {
          // A link is good once: it does not stay in the address, nor in the history.
          history.replaceState(null, '', location.pathname + location.search);
          const by = await api.loginByLink(secret).catch((e: unknown) => void setNote(said(e)));
          if (by) return setSession(by);
        }
        const now = await api.session();
        if (now.role) setNote('');
        setSession(now);
      } catch {
        setNote('The server does not answer. Trying again…');
        timer = setTimeout(look, AGAIN_MS);
      }
    };
    const ask = () => setAsked(true);
    void look();
    addEventListener('pattoo-login', look);
    addEventListener('hashchange', look);
    addEventListener('pattoo-ask-login', ask);
    return () => {
      clearTimeout(timer);
      removeEventListener('pattoo-login', look);
      removeEventListener('hashchange', look);
      removeEventListener('pattoo-ask-login', ask);
    };
  }, []);
  const enter = (by: Session) => {
    setNote('');
    setAsked(false);
    setSession(by);
  };
  if (!session) return note ? <p class="banner" role="alert">{note}</p> : null;
  if (session.must_choose) return <Door title="Choose a password"><Choose first known={session.has_password} user={session.user ?? ''} done={enter} /></Door>;
  if (!session.role || asked) return <Door title="Log in"><Login fresh={session.fresh} note={note} done={enter} back={session.role ? () => setAsked(false) : null} /></Door>;
  return <SessionOf.Provider value={session}>{children}</SessionOf.Provider>;
}

function Door({ title, children }: { title: string; children: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · Pattoo`;
  }, [title]);
  return (
    <main class="door">
      <Line />
      <h1>{title}</h1>
      {children}
    </main>
  );
}

/** Runs what a form asks for, once at a time, and keeps what the server said against it. */
export function useSending(): [boolean, string, (what: () => Promise<void>) => void] {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const run = (what: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setError('');
    what().catch((e: unknown) => setError(said(e))).finally(() => setBusy(false));
  };
  return [busy, error, run];
}

function Login({ fresh, note, done, back }: { fresh: boolean; note: string; done: (by: Session) => void; back: (() => void) | null }) {
  const [user, setUser] = useState('');
  const [password, setPassword] = useState('');
  const [busy, error, run] = useSending();
  const submit = (event: Event) => {
    event.preventDefault();
    run(async () => done(await api.login(user.trim(), password)));
  };
  return (
    <form class="sheet" onSubmit={submit}>
      {fresh && <p class="quiet">This server has no users yet. The first one comes by the link that the server printed when it started; <code>pattoo-server user link admin</code> on its machine prints another one.</p>}
      {(error || note) && <p class="wrong" role="alert">{error || note}</p>}
      <label>User<input name="user" autocomplete="username" autocapitalize="none" spellcheck={false} required value={user} onInput={(e) => setUser(e.currentTarget.value)} /></label>
      <label>Password<input name="password" type="password" autocomplete="current-password" required value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></label>
      <button type="submit" disabled={busy}>Log in</button>
      {back && <button type="button" class="plain" onClick={back}>Go on without</button>}
    </form>
  );
}

export function Choose({ first, known, user, done }: { first: boolean; known: boolean; user: string; done: (by: Session) => void }) {
  const [old, setOld] = useState('');
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const [busy, error, run] = useSending();
  const differs = again !== '' && again !== password;
  const submit = (event: Event) => {
    event.preventDefault();
    if (again !== password) return;
    run(async () => {
      done(await api.choose(old, password));
      setOld('');
      setPassword('');
      setAgain('');
    });
  };
  return (
    <form class="sheet" onSubmit={submit}>
      {first && <p class="quiet">For <b>{user}</b>. At least {LEAST_PASSWORD} characters; a few words that belong together only for you are easy to keep.</p>}
      {error && <p class="wrong" role="alert">{error}</p>}
      <input type="text" class="sr" autocomplete="username" value={user} readOnly tabIndex={-1} aria-hidden="true" />
      {known && <label>Password until now<input name="old" type="password" autocomplete="current-password" required value={old} onInput={(e) => setOld(e.currentTarget.value)} /></label>}
      <label>New password<input name="new" type="password" autocomplete="new-password" required minLength={LEAST_PASSWORD} maxLength={256} value={password} onInput={(e) => setPassword(e.currentTarget.value)} /></label>
      <label>Once more<input name="again" type="password" autocomplete="new-password" required aria-invalid={differs} value={again} onInput={(e) => setAgain(e.currentTarget.value)} /></label>
      {differs && <p class="wrong">The two differ.</p>}
      <button type="submit" disabled={busy || differs}>Choose it</button>
    </form>
  );
}
