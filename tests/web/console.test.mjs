// The dashboard in a real browser, with JavaScript and without: from the first start's link to a key that works, a creator
// that is connected, and back out. The system is the real program, `metriqlab up`, in a folder of its own.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { looks } from './looks.mjs';
import { follow, startBrowser, startSystem, watchedContext } from './system.mjs';

const PASSWORD = 'correct horse battery';
const EMAIL = 'ada@example.com';

let system, base, browser;

before(async () => {
  system = await startSystem();
  base = system.api;
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** `looks` at a page without scripts, where no checker runs either: its text, in a page that has no script of ours. */
async function looksWithoutScripts(page) {
  const context = await browser.newContext();
  const twin = await context.newPage();
  const [url, body] = [page.url().split('#')[0], await page.content()];
  await twin.route('**/*', (route) => {
    if (route.request().url() === url) return route.fulfill({ contentType: 'text/html; charset=utf-8', body });
    return route.request().resourceType() === 'script' ? route.abort() : route.continue();
  });
  await twin.goto(url);
  await looks(twin);
  await context.close();
}

async function ask(key) {
  return (await fetch(`${base}/api/v1/creators`, { headers: { 'x-api-key': key } })).status;
}

/** The creator whose page is open has other numbers from now on, on its platform; a sync finds them. */
async function grow(page, followers) {
  const account = await page.getByText('Account id').locator('xpath=following-sibling::dd[1]').textContent();
  const changed = await fetch(`${system.sandbox}/control/users/${account}`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ follower_count: followers }),
  });
  assert.equal(changed.status, 200);
  await page.getByRole('button', { name: 'Sync now' }).click();
  await page.getByText('The sync is queued.').waitFor();
}

/** The page, asked again until it shows this. */
async function asksUntil(page, locator) {
  const until = Date.now() + 60_000;
  while (await locator.count() === 0) {
    assert.ok(Date.now() < until, `${page.url()} does not show it`);
    await page.reload();
  }
}

/** Lines of the numbers, the videos in another order, and both as files; `looks` is how the page is looked at. */
async function readsTheNumbers(page, followers, looks) {
  await grow(page, followers);
  // What the line is to those who can't see it.
  const words = page.locator('desc', { hasText: ` to ${followers.toLocaleString('en')} on ` });
  await asksUntil(page, page.getByRole('img', { name: 'Followers' }).filter({ has: words }));
  await looks(page);
  await page.getByRole('link', { name: '90 days' }).click();
  await page.getByRole('link', { name: 'Likes', exact: true }).click();
  await page.locator('th[aria-sort=descending]', { hasText: 'Likes' }).waitFor();
  assert.equal(await page.getByRole('link', { name: '90 days' }).getAttribute('aria-current'), 'true');
  for (const [name, ending] of [['Videos as CSV', /-videos-.*\.csv$/], ['History as NDJSON', /-history-.*\.ndjson$/]]) {
    const file = page.waitForEvent('download');
    await page.getByRole('link', { name }).click();
    assert.match((await file).suggestedFilename(), ending);
  }
  await page.getByText('The same as a table').click();
  await page.getByRole('region', { name: 'Followers, likes and views over time' }).getByText(followers.toLocaleString('en')).waitFor();
  await looks(page);
}

/** Lets go of the creator whose page is open: asked first, and answered once with no. */
async function disconnects(page, looks) {
  const name = await page.getByRole('heading', { level: 1 }).textContent();
  await page.getByRole('link', { name: `Disconnect ${name}` }).click();
  await page.getByRole('heading', { name: `Disconnect ${name} from TikTok?` }).waitFor();
  await page.getByText('This can’t be undone.').waitFor();
  await looks(page);
  await page.getByRole('link', { name: 'No, keep the creator' }).click();
  await page.getByRole('link', { name: `Disconnect ${name}` }).click();
  await page.getByRole('button', { name: `Disconnect ${name}` }).click();
  await page.getByText('The creator is disconnected.').waitFor();
}

/** Revokes the key whose page is open: asked first. */
async function revokes(page, looks) {
  await page.getByRole('link', { name: 'Revoke' }).click();
  await page.getByRole('heading', { name: 'Revoke the key' }).waitFor();
  await looks(page);
  await page.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('The key is revoked.').waitFor();
}

/** Makes a key on the page of keys, and gives it back. */
async function makeKey(page, name) {
  await follow(page, 'API keys');
  await page.getByLabel('Name').fill(name);
  await page.getByRole('button', { name: 'Make the key' }).click();
  return page.locator('#key').textContent();
}

