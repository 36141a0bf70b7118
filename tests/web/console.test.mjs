// The dashboard in a real browser, with JavaScript and without: from the first start's link to a key that works, a creator
// that is connected, and back out. The system is the real program, `metriqlab up`, in a folder of its own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const PROGRAM = process.env.METRIQLAB_PROGRAM;
const BROWSER = process.env.METRIQLAB_BROWSER ?? '/usr/bin/chromium';
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const PASSWORD = 'correct horse battery';
const EMAIL = 'ada@example.com';

let folder, system, base, invitation, browser;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'metriqlab-console-'));
  const { METRIQLAB_BIND, METRIQLAB_PUBLIC_URL, DATABASE_URL, REDIS_URL, ...environment } = process.env;
  system = spawn(PROGRAM, ['up'], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const ready = new Promise((resolve, reject) => {
    const read = (chunk) => {
      said += chunk;
      const link = said.match(/Dashboard {2,}(http:\/\/\S+)\n/)?.[1];
      if (link) resolve(link);
    };
    system.stdout.on('data', read);
    system.stderr.on('data', read);
    system.on('exit', () => reject(new Error(`the system ended: ${said}`)));
  });
  invitation = await ready;
  base = new URL(invitation).origin;
  browser = await chromium.launch({ executablePath: BROWSER, args: QUIET });
});

after(async () => {
  await browser?.close();
  if (system && system.exitCode === null) {
    system.kill('SIGTERM');
    await once(system, 'exit');
  }
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** A context whose pages must say nothing on the console, break no policy and ask no other host. */
async function watchedContext(options = {}) {
  const context = await browser.newContext(options);
  const complaints = [];
  context.on('page', (page) => {
    page.on('console', (message) => {
      // The pages of the consent have no icon: browsers look for one by themselves.
      const favicon = message.location().url?.endsWith('/favicon.ico');
      if (message.type() === 'error' && !favicon) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => {
      if (!/^(http:\/\/(127\.0\.0\.1|localhost)[:/]|about:|data:)/.test(request.url())) complaints.push(request.url());
    });
  });
  return { context, complaints };
}

/** No page may be wider than its window. */
async function fits(page) {
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 844 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${page.url()} at ${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 844 });
}

async function ask(key) {
  return (await fetch(`${base}/api/v1/creators`, { headers: { 'x-api-key': key } })).status;
}

/** Makes a key on the page of keys, and gives it back. */
async function makeKey(page, name) {
  await page.getByRole('link', { name: 'API keys' }).click();
  await page.getByLabel('Name').fill(name);
  await page.getByRole('button', { name: 'Make the key' }).click();
  return page.locator('#key').textContent();
}

test('the first start makes an owner, who makes a key, connects a creator and lets go of both', async () => {
  const { context, complaints } = await watchedContext();
  const page = await context.newPage();
  await page.goto(invitation);
  await fits(page);
  await page.getByLabel('Your email').fill(EMAIL);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('The same again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Make an account and join' }).click();
  await page.getByText('You are a member of this project now.').waitFor();

  const key = await makeKey(page, 'Backend');
  assert.equal(await ask(key), 200);
  await fits(page);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.locator('[data-copy=key]').click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);

  await page.getByRole('link', { name: 'Creators' }).click();
  const opened = page.waitForEvent('popup');
  await page.getByRole('button', { name: 'Connect a creator' }).click();
  const popup = await opened;
  await popup.getByRole('button', { name: 'Authorize' }).click();
  await page.getByText('The creator is connected.').waitFor();
  await popup.close();
  // The worker syncs it meanwhile: the list shows it when it is asked again.
  await page.waitForFunction(async () => {
    const text = await (await fetch(location.pathname)).text();
    return text.includes('>Active</span>');
  });
  await page.reload();
  await fits(page);
  await page.locator('a.row').first().click();
  await fits(page);
  await page.getByRole('button', { name: 'Sync now' }).click();
  await page.getByText('The sync is queued.').waitFor();
  await page.getByRole('button', { name: 'Disconnect' }).click();
  await page.getByText('The creator is disconnected.').waitFor();

  await page.getByRole('link', { name: 'API keys' }).click();
  await page.getByRole('link', { name: 'Backend' }).click();
  await page.getByLabel('The old key').selectOption('1h');
  await page.getByRole('button', { name: 'Reroll' }).click();
  const next = await page.locator('#key').textContent();
  assert.notEqual(next, key);
  assert.deepEqual([await ask(key), await ask(next)], [200, 200]);
  await page.getByRole('link', { name: 'I have copied it' }).click();
  await page.getByRole('link', { name: 'Backend' }).first().click();
  await page.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('The key is revoked.').waitFor();
  while (await ask(next) !== 401);

  for (const name of ['Members', 'Audit log', 'Settings', EMAIL]) {
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('heading', { level: 1 }).waitFor();
    await fits(page);
  }
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});

test('without JavaScript the same is possible', async () => {
  const { context, complaints } = await watchedContext({ javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
  const page = await context.newPage();
  await page.goto(base);
  await page.getByLabel('Email').fill(EMAIL);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const key = await makeKey(page, 'No scripts');
  assert.equal(await ask(key), 200);
  await page.getByRole('link', { name: 'Creators' }).click();
  await page.getByRole('button', { name: 'Connect a creator' }).click();
  await page.getByRole('button', { name: 'Authorize' }).click();
  await page.getByText('The creator is connected.').waitFor();
  await page.locator('a.row').first().click();
  await page.getByRole('button', { name: 'Disconnect' }).click();
  await page.getByText('The creator is disconnected.').waitFor();
  await page.getByRole('link', { name: 'API keys' }).click();
  await page.getByRole('link', { name: 'No scripts' }).click();
  await page.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('The key is revoked.').waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});
