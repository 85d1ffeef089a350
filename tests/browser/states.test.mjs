// What is no plain line: states with their texts, texts, losses, doubts, a spike that must survive zooming out.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { api, devicePath, drawn, keep, open, until } from './plant.mjs';

/** The pump of the made-up pump house. */
let pump;
const point = (name) => pump.find((s) => s.point === name);

before(async () => {
  const { series } = await api('series?limit=1000&gateway=pump-house&device=pump-1');
  pump = series;
});

test('states are strips with their texts, and what happened is listed', async () => {
  await withBrowser({ viewport: { width: 1360, height: 1100 } }, async (page, complaints) => {
    await open(page, devicePath(point('state'), '&from=now-3h'));
    const strip = byAttribute(page, 'data-strip', point('state').id);
    await strip.waitFor();
    const texts = await strip.locator('.piece').evaluateAll((pieces) => pieces.map((piece) => piece.title.split('\n')[0]));
    for (const text of ['stopped', 'running', 'fault']) assert.ok(texts.some((t) => t.startsWith(text)), `${text} in ${texts}`);
    await page.getByText(/Events in this window/).click();
    const events = page.locator('.events');
    await events.getByText('readings of pump-house lost: buffer full').first().waitFor();
    await events.getByText('→ fault').first().waitFor();
    // A text of a device is a text.
    const message = byAttribute(page, 'data-strip', point('message').id);
    assert.ok((await message.locator('.piece').evaluateAll((pieces) => pieces.map((piece) => piece.title))).some((t) => t.includes('<b>check</b>')));
    assert.equal(await message.locator('.piece b').count(), 0);
    // Over a whole day states come in steps; a text still is a text.
    await open(page, devicePath(point('state'), '&from=now-24h'));
    await page.getByText(/^In steps of/).waitFor();
    await message.locator('.piece', { hasText: 'ready' }).first().waitFor();
    await open(page, devicePath(point('state'), '&from=now-3h'));
    await page.locator('.plot canvas').nth(1).waitFor();
    await keep(page, 'states');
    assert.deepEqual(complaints, []);
  });
});

test('a spike of 10 s is in the band of hours, and losses and doubts are named', async () => {
  await withBrowser({}, async (page, complaints) => {
    const ids = ['pressure_out', 'temperature_motor'].map((name) => point(name).id);
    await open(page, `?series=${ids.join()}&from=now-4h`);
    await drawn(page, ids[0]);
    assert.match(await page.locator('.scale').textContent(), /in steps of .+ band from minimum to maximum/);
    const highest = Number((await byAttribute(page, 'data-legend', ids[0]).locator('td').nth(2).textContent()).replace(/[^\d.]/g, ''));
    assert.ok(highest > 6, `the spike is told as ${highest} bar`);
    for (const text of [/bad readings? of/, /uncertain readings? of/, /lost from .*buffer full/]) await page.locator('.notes').getByText(text).first().waitFor();
    await page.locator('.u-over').hover({ position: { x: 300, y: 100 } });
    await keep(page, 'band');
    assert.deepEqual(complaints, []);
  });
});

test('a drag into the doubtful minutes tells the reason', async () => {
  await withBrowser({}, async (page, complaints) => {
    const id = point('temperature_motor').id;
    const { series } = await api(`range?series=${id}&from=now-4h&raw=true`);
    const at = series[0].t[series[0].reason.findIndex((reason) => reason === 'out of range')];
    await open(page, `?series=${id}&from=${at - 600_000}&to=${at + 600_000}`);
    await page.locator('.notes').getByText('out of range').waitFor();
    await until(async () => /each drawn as it is/.test(await page.locator('.scale').textContent()), 'exact readings');
    assert.deepEqual(complaints, []);
  });
});