/** Rerolls the key of this name, whose old one works a while on; the new one. */
async function reroll(page, name, key) {
  await follow(page, 'API keys');
  await page.getByRole('link', { name }).click();
  await page.getByLabel('The old key').selectOption('1h');
  await page.getByRole('button', { name: 'Reroll' }).click();
  const next = await page.locator('#key').textContent();
  assert.notEqual(next, key);
  assert.deepEqual([await ask(key), await ask(next)], [200, 200]);
  await page.getByRole('link', { name: 'I have copied it' }).click();
  return next;
}

/** Waits until nobody is answered with a key any more. */
async function revoked(key) {
  const until = Date.now() + 60_000;
  while (await ask(key) !== 401) assert.ok(Date.now() < until, 'a revoked key still works');
}

/** Asks for a sync that has to wait, on a creator's page, and sees where it stands, and its end, without loading anything again. */
async function watchASync(page) {
  system.run('queue', 'pause', 'sync');
  const words = page.locator('#sync-progress .words');
  // Until the worker has heard of the pause, a sync is done before anybody can watch it.
  for (;;) {
    await page.getByRole('button', { name: 'Sync now' }).click();
    await page.getByText('The sync is queued.').waitFor();
    if (await page.locator('#sync-progress[data-progress]').count() === 0) continue;
    await words.getByText(/Queued|Done/).waitFor();
    if (await words.getByText('Queued').count() > 0) break;
  }
  await looks(page);
  await page.getByRole('status').getByText('Queued: it begins').waitFor();
  system.run('queue', 'resume', 'sync');
  await words.getByText('Done: profile and videos are up to date.').waitFor();
  await page.locator('#facts').getByText('Active').waitFor();
  await page.getByRole('status').getByText('Done:').waitFor();
}

test('the first start makes an owner, who makes a key, connects a creator and lets go of both', async () => {
  const { context, complaints } = await watchedContext(browser);
  const page = await context.newPage();
  await page.goto(system.invitation);
  await page.getByLabel('Your email').fill(EMAIL);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('The same again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Make an account and join' }).click();
  await page.getByText('You are a member of this project now.').waitFor();

  const key = await makeKey(page, 'Backend');
  assert.equal(await ask(key), 200);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.locator('[data-copy=key]').click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);

  await page.getByRole('link', { name: 'Creators' }).click();
  // Who says no in the popup is told of here, too.
  const declined = page.waitForEvent('popup');
  await page.getByRole('button', { name: 'Connect a creator' }).click();
  const refusal = await declined;
  await refusal.locator('button[value=cancel]').click();
  await page.getByText('Nobody was connected: the creator said no').waitFor();
  await looks(page);
  await refusal.close();
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
  await page.locator('a.row').first().click();
  await watchASync(page);
  await readsTheNumbers(page, 5_000_000, looks);
  // Under the pointer, the number itself.
  await page.locator('.panel').first().locator('svg').hover();
  await page.locator('.panel').first().getByText(/^[\d,]+ on /).waitFor();
  await disconnects(page, looks);

  const next = await reroll(page, 'Backend', key);
  await page.getByRole('link', { name: 'Backend' }).first().click();
  await revokes(page, looks);
  await revoked(next);

  await page.goto(`${base}/docs/quickstart`);
  await page.getByRole('link', { name: 'Get a key', exact: true }).click();
  await page.getByRole('button', { name: 'Make a key for it' }).click();
  const short = await page.locator('#key').textContent();
  await page.getByRole('button', { name: 'Use it in the documentation' }).click();
  await page.getByText(`export KEY=${short}`).waitFor();
  const list = page.locator('.samples[data-run="GET /api/v1/creators"]');
  await list.getByRole('button', { name: 'Run' }).click();
  await list.getByText('"success": true').waitFor();
  await page.goto(base);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});

test('without JavaScript the same is possible', async () => {
  const { context, complaints } = await watchedContext(browser, { javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
  const page = await context.newPage();
  await page.goto(base);
  await page.getByLabel('Email').fill(EMAIL);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const key = await makeKey(page, 'No scripts');
  assert.equal(await ask(key), 200);
  await follow(page, 'Creators');
  await page.getByRole('button', { name: 'Connect a creator' }).click();
  await page.locator('button[value=cancel]').click();
  await page.getByText('Nobody was connected: the creator said no').waitFor();
  await page.getByRole('button', { name: 'Connect a creator' }).click();
  await page.getByRole('button', { name: 'Authorize' }).click();
  await page.getByText('The creator is connected.').waitFor();
  await page.locator('a.row').first().click();
  await asksUntil(page, page.locator('.state.good'));
  await readsTheNumbers(page, 6_000_000, looksWithoutScripts);
  await disconnects(page, looksWithoutScripts);
  const next = await reroll(page, 'No scripts', key);
  await page.getByRole('link', { name: 'No scripts' }).first().click();
  await revokes(page, looksWithoutScripts);
  await revoked(next);
  assert.deepEqual(complaints, []);
  await context.close();
});
