// Runs before the page: what must be right when its scripts load, or at its first paint.

// Chromium reports "en-US@posix" as the language where LANG is C or POSIX, as in kiosks and containers. Intl refuses that,
// and uPlot 1.6.32 asks Intl while it loads: the page would stay blank.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true });
  Object.defineProperty(navigator, 'languages', { value: ['en-US'], configurable: true });
}

// Dark or light as chosen here, else as the system has it.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem('pattoo.theme');
  } catch {
    // Storage that is switched off is no reason to show nothing.
  }
  const system = matchMedia('(prefers-color-scheme: dark)');
  const set = () => {
    const wanted = ['dark', 'light'].includes(chosen) ? chosen : system.matches ? 'dark' : 'light';
    document.documentElement.dataset.theme = wanted;
  };
  set();
  system.addEventListener('change', set);
  addEventListener('pattoo-theme', (event) => {
    chosen = event.detail;
    set();
  });
}
