// What one does with a chart: zoom, shift, go back, isolate, read it by keyboard or as a table, take it away as a file.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';

import { byAttribute, withBrowser } from './browser.mjs';
import { devicePath, drawn, keep, open, painted, plant, query, SOME_INK, until } from './plant.mjs';

let subject;
let pair;

before(async () => {
  const { series, subject: found } = await plant();
  subject = found;
  const other = series.find((s) => s.kind === 'gauge' && s.id !== subject.id && s.device === subject.device && s.unit === subject.unit);
  pair = [subject, other].map((s) => s.id);
});

/** Drags over a part of the first chart, given as shares of its width. */
async function drag(page, from, to) {
  const box = await page.locator('.u-over').first().boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * from, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * ((from + to) / 2), y, { steps: 3 });
  await page.mouse.move(box.x + box.width * to, y, { steps: 3 });
  await page.mouse.up();
}

test('a drag zooms, a double click widens, the arrows shift, and back undoes each', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await drag(page, 0.6, 0.9);
    await until(async () => /^\d+$/.test(query(page).from ?? ''), 'the address has the zoomed window');
    const zoomed = query(page);
    const length = Number(zoomed.to) - Number(zoomed.from);
    assert.ok(Math.abs(length - 0.3 * 900_000) < 20_000, `${length} ms of 0.3 of 15 minutes`);
    await page.locator('.window').waitFor();
    await page.locator('.u-over').dblclick();
    await until(async () => Number(query(page).to) - Number(query(page).from) > 1.9 * length, 'a double click doubles the window');
    await page.goBack();
    assert.deepEqual(query(page), zoomed);
    await page.getByRole('button', { name: 'Half a window earlier' }).click();
    await until(async () => Math.abs(Number(zoomed.from) - Number(query(page).from) - length / 2) < 2, 'half a window earlier');
    await page.getByRole('button', { name: 'Half a window later' }).click();
    await until(async () => Math.abs(Number(query(page).from) - Number(zoomed.from)) < 2, 'and later again');
    await page.goBack();
    await page.goBack();
    await page.goBack();
    await until(async () => query(page).from === undefined, 'back leads to where it began');
    await drawn(page, subject.id);
    assert.deepEqual(complaints, []);
  });
});

test('a click on a name shows that series alone, another click all', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page, `?series=${pair.join()}`);
    for (const id of pair) await drawn(page, id);
    const name = byAttribute(page, 'data-legend', pair[0]).locator('.alone');
    // What the pointer is over is lifted out of the others.
    const click = async () => {
      await name.click();
      await page.mouse.move(0, 0);
    };
    await click();
    await until(async () => (await painted(page, pair[1])) < SOME_INK / 4, 'the other one is gone');
    assert.ok((await painted(page, pair[0])) > SOME_INK);
    await click();
    await drawn(page, pair[1]);
    assert.deepEqual(complaints, []);
  });
});

test('the crosshair is the same on all charts of a device', async () => {
  await withBrowser({ viewport: { width: 1360, height: 1600 } }, async (page, complaints) => {
    await open(page, devicePath(subject));
    await until(async () => (await page.locator('.plot canvas').count()) >= 2, 'two charts are drawn');
    await page.locator('.plot').first().hover();
    const heads = async () => (await page.locator('.legend thead').allTextContents()).slice(0, 2).map((text) => /\d\d:\d\d:\d\d/.test(text));
    await until(async () => (await heads()).every(Boolean), 'both legends tell the time at the crosshair');
    assert.deepEqual(complaints, []);
  });
});

test('keys move the cursor and zoom, and what is there is told in words', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    const chart = page.getByRole('application');
    assert.ok((await chart.getAttribute('aria-label')).includes(subject.point));
    await chart.focus();
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowLeft');
    const words = page.locator('[aria-live=polite]');
    await until(async () => new RegExp(`\\d\\d:\\d\\d:\\d\\d.*${subject.point} .*\\d`).test(await words.textContent()), 'time and value in words');
    const before = await page.locator('.legend thead').textContent();
    await page.keyboard.press('Shift+ArrowLeft');
    await until(async () => (await page.locator('.legend thead').textContent()) !== before, 'ten steps on');
    await page.keyboard.press('+');
    await until(async () => /^\d+$/.test(query(page).from ?? ''), 'plus zooms');
    assert.deepEqual(complaints, []);
  });
});

test('the numbers are there as a table, in the zone of the browser or in UTC', async () => {
  await withBrowser({ timezoneId: 'Asia/Kolkata' }, async (page, complaints) => {
    await open(page, `?series=${subject.id}`);
    await drawn(page, subject.id);
    await page.getByRole('button', { name: 'Table', exact: true }).click();
    const rows = page.locator('.numbers tbody tr');
    await rows.first().waitFor();
    assert.ok((await page.locator('.numbers thead').textContent()).includes('Asia/'), 'the zone is named');
    const first = async () => (await rows.first().locator('th').textContent()).slice(11, 16);
    const minutes = (text) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3));
    const local = await first();
    await page.getByLabel('Time zone').selectOption('utc');
    await until(async () => [330, 331, 329].includes((minutes(local) - minutes(await first()) + 1440) % 1440), 'five and a half hours apart');
    assert.deepEqual([query(page).view, query(page).tz], ['table', 'utc']);
    await keep(page, 'table');
    assert.deepEqual(complaints, []);
  });
});

async function saved(page, name) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name, exact: true }).first().click()]);
  return readFile(await download.path());
}

test('a chart can be taken away as numbers, as a picture, and as a link that stays', async () => {
  await withBrowser({ acceptDownloads: true }, async (page, complaints) => {
    await open(page, `?series=${subject.id}&tz=utc`);
    await drawn(page, subject.id);
    const lines = (await saved(page, 'CSV')).toString().trim().split('\r\n');
    assert.match(lines[0], /^time,gateway,device,point,unit,/);
    assert.ok(lines.length > 1);
    assert.match(lines[1], new RegExp(`^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z,${subject.gateway},${subject.device},${subject.point},${subject.unit},`));
    const png = await saved(page, 'PNG');
    assert.equal(png.subarray(1, 4).toString(), 'PNG');
    assert.ok(png.length > 5000, `${png.length} bytes of picture`);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Link', exact: true }).click();
    await page.getByText('copied').waitFor();
    const link = new URL(await page.evaluate(() => navigator.clipboard.readText()));
    assert.match(link.search, new RegExp(`^\\?series=${subject.id}&from=\\d+&to=\\d+&tz=utc$`));
    await page.goto(link.href);
    await drawn(page, subject.id);
    assert.deepEqual(complaints, []);
  });
});

test('an own window can be typed, and one that ends before it begins cannot be shown', async () => {
  await withBrowser({}, async (page, complaints) => {
    await open(page, `?series=${subject.id}&tz=utc`);
    await page.getByRole('button', { name: 'Own…' }).click();
    await page.getByLabel('From', { exact: true }).fill('2026-01-02T03:04:05');
    await page.getByLabel('To', { exact: true }).fill('2026-01-02T03:00:00');
    await page.getByText('It ends before it begins').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Show', exact: true }).isDisabled(), true);
    await page.getByLabel('To', { exact: true }).fill('2026-01-02T04:04:05');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await until(async () => query(page).from === String(Date.UTC(2026, 0, 2, 3, 4, 5)), 'the address has it');
    await page.getByText('has no reading here').waitFor();
    assert.deepEqual(complaints, []);
  });
});
