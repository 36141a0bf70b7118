// Every page, looked at; and how heavy the first ones are.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { looks } from './looks.mjs';
import { everyPage } from './pages.mjs';
import { startBrowser, startSystem, watchedContext } from './system.mjs';

const TEMPLATES = new URL('../../api/templates/console/', import.meta.url);
/** What a page may weigh with its style, script and icon; nothing is compressed. */
const HEAVIEST = 60_000;

let system, browser, signedIn, list;

before(async () => {
  system = await startSystem();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** The names of all templates that are pages, and no parts of others. */
function templates() {
  const names = readdirSync(TEMPLATES).filter((name) => name !== 'base.html');
  const isPage = (name) => /^(\{% extends|<!doctype)/.test(readFileSync(new URL(name, TEMPLATES), 'utf8'));
  return names.filter(isPage).map((name) => name.replace('.html', ''));
}

test('every page fits, is found by fingers, and is accessible, in light and dark, on a desktop and on a phone', async () => {
  const { context, complaints } = await watchedContext(browser);
  const page = await context.newPage();
  const seen = new Set();
  for await (const name of everyPage(page, system)) {
    await looks(page).catch((error) => { throw new Error(`${name}: ${error.message}`, { cause: error }); });
    if (name === 'creators') list = page.url();
    seen.add(await page.locator('body').getAttribute('data-page'));
  }
  assert.deepEqual(templates().filter((name) => !seen.has(name)), [], 'pages that nobody has looked at');
  // A refused form and a page that is not there are what some of them are about.
  assert.deepEqual(complaints.filter((text) => !/status of 4\d\d|net::ERR_ABORTED/.test(text)), []);
  signedIn = await context.storageState();
  await context.close();
});

test('the first pages are light', async (t) => {
  // A browser that has nothing of ours yet.
  for (const [name, url] of [['the page where one signs in', system.api], ['the list of creators', list]]) {
    const { context } = await watchedContext(browser, { storageState: url === list ? signedIn : undefined });
    const page = await context.newPage();
    const loaded = [];
    page.on('requestfinished', (request) => loaded.push(request));
    await page.goto(url);
    await page.waitForLoadState('networkidle');
    const weights = new Map();
    for (const request of loaded) weights.set(request.url(), (await (await request.response()).body().catch(() => '')).length);
    const shown = [...weights].filter(([url]) => url === page.url() || url.includes('/static/'));
    const weight = shown.reduce((sum, [, bytes]) => sum + bytes, 0);
    t.diagnostic(`${name}: ${weight} bytes in ${shown.length} files`);
    assert.ok(shown.length >= 4, `${name}: ${[...weights.keys()]}`);
    assert.ok(weight < HEAVIEST, `${name}: ${weight} bytes`);
    await context.close();
  }
});
