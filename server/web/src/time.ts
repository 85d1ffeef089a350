// Times as people read them, in any time zone. Pure but for the zone and language of the browser.

/** `browser`, `utc`, or a zone of the IANA list such as `Europe/Vienna`. */
export type Zone = string;

const two = (n: number) => String(n).padStart(2, '0');

export interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

const formats = new Map<Zone, Intl.DateTimeFormat>();

/** Makes one once: that takes longer than to use it a thousand times. */
function format(zone: Zone): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known) return known;
  const n = 'numeric';
  const made = new Intl.DateTimeFormat('en-US', { timeZone: zone, hourCycle: 'h23', year: n, month: n, day: n, hour: n, minute: n, second: n });
  formats.set(zone, made);
  return made;
}

export function parts(ms: number, zone: Zone): Parts {
  const d = new Date(ms);
  if (zone === 'utc') return { year: d.getUTCFullYear(), month: d.getUTCMonth() + 1, day: d.getUTCDate(), hour: d.getUTCHours(), minute: d.getUTCMinutes(), second: d.getUTCSeconds() };
  if (zone === 'browser') return { year: d.getFullYear(), month: d.getMonth() + 1, day: d.getDate(), hour: d.getHours(), minute: d.getMinutes(), second: d.getSeconds() };
  const found = Object.fromEntries(format(zone).formatToParts(d).map(({ type, value }) => [type, Number(value)]));
  return found as unknown as Parts;
}

export function clock(ms: number, zone: Zone, seconds = true): string {
  const p = parts(ms, zone);
  return `${two(p.hour)}:${two(p.minute)}${seconds ? `:${two(p.second)}` : ''}`;
}

/** Date and time, the same length everywhere. */
export function stamp(ms: number, zone: Zone): string {
  const p = parts(ms, zone);
  return `${p.year}-${two(p.month)}-${two(p.day)} ${clock(ms, zone)}`;
}

/** Ms by which the zone is ahead of UTC at that time. */
export function ahead(ms: number, zone: Zone): number {
  if (zone === 'utc') return 0;
  const p = parts(ms, zone);
  return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) - Math.floor(ms / 1000) * 1000;
}

/** When a clock on the wall shows what one of UTC shows at `wall`; where clocks are put forward past it, the time after. */
export function fromWall(wall: number, zone: Zone): number {
  const near = wall - ahead(wall, zone);
  return wall - ahead(near, zone);
}

/** ISO 8601 with its offset, for programs. */
export function iso(ms: number, zone: Zone): string {
  const by = ahead(ms, zone);
  const text = new Date(ms + by).toISOString().slice(0, -1);
  const size = Math.abs(by) / 60_000;
  return by === 0 ? `${text}Z` : `${text}${by < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** As a `datetime-local` field has it. */
export function field(ms: number, zone: Zone): string {
  return stamp(ms, zone).replace(' ', 'T');
}

/** Ms since 1970 of such a field; null for what is none. */
export function fromField(text: string, zone: Zone): number | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text)) return null;
  const wall = Date.parse(`${text}Z`);
  const ms = Number.isFinite(wall) ? fromWall(wall, zone) : -1;
  return ms >= 0 ? ms : null;
}

/** The zone's name. */
export function zoneName(zone: Zone): string {
  if (zone === 'browser') return Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
  return zone === 'utc' ? 'UTC' : zone;
}

/** Day and month. */
export function day(ms: number, zone: Zone): string {
  return new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', ...(zone === 'browser' ? {} : { timeZone: zoneName(zone) }) }).format(ms);
}
