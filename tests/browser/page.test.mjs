// The pages of a running server in a real browser: fleet, device, explore, and a server that goes away.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { devicePath, drawn, keep, lastTime, open, painted, plant, query, row, SOME_INK, until, url } from './plant.mjs';

let subject;
let listed;

before(async () => {
  listed = await plant();
  subject = listed.subject;
});

test('a cold load shows gateways and devices with how they are, without a word of complaint', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page);
    for (const gateway of listed.gateways) {
      const card = byAttribute(page, 'data-gateway', gateway.name);
      await card.waitFor();
      for (const word of ['Last seen', 'Backlog', 'Error rate', 'Clock', 'Version', gateway.version]) {
        assert.ok((await card.textContent()).includes(word ?? ''), `${gateway.name}: ${word}`);
      }
      const told = await card.locator('.trouble li').evaluateAll((all) => all.map((li) => ({ about: li.dataset.trouble, text: li.innerText })));
      assert.deepEqual(told, gateway.warnings.map(({ about, text }) => ({ about, text: `▲ ${text}` })), gateway.name);
    }
    const abouts = new Set(listed.gateways.flatMap((gateway) => gateway.warnings.map((warning) => warning.about)));
    assert.deepEqual([...abouts].sort(), ['certificate', 'clock', 'disk'], 'the plant warns of all that a gateway can warn of');
    for (const device of listed.devices.slice(0, 50)) {
      const found = byAttribute(page, 'data-device', device.name).first();
      await found.waitFor();
      if (device.health) assert.ok((await found.textContent()).includes(device.health.quality === 'good' ? 'good' : (device.health.reason ?? 'bad')));
    }
    assert.equal(await page.evaluate(() => [...document.scripts].every((s) => new URL(s.src).origin === location.origin)), true);
    await keep(page, 'fleet');
    assert.deepEqual(complaints, []);
  });
});

test('a search finds gateways, devices and points, and the address keeps it', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page);
    await page.getByRole('searchbox').fill(`${subject.point} ${subject.device}`);
    const found = byAttribute(page, 'data-found', subject.id);
    await found.waitFor();
    await until(async () => /\d/.test(await found.locator('.value').textContent()), 'the point found has its latest value');
    assert.equal(query(page).q, `${subject.point} ${subject.device}`);
    await page.getByRole('searchbox').fill('nothing has this name 4711');
    await page.getByText('Nothing matches').waitFor();
    await page.getByRole('searchbox').fill(subject.device);
    await byAttribute(page, 'data-device', subject.device).getByRole('link').click();
    await page.locator('[data-page=device]').waitFor();
    await page.goBack();
    await until(async () => (await page.getByRole('searchbox').inputValue()) === subject.device, 'back finds the words again');
    assert.deepEqual(complaints, []);
  });
});

test('a device has a page with its charts, counters and points, that nobody made', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page);
    await byAttribute(page, 'data-device', subject.device).getByRole('link').click();
    await page.getByRole('heading', { level: 1, name: subject.device }).waitFor();
    await byAttribute(page, 'data-legend', subject.id).scrollIntoViewIfNeeded();
    await drawn(page, subject.id);
    const mine = listed.series.filter((s) => s.device === subject.device && s.gateway === subject.gateway);
    for (const counter of mine.filter((s) => s.kind === 'counter')) await page.locator('.stat', { hasText: counter.point }).first().waitFor();
    for (const gauge of mine.filter((s) => s.kind === 'gauge')) assert.equal(await byAttribute(page, 'data-legend', gauge.id).count(), 1, gauge.point);
    await page.getByText(`All ${mine.length} points`).click();
    assert.equal(await page.locator('.points tbody tr').count(), mine.length);
    await page.locator('.grid').getByRole('link', { name: /^Explore/ }).first().click();
    await page.locator('[data-page=explore]').waitFor();
    await page.goBack();
    await page.locator('[data-page=device]').waitFor();
    await page.evaluate(() => scrollTo(0, 0));
    await drawn(page, subject.id);
    await keep(page, 'device');
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
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    assert.deepEqual(complaints, []);
  });
});

