// The way to every page that people see, beside the documentation's.
import { fileURLToPath } from 'node:url';
import { follow } from './system.mjs';

const PASSWORD = 'correct horse battery';
const EMAIL = 'ada@example.com';
const FILL = fileURLToPath(new URL('fill.sql', import.meta.url));

/** Sends the page's form to `action` as it is, past what the browser itself would say about it. */
async function send(page, action, values = {}) {
  const form = page.locator(`form[method=post]${action === undefined ? '' : `[action$="${action}"]`}`).first();
  const there = page.waitForNavigation();
  await form.evaluate((form, values) => {
    for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
    form.submit();
  }, values);
  await there;
}

/** Those that one sees who has not signed in, up to the first time that one has. */
async function* outside(page, system) {
  await page.goto(system.api);
  yield 'sign-in';
  await send(page, '/console/sign-in', { email: EMAIL, password: 'wrong' });
  yield 'sign-in-refused';
  while (await page.getByRole('heading', { name: 'Too many tries' }).count() === 0) {
    await page.goto(`${system.api}/console/sign-in`);
    await send(page, '/console/sign-in', { email: 'nobody@example.com', password: 'wrong' });
  }
  yield 'error-429';
  await page.goto(system.run('users', 'create', 'grace@example.org'));
  yield 'password';
  await send(page, undefined, { password: 'short', repeated: 'short' });
  yield 'password-refused';
  await page.goto(`${system.api}/console/join/used-long-ago`);
  yield 'error-410';
  await page.goto(system.invitation);
  yield 'join';
  await send(page, undefined, { email: EMAIL, password: PASSWORD, repeated: 'another one' });
  yield 'join-refused';
  await send(page, undefined, { email: EMAIL, password: PASSWORD, repeated: PASSWORD });
}

/** Those of a project in which nothing has happened. */
async function* empty(page) {
  for (const [link, name] of [['API keys', 'keys'], ['Creators', 'creators'], ['Jobs', 'jobs'], ['Batches', 'batches']]) {
    await follow(page, link);
    yield `${name}-empty`;
  }
  await follow(page, 'Operations');
  yield 'operations-empty';
  await page.goBack();
}

/** The way of a creator who connects, to where they agree and back; and those of a way that goes wrong. */
async function* consent(page, system) {
  await follow(page, 'Creators');
  const creators = page.url();
  // It goes on by itself: held back, it can be looked at.
  await page.route(`${system.sandbox}/**`, (route) => route.abort('aborted'));
  const held = page.waitForEvent('requestfailed', (request) => request.url().startsWith(system.sandbox));
  await send(page, '/creators/connect');
  await held;
  yield 'consent';
  await page.unrouteAll();
  await page.getByRole('link', { name: 'ask for the creator' }).click();
  yield 'sandbox-consent';
  const asked = page.url();
  await page.getByRole('button', { name: 'Authorize' }).click();
  await page.waitForURL(/\/creators\?done=connected/);
  // Without a place to go back to, the callback's page stays.
  const connect = { method: 'POST', headers: { 'x-api-key': system.key } };
  for (const [name, action] of [['callback', 'Authorize'], ['callback-declined', 'Cancel']]) {
    const { data } = await (await fetch(`${system.api}/api/v1/connect/tiktok`, connect)).json();
    await page.goto(data.authUrl);
    await page.getByRole('button', { name: action }).click();
    await page.waitForURL(/\/oauth\/tiktok\/callback/);
    yield name;
  }
  await page.goto(`${system.api}/oauth/tiktok/callback?state=none&code=none`);
  yield 'callback-unknown';
  await page.goto(asked.replace(/client_key=[^&]*/, 'client_key=unknown'));
  yield 'sandbox-problem';
  await page.goto(creators);
}

/** A project's, after a year. */
async function* full(page, system) {
  const open = async (link) => {
    await follow(page, link);
    return page.url();
  };
  const creators = await open('Creators');
  yield 'creators';
  await page.goto(`${creators}?q=nobody`);
  yield 'creators-none-found';
  await page.goto(`${creators}?q=zerowaste_zoe`);
  await page.locator('a.row').click();
  yield 'creator';
  await page.goto(`${page.url()}?period=1y&sort=views`);
  yield 'creator-year';
  await page.getByText('The same as a table').click();
  yield 'creator-table';
  await page.goto(`${creators}?q=a_username_as_long`);
  await page.locator('a.row').click();
  yield 'creator-without-past';
  await page.goto(`${creators}?q=vintage.vera`);
  await page.locator('a.row').click();
  yield 'creator-refused';
  await page.goto(`${page.url()}/disconnect`);
  yield 'confirm';
  await page.goto(creators);

  const jobs = await open('Jobs');
  yield 'jobs';
  await page.goto(`${jobs}?state=dead`);
  yield 'jobs-dead';
  await page.locator('a.row').first().click();
  yield 'job-dead';
  await page.goto(`${jobs}?state=retrying`);
  await page.locator('a.row').first().click();
  yield 'job-retrying';
  const batches = await open('Batches');
  yield 'batches';
  await page.locator('a.row').first().click();
  yield 'batch';
  await page.goto(`${batches}/new`);
  yield 'new-batch';

  await open('API keys');
  yield 'keys';
  await page.getByRole('link', { name: 'Ended', exact: true }).click();
  yield 'keys-ended';
  await page.getByRole('link', { name: 'Working', exact: true }).click();
  await page.getByRole('link', { name: 'Nightly report' }).click();
  yield 'key';
  await page.goBack();
  await send(page, '/keys', { name: ' ' });
  yield 'keys-refused';
  await send(page, '/keys', { name: 'A key to look at' });
  yield 'key-made';
  const members = await open('Members');
  yield 'members';
  await send(page, '/members/invite');
  yield 'invited';
  await page.goto(await page.locator('#link').textContent());
  yield 'join-signed-in';
  await page.goto(members);
  await open('Audit log');
  yield 'audit';
  await open('Settings');
  yield 'settings';
  await send(page, '/settings', { name: ' ' });
  yield 'settings-refused';

  await open(EMAIL);
  yield 'account';
  await send(page, '/account/password', { current: 'wrong', password: PASSWORD, repeated: PASSWORD });
  yield 'account-refused';
  await page.goto(`${system.api}/console/projects`);
  yield 'projects';
  await page.goto(`${system.api}/console/docs-key`);
  yield 'docs-key';
  await open('Operations');
  yield 'operations';
  await page.goto(`${page.url()}/lanes/bulk`);
  yield 'lane';
  await send(page, '/lanes/bulk', { state: 'paused' });
  yield 'operations-held';
  await page.goto(`${system.api}/console/operations/log`);
  yield 'operations-log';
  await page.goto(`${system.api}/console/operations/jobs`);
  yield 'dead';
  await page.locator('a.row').first().click();
  yield 'job-of-another';

  await page.goto(`${system.api}/console/nothing`);
  yield 'error-404';
  await page.goto(`${system.api}/console/projects`);
  await send(page, '/console/projects', { csrf: 'of another session', name: 'x' });
  yield 'error-403';
}

/** Leads `page`, in a browser that nobody is signed in with, to one page after another of a system that is new, and names each. */
export async function* everyPage(page, system) {
  yield* outside(page, system);
  yield* empty(page);
  system.fill(FILL);
  yield* consent(page, system);
  yield* full(page, system);
}
