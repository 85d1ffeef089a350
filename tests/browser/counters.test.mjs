// Counters as what they counted, the zone that decides where a day ends, and exact readings as a file.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { api, drawn, keep, open, query, until } from './plant.mjs';

let energy;
let flow;

before(async () => {
  const { series } = await api('series?limit=1000&gateway=pump-house&device=pump-1');
  [energy, flow] = ['energy', 'flow'].map((point) => series.find((s) => s.point === point));
});

const legend = (page, id, column) => byAttribute(page, 'data-legend', id).locator('td').nth(column).textContent();

/** Whether a text is this number, give or take the last digit of the meter, in this unit. */
const near = (text, number, unit) => Math.abs(Number.parseFloat(text) - number) < 0.2 && text.trim().endsWith(` ${unit}`);

test('a counter is drawn as its rate, beside gauges, and as consumption in bars', async () => {
  await withBrowser({ viewport: { width: 1360, height: 900 } }, async (page, complaints) => {
    await open(page, `?series=${energy.id},${flow.id}&from=now-3h`);
    for (const { id } of [energy, flow]) await drawn(page, id);
    // 15.9 kWh in each hour.
    await until(async () => near(await legend(page, energy.id, 3), 15.9, 'kW'), 'the average is a power');
    await page.getByText('counters as rates').waitFor();
    await keep(page, 'rate');
    await page.getByLabel('Counters as').selectOption('hour');
    await page.getByText('consumption per hour').waitFor();
    await until(async () => near(await legend(page, energy.id, 2), 15.9, 'kWh'), 'the most of an hour');
    await drawn(page, energy.id);
    assert.equal(query(page).counter, 'hour');
    await page.goBack();
    await page.getByText('counters as rates').waitFor();
    await page.getByLabel('Counters as').selectOption('total');
    await until(async () => /kWh|MWh/.test(await legend(page, energy.id, 1)), 'what it stands at');
    await open(page, `?series=${energy.id}&from=now-8h&counter=hour`);
    await drawn(page, energy.id);
    await page.getByRole('button', { name: 'Table', exact: true }).click();
    await until(async () => (await page.locator('.numbers tbody tr').count()) >= 7, 'a row for each hour');
    await page.getByRole('button', { name: 'Table', exact: true }).click();
    await drawn(page, energy.id);
    await keep(page, 'consumption');
    assert.deepEqual(complaints, []);
  });
});

test('days and axes follow the zone: the reader, the site, or UTC', async () => {
  await withBrowser({ timezoneId: 'America/St_Johns' }, async (page, complaints) => {
    const asked = [];
    page.on('request', (request) => asked.push(new URL(request.url()).searchParams.get('zone')));
    await open(page, `?series=${energy.id}&from=now-6h&counter=day`);
    await drawn(page, energy.id);
    const zone = page.getByLabel('Time zone');
    await until(async () => (await zone.locator('option').allTextContents()).some((text) => text.includes('Asia/Kolkata')), 'the zone of the site is named');
    for (const [choice, name] of [['site', 'Asia/Kolkata'], ['utc', 'UTC'], ['browser', 'America/St_Johns']]) {
      await zone.selectOption(choice);
      await until(() => asked.includes(name), `days of ${name}`);
      await drawn(page, energy.id);
      assert.equal(query(page).tz, choice === 'browser' ? undefined : choice);
    }
    assert.deepEqual(complaints, []);
  });
});

test('all readings of a window can be taken away with their digits', async () => {
  await withBrowser({ acceptDownloads: true }, async (page, complaints) => {
    const { from, to, series } = await api(`range?series=${energy.id}&from=now-8h&raw=true`);
    await open(page, `?series=${energy.id}&from=${from}&to=${to}&tz=site`);
    await drawn(page, energy.id);
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Raw CSV' }).click()]);
    const lines = (await readFile(await download.path(), 'utf8')).split('\r\n');
    assert.equal(lines[0], 'time,gateway,device,point,unit,value,quality,reason');
    assert.equal(lines.length, series[0].t.length + 2);
    assert.match(lines[1], /^\d{4}-\d\d-\d\dT[\d:.]+\+05:30,pump-house,pump-1,energy,kWh,\d+\.\d,good,$/);
    assert.equal(Date.parse(lines[1].split(',')[0]), series[0].t[0]);
    assert.deepEqual(complaints, []);
  });
});
