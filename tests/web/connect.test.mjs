// The connect flow in a real browser: the consent page, the callback page in a popup and without one, with JavaScript and
// without. The system is the real program, `metriqlab up`, in a folder of its own.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { startBrowser, startSystem, watchedContext } from './system.mjs';

let system, api, key, browser;

before(async () => {
  system = await startSystem();
  ({ api, key } = system);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** What the API answers. */
async function ask(method, path, body) {
  // A sync may take longer than the wait that is usual, on a machine that is slow.
  const headers = { 'x-api-key': key, prefer: 'wait=60' };
  if (body) headers['content-type'] = 'application/json';
  const response = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) });
  return (await response.json()).data;
}

/** A developer's app on an origin of its own: a page that listens, and a place to return to. */
async function developersApp(t) {
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>app</title><link rel="icon" href="data:,"><p>the app');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

/** Opens the consent page in a popup of `page`, and lets the creator press `action`. */
async function consentInPopup(context, page, authUrl, action) {
  await page.evaluate(() => {
    window.heard = [];
    window.addEventListener('message', (event) => window.heard.push({ origin: event.origin, data: event.data }));
  });
  const [popup] = await Promise.all([
    context.waitForEvent('page'),
    page.evaluate((url) => { window.open(url, 'connect', 'width=520,height=760'); }, authUrl),
  ]);
  await popup.waitForSelector(`button[value=${action}]`);
  await popup.click(`button[value=${action}]`);
  await popup.waitForURL(/\/oauth\/tiktok\/callback/);
  return popup;
}

test('a creator connects in a popup, and the app that opened it is told', async (t) => {
  const app = await developersApp(t);
  const { context, complaints } = await watchedContext(browser);
  const page = await context.newPage();
  await page.goto(app);
  const { authUrl } = await ask('POST', '/api/v1/connect/tiktok', { redirectUrl: `${app}/back` });
  const popup = await consentInPopup(context, page, authUrl, 'allow');
  await page.waitForFunction(() => window.heard.length > 0);
  const [{ origin, data }] = await page.evaluate(() => window.heard);
  assert.equal(origin, api);
  assert.equal(data.status, 'connected');
  assert.match(await popup.textContent('body'), /connected/i);
  // An app that waits for its redirect, and not for the message, is a click away.
  assert.ok(await popup.isVisible('#next') && await popup.isVisible('#close'));
  assert.equal(await popup.getAttribute('#next', 'href'), `${app}/back?status=connected&creatorId=${data.creatorId}`);
  const creators = await ask('GET', '/api/v1/creators');
  assert.ok(creators.some((creator) => creator.id === data.creatorId));
  assert.deepEqual(await ask('POST', `/api/v1/creators/${data.creatorId}/sync`), { synced: true });
  assert.deepEqual(await ask('DELETE', `/api/v1/creators/${data.creatorId}`), { disconnected: true });
  assert.deepEqual(complaints, []);
  await context.close();
});

test('another page that opened the popup hears nothing', async (t) => {
  const stranger = await developersApp(t);
  const { context } = await watchedContext(browser);
  const page = await context.newPage();
  await page.goto(stranger);
  const { authUrl } = await ask('POST', '/api/v1/connect/tiktok', { redirectUrl: 'http://localhost:9/elsewhere' });
  const popup = await consentInPopup(context, page, authUrl, 'allow');
  await popup.waitForSelector('text=/connected/i');
  // A message would have been posted before the page had painted; a round trip through both pages comes after it.
  await popup.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  assert.deepEqual(await page.evaluate(() => window.heard), []);
  await context.close();
});

test('a creator who declines reads so in plain words', async () => {
  const { context, complaints } = await watchedContext(browser);
  const page = await context.newPage();
  const { authUrl } = await ask('POST', '/api/v1/connect/tiktok');
  await page.goto(authUrl);
  await page.click('button[value=cancel]');
  await page.waitForURL(/\/oauth\/tiktok\/callback/);
  assert.match(await page.textContent('body'), /not connected/i);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('without JavaScript the browser returns to the app all the same', async (t) => {
  const app = await developersApp(t);
  const { context } = await watchedContext(browser, { javaScriptEnabled: false });
  const page = await context.newPage();
  const { authUrl } = await ask('POST', '/api/v1/connect/tiktok', { redirectUrl: `${app}/back?x=1` });
  await page.goto(authUrl);
  await page.click('button[value=allow]');
  await page.waitForURL(/\/back\?x=1&status=connected&creatorId=/);
  await context.close();
});

test('what a stranger writes into the address is never markup', async () => {
  const { context, complaints } = await watchedContext(browser);
  const page = await context.newPage();
  const hostile = encodeURIComponent('"><script>window.hit=1</script><img src=x onerror="window.hit=1">');
  const answer = await page.goto(`${api}/oauth/tiktok/callback?code=${hostile}&state=${hostile}&error=${hostile}`);
  assert.equal(answer.status(), 400);
  assert.equal(await page.evaluate(() => window.hit), undefined);
  // The status is the only thing that the console may mention.
  assert.deepEqual(complaints.filter((text) => !text.includes('400')), []);
  await context.close();
});
