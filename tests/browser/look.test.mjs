// How the page looks: phone, dark, for everybody, and with names that would like to be markup.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { api, dashboard, devicePath, drawn, favourites, fits, keep, open, plant, RIVER, until } from './plant.mjs';

let subject;
let pages;

before(async () => {
  ({ subject } = await plant());
  const pump = { gateway: 'pump-house', device: 'pump-1' };
  pages = [['fleet', ''], ['device', devicePath(subject)], ['explore', `?from=now-6h&series=${subject.id}`], ['choose', '?page=explore'], ['table', devicePath(subject, '&view=table')], ['states', devicePath(pump, '&from=now-3h')]];
  const { series } = await api('series?limit=1000&gateway=pump-house&device=pump-1');
  const energy = series.find((s) => s.point === 'energy');
  await dashboard('river', RIVER);
  await favourites([{ title: 'River', link: '?dashboard=river' }, { title: subject.device, link: devicePath(subject) }], true);
  pages.push(['consumption', `?series=${energy.id}&from=now-8h&counter=hour`], ['dashboards', '?page=dashboards'], ['dashboard', '?dashboard=river'], ['editor', '?dashboard=river&edit='], ['favourites', '?page=favourites']);
});

const settled = async (page, name) => {
  if (name === 'explore') await drawn(page, subject.id);
  else if (name === 'device' || name === 'states') {
    // On a phone what happened comes first, and a chart far below is not drawn.
    await page.locator('.grid .chart').first().scrollIntoViewIfNeeded();
    await until(async () => (await page.locator('.plot canvas').count()) > 0, 'a chart is drawn');
  } else if (['dashboard', 'consumption'].includes(name)) await page.locator('.plot canvas').first().waitFor();
  else if (name === 'dashboards') await page.locator('[data-dashboard]').first().waitFor();
  else if (name === 'editor') await until(async () => (await page.locator('#yaml').inputValue()) !== '', 'the text is there');
  else if (name === 'favourites') await page.locator('[data-favourite]').first().waitFor();
  else if (name === 'table') await page.locator('.numbers tbody tr').first().waitFor();
  else await page.locator('[data-gateway]').first().waitFor();
};

for (const [kind, options] of [
  ['phone', { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true }],
  ['dark', { colorScheme: 'dark' }],
]) {
  test(`${kind}: everything is there and nothing hangs over`, async () => {
    await withBrowser({ ...options, signedIn: true }, async (page, complaints) => {
      for (const [name, path] of pages) {
        await open(page, path);
        await settled(page, name);
        await fits(page, `${kind} ${name}`);
        await keep(page, `${name}-${kind}`);
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

test('dark or light can be chosen, is kept, and the chart follows', async () => {
  await withBrowser({ colorScheme: 'light' }, async (page, complaints) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await page.getByTitle('Dark or light').click();
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    await until(async () => (await theme()) === 'dark', 'it is dark');
    await drawn(page, subject.id);
    await page.reload();
    assert.equal(await theme(), 'dark');
    assert.deepEqual(complaints, []);
  });
});

test('two fingers zoom', async () => {
  await withBrowser({ viewport: { width: 360, height: 740 }, hasTouch: true }, async (page, complaints) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await page.locator('.u-over').scrollIntoViewIfNeeded();
    const box = await page.locator('.u-over').boundingBox();
    const y = box.y + box.height / 2;
    const touch = await page.context().newCDPSession(page);
    const send = (type, shares) => touch.send('Input.dispatchTouchEvent', { type, touchPoints: shares.map((share, id) => ({ x: box.x + box.width * share, y, id })) });
    await send('touchStart', [0.4, 0.6]);
    await send('touchMove', [0.3, 0.7]);
    await send('touchMove', [0.2, 0.8]);
    await send('touchEnd', []);
    await until(async () => new URL(page.url()).searchParams.has('to'), 'the window has fixed ends');
    const params = new URL(page.url()).searchParams;
    const length = Number(params.get('to')) - Number(params.get('from'));
    assert.ok(Math.abs(length - 300_000) < 20_000, `a third of 15 minutes, not ${length} ms`);
    assert.deepEqual(complaints, []);
  });
});

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

for (const [kind, options] of [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['phone', { viewport: { width: 360, height: 740 } }],
]) {
  test(`axe finds nothing to complain about, ${kind}`, async () => {
    const source = await readFile(axe, 'utf8');
    await withBrowser({ ...options, bypassCSP: true, signedIn: true }, async (page) => {
      for (const [name, path] of pages) {
        await open(page, path);
        await settled(page, name);
        await page.evaluate(source);
        const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
        const told = violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`);
        assert.deepEqual(told, [], name);
      }
    });
  });
}

test('a device named <script> is a name and nothing else', async () => {
  const evil = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">';
  await withBrowser({}, async (page, complaints) => {
    const rename = (text) => {
      const json = JSON.parse(text);
      for (const d of json.devices ?? []) if (d.name === subject.device) Object.assign(d, { name: evil, profile: evil, labels: { [evil]: evil }, health: { ...d.health, quality: 'bad', reason: evil, misses: { [evil]: 2 } } });
      for (const s of json.series ?? []) if (s.device === subject.device) Object.assign(s, { device: evil, unit: evil, point: `${evil}${s.point}`, labels: { [evil]: evil } });
      return JSON.stringify(json);
    };
    for (const what of ['devices', 'series']) {
      await page.route(new RegExp(`/api/v1/${what}(\\?|$)`), async (route) => {
        // No device has that name at the server.
        const asked = new URL(route.request().url());
        if (asked.searchParams.get('device') === evil) asked.searchParams.set('device', subject.device);
        const response = await route.fetch({ url: asked.href });
        await route.fulfill({ response, body: rename(await response.text()) });
      });
    }
    await open(page);
    await byAttribute(page, 'data-device', evil).waitFor();
    await fits(page, 'fleet');
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await page.locator('.u-over').hover();
    await open(page, `?${new URLSearchParams({ gateway: subject.gateway, device: evil })}`);
    await page.getByRole('heading', { level: 1, name: '<script>' }).waitFor();
    assert.equal(await page.locator('main script, main img').count(), 0);
    assert.ok(!(await page.title()).startsWith('owned'));
    assert.deepEqual(complaints, []);
  });
});
