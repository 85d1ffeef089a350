// What the tests know of the plant behind the page, and how they look at a chart. PATTOO_TEST_URL names the server,
// PATTOO_TEST_POINT a gauge of it that keeps being measured every few seconds, as device/point, PATTOO_TEST_DASHBOARDS the folder that it
// has its dashboards in. All else is asked of the API.

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { PATIENCE_MS, byAttribute } from './browser.mjs';

export const url = process.env.PATTOO_TEST_URL;

export async function api(path) {
  const response = await fetch(new URL(`api/v1/${path}`, url), { signal: AbortSignal.timeout(PATIENCE_MS) });
  assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`);
  return response.json();
}

/** Everything that is listed, and a point with numbers that is being measured now. */
export async function plant() {
  assert.ok(url, 'PATTOO_TEST_URL must name a running server, as in http://127.0.0.1:8080/');
  const { gateways } = await api('gateways');
  const { devices } = await api('devices');
  const { series } = await api('series?limit=1000');
  assert.ok(gateways.length && devices.length && series.length, 'the server has gateways, devices and points');
  const wanted = process.env.PATTOO_TEST_POINT;
  const subject = series.find((s) => `${s.device}/${s.point}` === wanted);
  assert.equal(subject?.kind, 'gauge', `PATTOO_TEST_POINT=${wanted} must name a gauge that is there`);
  return { gateways, devices, series, subject };
}

export async function open(page, path = '') {
  await page.goto(new URL(path, url).href);
  await page.locator('main').waitFor();
}

export const devicePath = (s, more = '') => `?${new URLSearchParams({ gateway: s.gateway, device: s.device })}${more}`;

/** Opens the device of a point if it is folded, and gives the row of the point, on the explore page. */
export async function row(page, subject) {
  await page.getByRole('searchbox').fill(`${subject.point} ${subject.device}`);
  const found = byAttribute(page, 'data-series', subject.id);
  const device = byAttribute(page, 'data-device', subject.device).first();
  await device.waitFor();
  const head = device.locator('.device-head');
  // The words may narrow the list, and so unfold the device, at any moment.
  await until(async () => {
    if (await found.isVisible()) return true;
    if ((await head.getAttribute('aria-expanded')) === 'false') await head.click();
    return false;
  }, `${subject.point} is in the list`);
  return found;
}

/** How many pixels of the charts have the colour of a series, give or take antialiasing. */
export async function painted(page, id) {
  const swatch = byAttribute(page, 'data-legend', id).locator('.swatch');
  const ink = await swatch.evaluate((element) => getComputedStyle(element).backgroundColor.match(/\d+/g).slice(0, 3).map(Number));
  return page.evaluate((ink) => {
    let found = 0;
    for (const canvas of document.querySelectorAll('.plot canvas')) {
      if (canvas.width * canvas.height === 0) continue;
      // A copy: reading the chart's own canvas again and again would change how it is drawn, and the browser says so.
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 200 && ink.every((c, n) => Math.abs(c - data[i + n]) < 12)) found += 1;
      }
    }
    return found;
  }, ink);
}

/** So many pixels are no accident, and a line of a few readings has them. */
export const SOME_INK = 40;

export const drawn = (page, id) => until(async () => (await painted(page, id)) > SOME_INK, 'the chart has pixels in the colour of the series');

export async function until(holds, what) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const lastTime = async (page, id) => Number(await byAttribute(page, 'data-legend', id).locator('.now').getAttribute('data-t'));

export const query = (page) => Object.fromEntries(new URL(page.url()).searchParams);

/** Nothing is wider than the window. */
export async function fits(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${over} px wider than the window at ${where}`);
}

/** Keeps a picture, where PATTOO_TEST_SCREENSHOTS names a folder for them. */
export async function keep(page, name) {
  const folder = process.env.PATTOO_TEST_SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** The file of a dashboard. */
export function file(name) {
  const folder = process.env.PATTOO_TEST_DASHBOARDS;
  assert.ok(folder, 'PATTOO_TEST_DASHBOARDS must name the folder of dashboards');
  return join(folder, `${name}.yaml`);
}

/** Writes a dashboard, and waits until the server has it. */
export async function dashboard(name, text) {
  await writeFile(file(name), text);
  await until(async () => (await fetch(new URL(`api/v1/dashboards/${name}`, url)).then((r) => r.json())).yaml === text, `${name}.yaml is known`);
}

/** A dashboard of the pump house. */
export const RIVER = `# Looked at each morning.
version: 1
title: River
range: 3h
variables:
  - { name: site, label: site, default: river }
panels:
  - title: Pressure at $site
    type: chart
    width: 12
    series: [{ point: 'pressure_*', labels: { site: $site } }]
  - { title: Now, type: stat, series: [{ gateway: pump-house, point: level }, { gateway: pump-house, point: energy }] }
  # Once for each device of the house.
  - { title: States of $device, type: state, repeat: device, series: [{ gateway: pump-house }] }
  - title: Read this
    type: text
    text: |
      Call the plant <b>before</b> you stop a pump.
`;

/** Has the server keep these favourites and no others, of readers without a login or of whom PATTOO_TEST_COOKIE is. */
export async function favourites(favourites, signedIn = false) {
  const headers = signedIn ? { cookie: process.env.PATTOO_TEST_COOKIE, 'sec-fetch-site': 'same-origin' } : {};
  const ask = (init) => fetch(new URL('api/v1/favourites', url), { headers, signal: AbortSignal.timeout(PATIENCE_MS), ...init });
  const { revision } = await (await ask({})).json();
  const kept = await ask({ method: 'PUT', body: JSON.stringify({ revision, favourites }) });
  assert.equal(kept.status, 200, await kept.text());
}