test('a click draws a point with its legend, a newer reading appears by itself, the address keeps it', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page, '?page=explore');
    await (await row(page, subject)).click();
    await drawn(page, subject.id);
    const legend = byAttribute(page, 'data-legend', subject.id);
    assert.ok((await legend.textContent()).includes(subject.point));
    await until(async () => /\d/.test(await legend.locator('.now').textContent()), 'the legend has the last value');
    assert.match(await page.locator('.scale').textContent(), /^1 px = .+, .+ samples?/);

    const loads = await page.evaluate(() => performance.timeOrigin);
    const first = await lastTime(page, subject.id);
    await until(async () => (await lastTime(page, subject.id)) > first, 'a newer reading is shown');
    assert.equal(await page.evaluate(() => performance.timeOrigin), loads, 'the page was not loaded again');
    const streams = await page.evaluate(() => performance.getEntriesByType('resource').filter((r) => r.name.includes('/api/v1/latest')).length);
    assert.ok(streams <= 4, `the latest values come by the stream, yet they were asked for ${streams} times`);

    await page.getByRole('button', { name: '1 h', exact: true }).click();
    await drawn(page, subject.id);
    assert.equal(new URL(page.url()).search, `?series=${subject.id}&from=now-1h`);
    await page.reload();
    await drawn(page, subject.id);
    await page.goBack();
    await until(async () => new URL(page.url()).search === `?series=${subject.id}`, 'back undoes the range');
    await drawn(page, subject.id);
    await (await row(page, subject)).click();
    await page.getByText('Choose a point to see its chart').waitFor();
    assert.deepEqual(complaints, []);
  });
});

test('several units lie on one chart', async () => {
  await withBrowser({}, async (page, complaints) => {
    const other = listed.series.find((s) => s.kind === 'gauge' && s.unit !== subject.unit && s.gateway === subject.gateway);
    const ids = [subject, ...(other ? [other] : [])].map((s) => s.id);
    await open(page, `?series=${ids.join()}`);
    await drawn(page, subject.id);
    for (const id of ids) await byAttribute(page, 'data-legend', id).waitFor();
    await page.locator('.plot').hover();
    await until(async () => /\d\d:\d\d:\d\d/.test(await page.locator('.legend thead').textContent()), 'the legend follows the pointer');
    await page.mouse.move(0, 0);
    await keep(page, 'explore');
    assert.deepEqual(complaints, []);
  });
});

test('a server that goes away is named, and the last picture stays', async () => {
  await withBrowser({}, async (page) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await page.context().setOffline(true);
    await page.getByText('The server does not answer').first().waitFor();
    assert.ok((await painted(page, subject.id)) > SOME_INK);
    const last = await lastTime(page, subject.id);
    await page.context().setOffline(false);
    await until(async () => (await page.getByText('The server does not answer').count()) === 0, 'the warning goes');
    await until(async () => (await lastTime(page, subject.id)) > last, 'live again');
  });
});

test('a device or point that is not there is named, and breaks nothing', async () => {
  await withBrowser({}, async (page) => {
    await open(page, '?series=4294967295');
    await page.getByText('There is no series 4294967295').waitFor();
    await open(page, devicePath({ gateway: subject.gateway, device: 'no-such-device' }));
    await page.getByText('there is no device').waitFor();
  });
});

test('an empty server says what to do next', async () => {
  await withBrowser({}, async (page, complaints) => {
    for (const what of ['gateways', 'devices']) await page.route(new RegExp(`/api/v1/${what}$`), (route) => route.fulfill({ json: { [what]: [] } }));
    await page.goto(url);
    await page.getByText('No gateway has reported yet').waitFor();
    for (const word of ['/etc/pattoo/gateway.yaml', 'pattoo-gateway check', 'pattoo-gateway run']) assert.ok((await page.locator('main').textContent()).includes(word), word);
    await keep(page, 'empty');
    assert.deepEqual(complaints, []);
  });
});

after(() => console.log(`# the page of ${url} with ${listed?.series.length ?? 0} points`));
