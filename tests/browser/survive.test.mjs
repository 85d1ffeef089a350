// A server that is killed and comes back, while somebody looks. PATTOO_TEST_RESTART names a file: whoever makes it has the server
// restarted, and the file goes once it is back.

import assert from 'node:assert/strict';
import { access, writeFile } from 'node:fs/promises';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { api, drawn, lastTime, open, plant, until } from './plant.mjs';

const restart = process.env.PATTOO_TEST_RESTART;
let subject;

before(async () => {
  assert.ok(restart, 'PATTOO_TEST_RESTART must name a file that has the server restarted');
  ({ subject } = await plant());
});

test('after a restart of the server the page is live again, and misses nothing', async () => {
  await withBrowser({}, async (page) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    const loads = await page.evaluate(() => performance.timeOrigin);
    await writeFile(restart, '');
    await until(async () => access(restart).then(() => false, () => true), 'the server is back');
    const back = Date.now();
    await until(async () => (await lastTime(page, subject.id)) > back, 'a reading from after the restart');
    await until(async () => (await page.getByText('The server does not answer').count()) === 0, 'the warning goes');
    await until(async () => {
      const { series } = await api(`range?series=${subject.id}&from=now-15m&raw=true`);
      const shown = Number(/, (\d[\d,]*) samples?/.exec(await page.locator('.scale').textContent())?.[1].replaceAll(',', ''));
      return Math.abs(shown - series[0].t.length) <= 3;
    }, 'as many samples on screen as in the store');
    assert.equal(await page.evaluate(() => performance.timeOrigin), loads, 'the page was not loaded again');
    assert.equal(await byAttribute(page, 'data-legend', subject.id).count(), 1);
  });
});
