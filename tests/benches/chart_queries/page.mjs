// Times of the page as its reader has them. Prints rows as JSON; whoever started it tells 200 series each second meanwhile.

import { readFile, readdir } from 'node:fs/promises';

import { PATIENCE_MS, withBrowser } from './browser.mjs';

const url = process.env.PATTOO_TEST_URL;
const series = process.env.PATTOO_BENCH_SERIES;
const from = Number(process.env.PATTOO_BENCH_FROM);
const DAY_MS = 86_400_000;
const rows = [];

function row(what, unit, numbers, aim, must) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (share) => `${Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]).toPrecision(3))} ${unit}`;
  rows.push({ what, p50: at(0.5), p95: at(0.95), most: at(1), n: numbers.length, aim, must });
}

/** Calls back, in the page, in the frame after a change of what the first chart says of its window. */
const onPicture = () => {
  globalThis.nextPicture = (before) =>
    new Promise((resolve) => {
      const look = () => {
        const text = document.querySelector('.scale')?.textContent ?? '';
        if (text && text !== before && document.querySelector('.plot canvas')) requestAnimationFrame(() => resolve(performance.now()));
        else requestAnimationFrame(look);
      };
      look();
    });
};

const chart = (n, more = '') => `${url}?series=${series}&from=${from + n * DAY_MS}&to=${from + (n + 1) * DAY_MS}${more}`;

// First chart after a cold load: a browser of its own each time, nothing in its cache.
const cold = [];
for (let n = 0; n < 10; n += 1) {
  await withBrowser({}, async (page) => {
    await page.addInitScript(onPicture);
    await page.goto(chart(n));
    cold.push(await page.evaluate(() => globalThis.nextPicture('')));
  });
}
row('first chart after a cold load', 'ms', cold, '250 ms', '500 ms');

// From the end of a drag to the new picture.
await withBrowser({}, async (page) => {
  await page.addInitScript(onPicture);
  const zooms = [];
  for (let n = 0; n < 20; n += 1) {
    await page.goto(chart(n));
    await page.evaluate(() => globalThis.nextPicture(''));
    const box = await page.locator('.u-over').boundingBox();
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * 0.3, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, y, { steps: 3 });
    const took = page.evaluate(async () => {
      const before = document.querySelector('.scale').textContent;
      const released = new Promise((resolve) => addEventListener('mouseup', () => resolve(performance.now()), { capture: true, once: true }));
      const start = await released;
      return (await globalThis.nextPicture(before)) - start;
    });
    await page.evaluate(() => undefined);
    await page.mouse.up();
    zooms.push(await took);
  }
  row('zoom: from release to the new picture', 'ms', zooms, '60 ms', '150 ms');
});

const api = async (path) => (await fetch(new URL(`api/v1/${path}`, url), { signal: AbortSignal.timeout(PATIENCE_MS) })).json();
const live = (await api('series?limit=1000&gateway=live')).series.map((s) => s.id);

// From when a sample was made to the frame after its number is on screen: all of the way, MQTT and the disk included.
await withBrowser({}, async (page) => {
  await page.goto(`${url}?series=${live.slice(0, 4).join()}`);
  await page.locator('.plot canvas').waitFor();
  const late = await page.evaluate(async () => {
    const cell = () => document.querySelector('[data-legend] .now');
    const found = [];
    let last = cell()?.dataset.t;
    while (found.length < 60) {
      await new Promise(requestAnimationFrame);
      const now = cell()?.dataset.t;
      if (now && now !== last) {
        if (last) found.push(await new Promise((done) => requestAnimationFrame(() => done(Date.now() - Number(now)))));
        last = now;
      }
    }
    return found;
  });
  row('from a sample to its pixel, MQTT and disk included', 'ms', late, '300 ms', '1000 ms');
});

/** CPU that a process and all below it have used, in s. */
async function used(root) {
  const all = new Map();
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields) all.set(Number(pid), { parent: Number(fields[1]), s: (Number(fields[11]) + Number(fields[12])) / 100 });
  }
  const below = (pid) => (all.get(pid)?.s ?? 0) + [...all].filter(([, p]) => p.parent === pid).reduce((sum, [child]) => sum + below(child), 0);
  return below(root);
}

// Twelve live charts on one screen for half a minute.
await withBrowser({ viewport: { width: 1900, height: 2600 } }, async (page) => {
  await page.route(/\/api\/v1\/dashboards\/twelve\/shown/, async (route) => {
    const { series: all } = await api('series?limit=1000&gateway=live');
    const panels = Array.from({ length: 12 }, (_, n) => ({ place: n, title: `Panel ${n}`, type: 'chart', width: 4, counter: 'rate', text: '', series: all.filter((s) => s.point === `value_${n}`), left_out: 0 }));
    await route.fulfill({ json: { name: 'twelve', title: 'Twelve', range: '15m', variables: [], panels, left_out: 0 } });
  });
  await page.goto(`${url}?dashboard=twelve`);
  await page.waitForFunction(() => document.querySelectorAll('.plot canvas').length === 12);
  const mains = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    if (line.includes('--user-data-dir=') && stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] === String(process.pid)) mains.push(Number(pid));
  }
  const shares = [];
  for (let n = 0; n < 3; n += 1) {
    const [begun, before] = [Date.now(), await used(mains[0])];
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    shares.push(((await used(mains[0])) - before) / ((Date.now() - begun) / 1000) * 100);
  }
  row('CPU of the browser with 12 live panels, of one core', '%', shares, '3 %', '10 %');
});

console.log(JSON.stringify(rows));
