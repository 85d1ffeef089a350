// How the page looks to this reader: dark or light, and the time zone. Only the theme is remembered, in the browser.

import { createContext } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import type { Zone } from './time.ts';

export interface Look {
  dark: boolean;
  /** Whose times are shown. */
  zone: Zone;
  /** The plant's, where the server knows it. */
  site: Zone | null;
}

export const LookOf = createContext<Look>({ dark: false, zone: 'browser', site: null });

const isDark = () => document.documentElement.dataset.theme === 'dark';

/** Whether it is dark, and a switch. `public/before.js` owns the attribute, because it must be set before the first paint. */
export function useDark(): [boolean, () => void] {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    const observer = new MutationObserver(() => setDark(isDark()));
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
    return () => observer.disconnect();
  }, []);
  const turn = () => {
    const next = isDark() ? 'light' : 'dark';
    try {
      localStorage.setItem('pattoo.theme', next);
    } catch {
      // Then it is forgotten with the page.
    }
    dispatchEvent(new CustomEvent('pattoo-theme', { detail: next }));
  };
  return [dark, turn];
}

/** The width of an element, as it changes, and whether it is near what is on screen. */
export function useSize(): [(element: HTMLElement | null) => void, number, boolean] {
  const [element, setElement] = useState<HTMLElement | null>(null);
  const [width, setWidth] = useState(0);
  const [near, setNear] = useState(false);
  useEffect(() => {
    if (!element) return undefined;
    const sizes = new ResizeObserver((entries) => setWidth(Math.floor(entries[0]?.contentRect.width ?? 0)));
    const places = new IntersectionObserver((entries) => setNear(entries.at(-1)?.isIntersecting ?? true), { rootMargin: '300px' });
    sizes.observe(element);
    places.observe(element);
    return () => {
      sizes.disconnect();
      places.disconnect();
    };
  }, [element]);
  return [setElement, width, near];
}

/** The time, told again so often. */
export function useNow(ms: number, now: () => number): number {
  const [time, setTime] = useState(now);
  useEffect(() => {
    const timer = setInterval(() => setTime(now()), ms);
    return () => clearInterval(timer);
  }, [ms]);
  return time;
}
