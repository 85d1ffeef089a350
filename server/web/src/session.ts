// Who has logged in, and what only somebody who has may ask of the server.

import { createContext } from 'preact';

import { Refused } from './api.ts';

export type Role = 'viewer' | 'operator' | 'admin';

export const ROLES: Role[] = ['viewer', 'operator', 'admin'];

export interface Session {
  user: string | null;
  /** Null where nobody has logged in and nothing may be read. */
  role: Role | null;
  must_choose: boolean;
  /** Whether there is a password, which must be told to choose another one. */
  has_password: boolean;
  /** Whether the server waits for its first user. */
  fresh: boolean;
}

export interface User {
  name: string;
  role: Role;
  disabled: boolean;
  has_password: boolean;
  sessions: number;
  tokens: number;
}

export interface Invitation {
  user: string;
  link: string;
  expires: number;
}

export interface Token {
  id: string;
  name: string;
  role: Role;
  created: number | null;
  expires: number | null;
}

export interface Entry {
  time: number;
  who: string;
  from: string;
  what: string;
  on?: string;
  done: boolean;
}

/** Whether somebody may do what this role may. The server decides; the page only does not offer what would be refused. */
export const may = (session: Session, role: Role): boolean => session.role !== null && ROLES.indexOf(session.role) >= ROLES.indexOf(role);

export const SessionOf = createContext<Session>({ user: null, role: null, must_choose: false, has_password: false, fresh: false });

async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' };
  const response = await fetch(`api/v1/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 204) return undefined as T;
  const answer = (await response.json().catch(() => null)) as (T & { error?: { message?: string } }) | null;
  if (response.ok && answer) return answer;
  throw new Refused(answer?.error?.message ?? `${path}: ${response.status}`);
}

export const session = () => send<Session>('GET', 'session');
export const login = (user: string, password: string) => send<Session>('POST', 'session', { user, password });
export const loginByLink = (link: string) => send<Session>('POST', 'session/link', { link });
export const logout = () => send<void>('DELETE', 'session');
export const choose = (old: string, password: string) => send<Session>('PUT', 'session/password', { old, new: password });

export const tokens = async () => (await send<{ tokens: Token[] }>('GET', 'tokens')).tokens;
export const addToken = (name: string, role: Role, days: number | null) =>
  send<Token & { token: string }>('POST', 'tokens', { name, role, ...(days ? { days } : {}) });
export const revokeToken = (id: string) => send<void>('DELETE', `tokens/${encodeURIComponent(id)}`);

export const users = async () => (await send<{ users: User[] }>('GET', 'users')).users;
export const addUser = (name: string, role: Role) => send<Invitation>('POST', 'users', { name, role });
export const changeUser = (name: string, change: { role?: Role; disabled?: boolean }) =>
  send<void>('PATCH', `users/${encodeURIComponent(name)}`, change);
export const resetUser = (name: string) => send<Invitation>('POST', `users/${encodeURIComponent(name)}/link`);
export const audit = async () => (await send<{ entries: Entry[] }>('GET', 'audit?limit=200')).entries;

/** What went wrong, in words for people. */
export const said = (e: unknown): string => (e instanceof Refused ? e.message : 'The server does not answer.');

/** The secret of a link in the address. */
export const secretOf = (hash: string): string | null => /^#link=([0-9a-f]{64})$/.exec(hash)?.[1] ?? null;
