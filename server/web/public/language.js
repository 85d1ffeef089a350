// Chromium reports "en-US@posix" as the language where LANG is C or POSIX, as in kiosks and containers. Intl refuses that,
// and uPlot 1.6.32 asks Intl while it loads: the page would stay blank.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true });
  Object.defineProperty(navigator, 'languages', { value: ['en-US'], configurable: true });
}
