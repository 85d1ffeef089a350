// Coming in: by a link, with a password chosen first, with a wrong one, and out again. PATTOO_TEST_CLOSED_URL names a server that
// nobody reads without a login, PATTOO_TEST_LINK the secret of a link for its first admin.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { withBrowser } from './browser.mjs';
import { fits, keep } from './plant.mjs';

const url = process.env.PATTOO_TEST_CLOSED_URL;
const secret = process.env.PATTOO_TEST_LINK;
const PASSWORD = 'seven tame herons';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** axe has nothing against the page as it is. */
async function accessible(page, where) {
  await page.evaluate(await readFile(axe, 'utf8'));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`), [], where);
}

test('a link leads to a password, the password in, and a wrong one nowhere', async () => {
  assert.ok(url && secret, 'PATTOO_TEST_CLOSED_URL and PATTOO_TEST_LINK name a server without users');
  await withBrowser({}, async (page, complaints) => {
    const heading = (name) => page.getByRole('heading', { name }).waitFor();
    await page.goto(url);
    await heading('Log in');
    await page.getByText('This server has no users yet').waitFor();
    assert.equal(await page.getByRole('navigation').count(), 0, 'nothing of the plant is shown');
    await accessible(page, 'login');

    await page.goto(`${url}#link=${secret}`);
    await heading('Choose a password');
    assert.equal(new URL(page.url()).hash, '', 'the secret does not stay in the address');
    await page.getByLabel('New password').fill(PASSWORD);
    await page.getByLabel('Once more').fill('seven tame heron');
    await page.getByText('The two differ').waitFor();
    assert.ok(await page.getByRole('button', { name: 'Choose it' }).isDisabled());
    await page.getByLabel('Once more').fill(PASSWORD);
    await page.getByRole('button', { name: 'Choose it' }).click();
    await heading('No gateway has reported yet');

    await page.getByRole('button', { name: 'admin', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'Account' });
    await dialog.getByRole('textbox', { name: 'For' }).fill('Prometheus');
    await dialog.getByRole('button', { name: 'Make a token' }).click();
    assert.match(await dialog.getByRole('status').locator('code').textContent(), /^pattoo_[0-9a-f]{64}$/);
    await accessible(page, 'account');
    await dialog.getByRole('button', { name: 'Users' }).click();
    await dialog.getByRole('textbox', { name: 'Name' }).fill('olga');
    await dialog.getByRole('button', { name: 'Add a user' }).click();
    assert.match(await dialog.getByRole('status').locator('code').textContent(), /#link=[0-9a-f]{64}$/);
    await dialog.locator('[data-user=olga]').getByText('no password yet').waitFor();
    await keep(page, 'users');
    await dialog.getByRole('button', { name: 'Audit log' }).click();
    await dialog.getByText('user add olga as viewer').waitFor();
    await page.setViewportSize({ width: 360, height: 740 });
    await fits(page, 'account, 360 px');
    await dialog.getByRole('button', { name: 'Log out' }).click();
    await heading('Log in');
    await page.reload();
    await heading('Log in');
    assert.deepEqual(complaints, []);

    await page.getByLabel('User').fill('admin');
    await page.getByLabel('Password').fill('seven wild herons');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').getByText('wrong user or password').waitFor();
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Log in' }).click();
    await heading('No gateway has reported yet');

    await page.goto(`${url}?again#link=${secret}`);
    await heading('No gateway has reported yet');
    const refused = complaints.filter((c) => c.startsWith('401: '));
    assert.equal(refused.length, 2, `the wrong password and the used link: ${complaints}`);
  });
});
