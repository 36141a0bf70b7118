// Jobs, batches and operations in a real browser, with JavaScript and without: a sync that TikTok refuses, and what is done
// about it; a resync of all; a lane that is held and let go.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { looks } from './looks.mjs';
import { follow, startBrowser, startSystem, watchedContext } from './system.mjs';

const PASSWORD = 'correct horse battery';
const EMAIL = 'ada@example.com';
const REFUSAL = '<b>no such field</b>';

let system, browser;

before(async () => {
  system = await startSystem();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** Tells the sandbox to refuse profiles, or to do so no longer. */
async function refuse(yes) {
  const faults = `${system.sandbox}/control/faults`;
  const fault = { endpoint: 'user_info', kind: 'error', status: 400, code: 'invalid_params', message: REFUSAL };
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(faults, yes ? { method: 'POST', headers, body: JSON.stringify(fault) } : { method: 'DELETE' });
  assert.ok(answer.ok, await answer.text());
}

/** Waits until the page shows something, asking for it again and again. */
async function reloadUntil(page, locator) {
  const until = Date.now() + 60_000;
  while (await locator.count() === 0) {
    assert.ok(Date.now() < until, `${page.url()}: ${await page.content()}`);
    await page.reload();
  }
}

/** A dead job of the only creator, made by a sync that TikTok refuses; its page. */
async function deadJob(page) {
  await follow(page, 'Creators');
  await page.locator('a.row').first().click();
  await refuse(true);
  await page.getByRole('button', { name: 'Sync now' }).click();
  await page.getByText('The sync is queued.').waitFor();
  await follow(page, 'Jobs');
  await page.getByRole('link', { name: 'Dead' }).click();
  await reloadUntil(page, page.locator('a.row'));
}

/** Pauses the lane of bulk jobs, and opens it again. */
async function holdBulk(page) {
  await page.getByRole('link', { name: 'bulk', exact: true }).click();
  await page.getByRole('button', { name: 'Pause bulk' }).click();
  await page.getByText('The lane is paused').waitFor();
  await page.getByText('paused the lane').first().waitFor();
  await page.getByRole('link', { name: 'bulk', exact: true }).click();
  await page.getByRole('button', { name: 'Open the lane' }).click();
  await page.getByText('The lane is open.').waitFor();
}

test('a refused sync is seen, tried again and done; all are synced again; a lane is held and let go', async () => {
  const { context, complaints } = await watchedContext(browser);
  const page = await context.newPage();
  await page.goto(system.invitation);
  await page.getByLabel('Your email').fill(EMAIL);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('The same again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Make an account and join' }).click();
  for (const name of ['Jobs', 'Batches']) {
    await page.getByRole('link', { name, exact: true }).click();
    await page.locator('.empty').waitFor();
  }
  await follow(page, 'Creators');
  const opened = page.waitForEvent('popup');
  await page.getByRole('button', { name: 'Connect a creator' }).click();
  const popup = await opened;
  await popup.getByRole('button', { name: 'Authorize' }).click();
  await page.getByText('The creator is connected.').waitFor();
  await popup.close();
  await reloadUntil(page, page.getByText('Active', { exact: true }).and(page.locator('.state')));

  await deadJob(page);
  await page.getByText('More about it').waitFor();
  await page.locator('a.row').first().click();
  await page.getByText('Why it was given up').waitFor();
  await page.getByText(REFUSAL).waitFor();
  await refuse(false);
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByText('The job is open again').waitFor();
  await reloadUntil(page, page.getByText('Its effect is there.'));

  await page.getByRole('link', { name: 'Batches' }).click();
  await page.getByRole('link', { name: 'Resync all' }).click();
  await page.getByRole('button', { name: 'Resync them' }).click();
  await page.getByText('The resync is asked for.').waitFor();
  // By itself: nobody reloads the page.
  await page.getByText('Finished', { exact: true }).first().waitFor({ timeout: 60_000 });
  await page.getByText('1 done').waitFor();
  await looks(page);

  await page.getByRole('link', { name: 'Operations' }).click();
  const lane = page.getByRole('link', { name: 'bulk', exact: true });
  await lane.focus();
  const again = () => page.waitForResponse((response) => response.url().endsWith('/operations/fragment') && response.ok());
  await again();
  await again();
  assert.ok(await lane.evaluate((link) => link === document.activeElement), 'the focus stays where it is');
  await looks(page);
  await page.getByRole('link', { name: 'Dead jobs of all projects' }).click();
  await page.getByRole('link', { name: 'Operations' }).first().click();
  await holdBulk(page);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('without JavaScript the same is possible', async () => {
  const options = { javaScriptEnabled: false, viewport: { width: 390, height: 844 } };
  const { context, complaints } = await watchedContext(browser, options);
  const page = await context.newPage();
  await page.goto(system.api);
  await page.getByLabel('Email').fill(EMAIL);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await deadJob(page);
  await page.locator('a.row').first().click();
  await page.getByRole('link', { name: 'Discard' }).click();
  await page.getByRole('button', { name: 'Discard the job' }).click();
  await page.getByText('The job is put away').waitFor();
  await refuse(false);
  await follow(page, 'Batches');
  await page.getByRole('link', { name: 'Resync all' }).click();
  await page.getByRole('button', { name: 'Resync them' }).click();
  await reloadUntil(page, page.getByText('Finished', { exact: true }));
  await follow(page, 'Operations');
  await holdBulk(page);
  assert.deepEqual(complaints, []);
  await context.close();
});
