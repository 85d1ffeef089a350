// What people make for themselves: dashboards as files and on the page, named charts, favourites.

import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { api, dashboard, devicePath, drawn, favourites, file, keep, open, plant, query, RIVER, until } from './plant.mjs';

let subject;

before(async () => {
  ({ subject } = await plant());
});

const panel = (page, title) => byAttribute(page, 'data-panel', title);

test('a file in the folder is on screen by itself; a wrong one is named with its line, and the others stay', async () => {
  await withBrowser({ viewport: { width: 1360, height: 1100 } }, async (page, complaints) => {
    await open(page, '?page=dashboards');
    await writeFile(file('river'), RIVER);
    await writeFile(file('wrong'), RIVER.replace('type: stat', 'type: stats'));
    await page.getByText('wrong.yaml:12:').waitFor();
    await page.getByText('expected one of chart, stat, state, text').waitFor();
    await keep(page, 'dashboards');
    await rm(file('wrong'));
    await byAttribute(page, 'data-dashboard', 'river').getByRole('link').click();
    await page.getByRole('heading', { level: 1, name: 'River' }).waitFor();
    await panel(page, 'Pressure at river').locator('.plot canvas').waitFor();
    await until(async () => /^1 px = /.test(await panel(page, 'Pressure at river').locator('.scale').textContent()), 'the chart is drawn');
    await until(async () => /\d/.test(await panel(page, 'Now').locator('.stat b').first().textContent()), 'a number is there');
    await panel(page, 'States of pump-1').locator('.piece').first().waitFor();
    assert.equal(await panel(page, 'States of tank').count(), 0, 'a device without states has no panel of them');
    assert.equal(await panel(page, 'Read this').locator('b').count(), 0, 'a text is a text');
    await keep(page, 'dashboard');
    // Nobody's choice fits: said, not hidden.
    await page.getByLabel('site', { exact: true }).selectOption('north');
    await panel(page, 'Pressure at north').getByText('No series fits').waitFor();
    assert.equal(query(page)['var.site'], 'north');
    await page.goBack();
    await panel(page, 'Pressure at river').locator('.plot canvas').waitFor();
    await writeFile(file('river'), RIVER.replace('title: River', 'title: The river'));
    await page.getByRole('heading', { level: 1, name: 'The river' }).waitFor();
    assert.deepEqual(complaints, []);
  });
});

test('a dashboard is changed on the page, its text checked line by line, and never over what somebody else wrote', async () => {
  await dashboard('river', RIVER);
  await withBrowser({ signedIn: true, viewport: { width: 1360, height: 1100 } }, async (page) => {
    await open(page, '?dashboard=river&edit=');
    const text = page.getByRole('textbox', { name: 'Text of river.yaml' });
    await until(async () => (await text.inputValue()) === RIVER, 'the text is there');
    await text.fill(RIVER.replace('width: 12', 'width: 13'));
    await page.getByText('Line 10, column 12: found a width of 13').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Save', exact: true }).isDisabled(), true);
    await keep(page, 'editor');
    const next = RIVER.replace('title: River', 'title: Upper river');
    await text.fill(next);
    await page.getByText('This text is right.').waitFor();
    await page.keyboard.press('Control+s');
    await page.getByText('Saved.').waitFor();
    assert.equal(await readFile(file('river'), 'utf8'), next);
    await page.getByRole('heading', { level: 1, name: 'Upper river' }).waitFor();
    // A panel gets another title, another one goes; comments stay.
    await page.getByRole('heading', { name: 'Panels' }).click();
    await page.getByLabel('Title of Now').fill('As of now');
    await page.getByRole('button', { name: 'Rename Now' }).click();
    await panel(page, 'As of now').waitFor();
    await page.getByRole('button', { name: 'Remove Read this' }).click();
    await until(async () => (await panel(page, 'Read this').count()) === 0, 'the panel is gone');
    const left = await readFile(file('river'), 'utf8');
    assert.ok(left.includes('# Looked at each morning.') && left.includes('# Once for each device') && left.includes('title: "As of now"') && !left.includes('Call the plant'), left);
    // Somebody's editor.
    await writeFile(file('river'), RIVER);
    await text.fill(next.replace('Upper', 'Lower'));
    await page.getByText('This text is right.').waitFor();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByText('was changed meanwhile').waitFor();
    assert.equal(await readFile(file('river'), 'utf8'), RIVER);
    assert.ok((await text.inputValue()).includes('Lower'), 'what was typed is still there');
  });
});

