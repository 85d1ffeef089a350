// Starts a real Chromium with a folder of its own, and ends it. It knows nothing of the page.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

/** Longest wait for a condition, in ms. */
export const PATIENCE_MS = 20_000;

/** `signedIn` is somebody who may change things; PATTOO_TEST_COOKIE is the cookie of one at PATTOO_TEST_URL. */
export async function withBrowser({ signedIn = false, ...options }, use) {
  const folder = await mkdtemp(join(tmpdir(), 'pattoo-browser-'));
  const browser = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.PATTOO_TEST_CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
    // As in a kiosk or container.
    env: { ...process.env, LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', LANGUAGE: '', HOME: folder },
    viewport: { width: 1360, height: 860 },
    ...options,
  });
  try {
    browser.setDefaultTimeout(PATIENCE_MS);
    if (signedIn) {
      const [name, value] = process.env.PATTOO_TEST_COOKIE.split(/=(.*)/s);
      await browser.addCookies([{ name, value, url: process.env.PATTOO_TEST_URL, httpOnly: true, sameSite: 'Strict' }]);
    }
    const page = browser.pages()[0] ?? (await browser.newPage());
    const complaints = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(`${message.type()}: ${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
    page.on('requestfailed', (request) => {
      const why = request.failure()?.errorText;
      if (why !== 'net::ERR_ABORTED') complaints.push(`request failed: ${request.url()}: ${why}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`);
    });
    return await use(page, complaints);
  } finally {
    await browser.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The first element with an attribute value, whatever characters the value has. */
export const byAttribute = (page, name, value) => page.locator(`[${name}=${JSON.stringify(String(value))}]`);
