// Units as people write them, with a prefix that suits the size of the number. Pure.

/** How a value is shown: times `factor`, with `symbol` behind it. */
export interface Scale {
  factor: number;
  symbol: string;
}

/** Codes of UCUM that nobody writes on a panel. */
const SYMBOLS: Record<string, string> = {
  '1': '', Cel: '°C', '[degF]': '°F', deg: '°', Ohm: 'Ω', By: 'B', '[ppm]': 'ppm', '{count}': '', m3: 'm³', m2: 'm²', 'm3/h': 'm³/h', K: 'K',
};

/** What takes a prefix. */
const BASES = ['V', 'A', 'W', 'VA', 'var', 'Wh', 'VAh', 'varh', 'Ah', 'Hz', 'Pa', 'J', 'bit', 'By', 'Ohm', 'F', 'm', 'bar', 'Ws', 'N', 'S'];

const PREFIXES: [string, number][] = [
  ['n', -9], ['µ', -6], ['u', -6], ['m', -3], ['', 0], ['k', 3], ['M', 6], ['G', 9], ['T', 12], ['P', 15],
];

/** A unit keeps the prefix it came with while its numbers have at most so many digits. */
const LARGEST = 10_000;
const SMALLEST = 0.01;

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

const TIMES: [number, string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
];

function symbolOf(unit: string): string {
  const split = SYMBOLS[unit] === undefined ? prefixOf(unit) : null;
  return split && SYMBOLS[split.base] ? unit.slice(0, unit.length - split.base.length) + SYMBOLS[split.base] : (SYMBOLS[unit] ?? unit);
}

export const isBytes = (unit: string): boolean => unit === 'By' || unit.startsWith('By/');

/** What counts in this unit has a rate in another one: energy is counted, power is its rate. `factor` goes from per second to it. */
export function rateOf(unit: string): { unit: string; factor: number } {
  const split = prefixOf(unit);
  if (split && /^(Wh|VAh|varh|Ah)$/.test(split.base)) return { unit: unit.slice(0, -1), factor: 3600 };
  if (split?.base === 'J' || split?.base === 'Ws') return { unit: `${unit.slice(0, unit.length - split.base.length)}W`, factor: 1 };
  if (unit === 'm3') return { unit: 'm3/h', factor: 3600 };
  if (unit === 'l' || unit === 'L') return { unit: `${unit}/min`, factor: 60 };
  return { unit: `${unit === '1' || unit === '{count}' ? '' : unit}/s`, factor: 1 };
}

/** The scale for numbers up to `largest`, which may be negative. */
export function scaleFor(unit: string, largest: number): Scale {
  const size = Math.abs(largest);
  const plain = { factor: 1, symbol: symbolOf(unit) };
  if (!Number.isFinite(size) || size === 0) return plain;
  const [over, ...under] = unit.split('/');
  const per = under.length ? `/${under.join('/')}` : '';
  if (over === 'By') {
    const steps = Math.max(0, Math.min(BINARY.length - 1, Math.floor(Math.log2(size) / 10)));
    return { factor: 1024 ** -steps, symbol: `${BINARY[steps]}${per}` };
  }
  if (unit === 's') {
    const found = TIMES.find(([seconds]) => size >= 2 * seconds);
    return found ? { factor: 1 / found[0], symbol: found[1] } : size < SMALLEST ? { factor: 1000, symbol: 'ms' } : plain;
  }
  const split = prefixOf(over ?? '');
  if (!split || (size < LARGEST && size >= SMALLEST)) return plain;
  const wanted = Math.floor(Math.log10(size * 10 ** split.exponent) / 3 + 1e-9) * 3;
  const [prefix, exponent] = PREFIXES.filter(([p]) => p !== 'u').findLast(([, e]) => e <= Math.max(-9, wanted)) ?? ['', 0];
  return { factor: 10 ** (split.exponent - exponent), symbol: `${prefix}${symbolOf(split.base)}${per}` };
}

/** `kWh` -> Wh and 3; null for what takes no prefix. */
function prefixOf(unit: string): { base: string; exponent: number } | null {
  if (BASES.includes(unit)) return { base: unit, exponent: 0 };
  const found = PREFIXES.find(([p]) => p !== '' && unit.startsWith(p) && BASES.includes(unit.slice(p.length)));
  return found ? { base: unit.slice(found[0].length), exponent: found[1] } : null;
}
