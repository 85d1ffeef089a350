// The chart page of a running server, in a real browser. PATTOO_TEST_URL names the server, PATTOO_TEST_POINT a gauge of it that
// keeps being measured every few seconds, as device/point. Whatever else to expect is asked of the API.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { after, before, test } from 'node:test';

import { PATIENCE_MS, byAttribute, withBrowser } from './browser.mjs';

const url = process.env.PATTOO_TEST_URL;

/** A point with numbers that is being measured now, and everything that is listed. */
let subject;
let listed;

async function api(path) {
  const response = await fetch(new URL(`api/v1/${path}`, url), { signal: AbortSignal.timeout(PATIENCE_MS) });
  assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`);
  return response.json();
}

before(async () => {
  assert.ok(url, 'PATTOO_TEST_URL must name a running server, as in http://127.0.0.1:8080/');
  const { gateways } = await api('gateways');
  const { devices } = await api('devices');
  const { series } = await api('series?limit=1000');
  listed = { gateways, devices, series };
  assert.ok(gateways.length && devices.length && series.length, 'the server has gateways, devices and points');
  const wanted = process.env.PATTOO_TEST_POINT;
  subject = series.find((s) => `${s.device}/${s.point}` === wanted);
  assert.equal(subject?.kind, 'gauge', `PATTOO_TEST_POINT=${wanted} must name a gauge that is there`);
});

const open = async (page, path = '') => {
  await page.goto(new URL(path, url).href);
  await page.locator('[data-gateway]').first().waitFor();
};

/** Opens the device of the subject if it is folded, and gives the row of the subject. */
async function row(page) {
  await page.getByRole('searchbox').fill(`${subject.point} ${subject.device}`);
  const found = byAttribute(page, 'data-series', subject.id);
  const device = byAttribute(page, 'data-device', subject.device).first();
  await device.waitFor();
  const head = device.locator('.device-head');
  if ((await head.getAttribute('aria-expanded')) === 'false') await head.click();
  await found.waitFor();
  return found;
}

/** How many pixels of the chart have the colour of a series, give or take antialiasing. */
async function painted(page, id) {
  const swatch = byAttribute(page, 'data-legend', id).locator('.swatch');
  const ink = await swatch.evaluate((element) => getComputedStyle(element).backgroundColor.match(/\d+/g).slice(0, 3).map(Number));
  return page.evaluate((ink) => {
    const canvas = document.querySelector('.plot canvas');
    if (!canvas) return 0;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 200 && ink.every((c, n) => Math.abs(c - data[i + n]) < 12)) found += 1;
    }
    return found;
  }, ink);
}

const drawn = (page, id) => until(async () => (await painted(page, id)) > 40, 'the chart has pixels in the colour of the series');

async function until(holds, what) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const lastTime = async (page, id) => Number(await byAttribute(page, 'data-legend', id).locator('.now').getAttribute('data-t'));

test('a cold load lists what there is, without a word of complaint', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page);
    for (const gateway of listed.gateways) await byAttribute(page, 'data-gateway', gateway.name).waitFor();
    for (const device of listed.devices.slice(0, 50)) await byAttribute(page, 'data-device', device.name).first().waitFor();
    assert.equal(await page.evaluate(() => [...document.scripts].every((s) => new URL(s.src).origin === location.origin)), true);
    const found = await row(page);
    assert.ok((await found.textContent()).includes(subject.point));
    await until(async () => /\d/.test(await found.locator('.value').textContent()), 'the row shows the latest value');
    await page.getByRole('searchbox').fill('nothing has this name 4711');
    await page.getByText('Nothing matches').waitFor();
    assert.deepEqual(complaints, []);
  });
});

test('a language that Intl refuses, as some Chromiums report it in a container, does not leave the page blank', async () => {
  await withBrowser({}, async (page, complaints) => {
    // Whether Chromium does it by itself depends on its version and build, so it is told to.
    await page.addInitScript(() => {
      Object.defineProperty(Navigator.prototype, 'language', { get: () => 'en-US@posix', configurable: true });
      Object.defineProperty(Navigator.prototype, 'languages', { get: () => ['en-US@posix'], configurable: true });
    });
    await open(page, `?range=15m&series=${subject.id}`);
    await drawn(page, subject.id);
    assert.deepEqual(complaints, []);
  });
});

test('a click draws a point with its legend, a newer reading appears by itself, the address keeps it', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page);
    await (await row(page)).click();
    await drawn(page, subject.id);
    const legend = byAttribute(page, 'data-legend', subject.id);
    assert.ok((await legend.textContent()).includes(subject.point));
    await until(async () => /\d/.test(await legend.locator('.now').textContent()), 'the legend has the last value');
    assert.match(await page.locator('.scale').textContent(), /^1 px = .+ readings?/);

    const loads = await page.evaluate(() => performance.timeOrigin);
    const first = await lastTime(page, subject.id);
    await until(async () => (await lastTime(page, subject.id)) > first, 'a newer reading is shown');
    assert.equal(await page.evaluate(() => performance.timeOrigin), loads, 'the page was not loaded again');

    await page.getByRole('button', { name: '1 h', exact: true }).click();
    await drawn(page, subject.id);
    assert.equal(new URL(page.url()).search, `?range=1h&series=${subject.id}`);
    await page.reload();
    await drawn(page, subject.id);
    await page.goBack();
    await until(async () => new URL(page.url()).search === `?range=15m&series=${subject.id}`, 'back undoes the range');
    await drawn(page, subject.id);
    await (await row(page)).click();
    await page.getByText('Choose a point to see its chart').waitFor();
    assert.deepEqual(complaints, []);
  });
});

test('several units lie on one chart', async () => {
  await withBrowser({}, async (page, complaints) => {
    const other = listed.series.find((s) => s.kind === 'gauge' && s.unit !== subject.unit && s.gateway === subject.gateway);
    const ids = [subject, ...(other ? [other] : [])].map((s) => s.id);
    await open(page, `?range=15m&series=${ids.join()}`);
    await drawn(page, subject.id);
    for (const id of ids) await byAttribute(page, 'data-legend', id).waitFor();
    await page.locator('.plot').hover();
    await until(async () => /\d\d:\d\d:\d\d/.test(await page.locator('.legend thead').textContent()), 'the legend follows the pointer');
    await page.mouse.move(0, 0);
    if (process.env.PATTOO_TEST_SCREENSHOT) {
      await mkdir(dirname(process.env.PATTOO_TEST_SCREENSHOT), { recursive: true });
      await page.screenshot({ path: process.env.PATTOO_TEST_SCREENSHOT });
    }
    assert.deepEqual(complaints, []);
  });
});

for (const [name, options] of [
  ['a phone of 360 px', { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true }],
  ['dark', { colorScheme: 'dark' }],
]) {
  test(`${name}: the chart is there and nothing hangs over`, async () => {
    await withBrowser(options, async (page, complaints) => {
      for (const path of ['', `?range=6h&series=${subject.id}`]) {
        await open(page, path);
        if (path) await drawn(page, subject.id);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(over <= 0, `${over} px wider than the window at ${path}`);
      }
      const [paper, ink] = await page.evaluate(() => {
        const style = getComputedStyle(document.documentElement);
        return [style.backgroundColor, style.color].map((c) => c.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0));
      });
      assert.equal(paper < ink, options.colorScheme === 'dark', 'light on dark, or dark on light');
      assert.deepEqual(complaints, []);
    });
  });
}

test('a server that goes away is named, and the last picture stays', async () => {
  await withBrowser({}, async (page) => {
    await open(page, `?range=15m&series=${subject.id}`);
    await drawn(page, subject.id);
    await page.context().setOffline(true);
    await page.getByText('The server does not answer').first().waitFor();
    assert.ok((await painted(page, subject.id)) > 40);
    const last = await lastTime(page, subject.id);
    await page.context().setOffline(false);
    await until(async () => (await page.getByText('The server does not answer').count()) === 0, 'the warning goes');
    await until(async () => (await lastTime(page, subject.id)) > last, 'live again');
  });
});

after(() => console.log(`# the page of ${url} with ${listed?.series.length ?? 0} points`));
