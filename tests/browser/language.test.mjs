// Names in the reader's language, and units for points that have none of their own. The server has a pack for a point of an agent of
// the Python Pattoo, in English and German.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { api, devicePath, drawn, open, until } from './plant.mjs';

let point;

before(async () => {
  const { series } = await api('series?limit=1000&device=old-box');
  [point] = series;
  assert.equal(point?.point, 'cpu_frequency');
});

test('a point has its name and unit everywhere, in the language that the reader chose, and keeps it', async () => {
  await withBrowser({ signedIn: true }, async (page, complaints) => {
    const named = async (name) => {
      await open(page, `?series=${point.id}&from=now-1h`);
      await drawn(page, point.id);
      const legend = byAttribute(page, 'data-legend', point.id);
      await until(async () => (await legend.textContent()).includes(name), `the legend says ${name}`);
      assert.match((await legend.locator('.now').textContent()).trim(), /^2,4\d\d MHz$/);
      assert.ok((await page.getByRole('application').getAttribute('aria-label')).includes(name));
      await page.getByRole('heading', { level: 1, name }).waitFor();
      await open(page, devicePath(point, '&from=now-1h'));
      await page.getByRole('heading', { level: 2, name }).waitFor();
      assert.equal(await page.locator('main b b, h2 b').count(), 0, 'a name is no markup');
      await open(page);
      await page.getByRole('searchbox').fill(name);
      await byAttribute(page, 'data-found', point.id).waitFor();
    };
    await named('Clock of the processor');
    const language = page.getByLabel('Names in');
    assert.deepEqual(await language.locator('option').allTextContents(), ['Deutsch', 'English']);
    await Promise.all([page.waitForEvent('load'), language.selectOption('de')]);
    await named('Prozessortakt <b>');
    await Promise.all([page.waitForEvent('load'), language.selectOption('en')]);
    await named('Clock of the processor');
    assert.deepEqual(complaints, []);
  });
});