test('a chart of Explore is saved under a name, in a new dashboard or in one that is there', async () => {
  await rm(file('my-chart'), { force: true });
  await dashboard('river', RIVER);
  await withBrowser({ signedIn: true }, async (page, complaints) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await page.getByRole('button', { name: 'Save as…' }).click();
    await page.getByLabel('Name', { exact: true }).fill('My chart');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByText('Saved in my-chart').waitFor();
    await page.getByRole('combobox', { name: 'Dashboard' }).selectOption('river');
    await page.getByLabel('Name', { exact: true }).fill('One more');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByText('Saved in river').waitFor();
    assert.ok((await readFile(file('river'), 'utf8')).startsWith(RIVER), 'what was there stays as it was');
    await page.getByRole('status').getByRole('link', { name: 'river' }).click();
    await panel(page, 'One more').scrollIntoViewIfNeeded();
    await drawn(page, subject.id);
    assert.deepEqual(complaints, []);
  });
});

test('favourites are kept by the server, in an order that drag and keys change', async () => {
  await dashboard('my-chart', RIVER.replace('title: River', 'title: My chart'));
  await favourites([]);
  await withBrowser({}, async (page, complaints) => {
    for (const [path, title] of [[`?series=${subject.id}`, subject.point], [devicePath(subject), subject.device], ['?dashboard=my-chart', 'My chart']]) {
      await open(page, path);
      const star = page.getByRole('button', { name: new RegExp(`^Favourite: .*${title}`) }).first();
      await star.click();
      await until(async () => (await star.getAttribute('aria-pressed')) === 'true', 'the star is set');
    }
    await page.getByRole('link', { name: 'Favourites' }).click();
    const rows = page.locator('[data-favourite]');
    const titles = () => rows.evaluateAll((all) => all.map((row) => row.dataset.favourite));
    await until(async () => (await titles()).length === 3, 'three favourites');
    const [first, second, third] = await titles();
    await rows.nth(2).dragTo(rows.nth(0));
    await until(async () => (await titles()).join() === [third, first, second].join(), 'a drag moves one to the top');
    const kept = (...order) => until(async () => (await api('favourites')).favourites.map((f) => f.title).join() === order.join(), 'the server has it');
    await kept(third, first, second);
    // The second change comes before the server has answered the first: neither is lost.
    let answer;
    const asked = new Promise((resolve) => (answer = resolve));
    await page.route(/favourites$/, async (route) => (await asked, await route.continue()));
    await rows.nth(0).getByRole('link').focus();
    await page.keyboard.press('Alt+ArrowDown');
    await until(async () => (await titles()).join() === [first, third, second].join(), 'a key moves it down');
    await page.getByRole('button', { name: `Move ${second} up` }).click();
    await until(async () => (await titles()).join() === [first, second, third].join(), 'a button moves one up');
    answer();
    await kept(first, second, third);
    await page.unroute(/favourites$/);
    await page.reload();
    await until(async () => (await titles()).join() === [first, second, third].join(), 'the order is still there');
    await keep(page, 'favourites');
    await page.getByRole('button', { name: `Take ${second} away` }).click();
    await until(async () => (await titles()).length === 2, 'one is gone');
    assert.deepEqual(complaints, []);
  });
});

test('who may only look is not offered what would be refused', async () => {
  await dashboard('river', RIVER);
  const offers = async (page) => {
    const found = {};
    await open(page, '?page=dashboards');
    await byAttribute(page, 'data-dashboard', 'river').waitFor();
    found.make = await page.getByRole('button', { name: 'Make' }).count();
    await open(page, '?dashboard=river&edit=');
    await panel(page, 'Read this').waitFor();
    found.change = await page.getByRole('button', { name: /^(Change|Done)$/ }).count();
    found.editor = await page.locator('#yaml').count();
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    found.keep = await page.getByRole('button', { name: 'Save as…' }).count();
    return found;
  };
  await withBrowser({}, async (page, complaints) => {
    assert.deepEqual(await offers(page), { make: 0, change: 0, editor: 0, keep: 0 });
    assert.deepEqual(complaints, []);
  });
  await withBrowser({ signedIn: true }, async (page) => assert.deepEqual(await offers(page), { make: 1, change: 1, editor: 1, keep: 1 }));
});
