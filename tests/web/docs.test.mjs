// The documentation in a real browser: quiet, accessible, in every size and colour, with JavaScript and without; and its
// samples, run as they are written.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { looks } from './looks.mjs';
import { startBrowser, startSystem, watchedContext } from './system.mjs';

const DESKTOP = { viewport: { width: 1440, height: 900 }, colorScheme: 'light' };
const PHONE = { viewport: { width: 390, height: 844 }, colorScheme: 'dark', hasTouch: true };

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

/** The paths of all pages. */
async function pages() {
  const index = await (await fetch(`${api}/llms.txt`)).text();
  const paths = [...index.matchAll(/\]\(\S+?(\/docs\S*)\.md\)/g)].map(([, path]) => path);
  assert.ok(paths.length >= 20, index);
  return paths;
}

test('every page is quiet, fits, and is accessible, in light and dark, on a desktop and on a phone', async () => {
  const { context, complaints } = await watchedContext(browser, DESKTOP);
  const page = await context.newPage();
  for (const path of [...await pages(), '/docs/search?q=nothing-has-this-word', '/docs/nothing']) {
    const answer = await page.goto(api + path);
    assert.equal(answer.status(), path === '/docs/nothing' ? 404 : 200, path);
    await looks(page);
  }
  assert.deepEqual(complaints.filter((text) => !text.includes('404')), []);
  await context.close();
});

test('on a phone the menu opens and closes, by keyboard too', async () => {
  const { context } = await watchedContext(browser, { ...PHONE, javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${api}/docs/connect`);
  const menu = page.locator('#nav');
  assert.equal(await menu.isVisible(), false);
  await page.getByRole('button', { name: 'Menu' }).focus();
  await page.keyboard.press('Enter');
  await menu.waitFor({ state: 'visible' });
  await page.keyboard.press('Escape');
  await menu.waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: 'Menu' }).click();
  await menu.getByRole('link', { name: 'Errors', exact: true }).click();
  await page.waitForURL(/\/docs\/errors$/);
  await context.close();
});

test('without JavaScript every sample can be read, one language at a time', async () => {
  const { context, complaints } = await watchedContext(browser, { ...DESKTOP, javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${api}/docs/quickstart`);
  const samples = page.locator('.samples').first();
  assert.equal(await samples.locator('.code[data-language=python]').isVisible(), false);
  await samples.getByRole('radio', { name: 'Python' }).check();
  assert.ok(await samples.locator('.code[data-language=python]').isVisible());
  assert.equal(await samples.locator('.code[data-language=curl]').isVisible(), false);
  // What only a script can do is not offered.
  assert.equal(await page.getByRole('button', { name: 'Run' }).count(), 0);
  await page.goto(`${api}/docs/api/creators`);
  assert.equal(await page.locator('form.try').first().isVisible(), false);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('one choice of a language holds for all samples and the next page, and copying copies', async () => {
  const { context, complaints } = await watchedContext(browser, DESKTOP);
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: api });
  const page = await context.newPage();
  await page.goto(`${api}/docs/quickstart`);
  await page.locator('.samples').first().getByRole('radio', { name: 'JavaScript' }).check();
  await page.goto(`${api}/docs/sync`);
  assert.equal(await page.locator('.samples .code:visible').count(), await page.locator('.samples .code[data-language=javascript]').count());
  await page.goto(`${api}/docs/quickstart`);
  await page.locator('.code[data-language=console] .copy').first().click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  // The command without its prompt, and without what it prints.
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'make run');
  assert.deepEqual(complaints, []);
  await context.close();
});

test('words are found from the keyboard, and without JavaScript', async () => {
  const { context, complaints } = await watchedContext(browser, DESKTOP);
  const page = await context.newPage();
  await page.goto(`${api}/docs/connect`);
  await page.keyboard.press('/');
  await page.keyboard.type('retry-after');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/docs\/search\?q=retry-after$/);
  await looks(page);
  await page.locator('.hits a').first().click();
  await page.getByText('Retry-After').first().waitFor();
  assert.deepEqual(complaints, []);
  await context.close();

  const plain = await watchedContext(browser, { ...PHONE, javaScriptEnabled: false });
  const small = await plain.context.newPage();
  await small.goto(`${api}/docs`);
  await small.getByRole('button', { name: 'Menu' }).click();
  await small.getByRole('searchbox').fill('quota');
  await small.keyboard.press('Enter');
  await small.locator('.hits mark').first().waitFor();
  assert.deepEqual(plain.complaints, []);
  await plain.context.close();
});

test('run buttons and forms send the key that the reader pasted, and keep it in the tab', async () => {
  const { context, complaints } = await watchedContext(browser, DESKTOP);
  const page = await context.newPage();
  await page.goto(`${api}/docs/quickstart`);
  const connect = page.locator('.samples[data-run="POST /api/v1/connect/tiktok"]');
  await connect.getByRole('button', { name: 'Run' }).click();
  await connect.getByText('Paste your API key').waitFor();
  await page.getByRole('textbox', { name: /API key/ }).fill(key);
  await connect.getByRole('button', { name: 'Run' }).click();
  await connect.getByText('200').waitFor();
  await agree(context, await connect.getByRole('link', { name: 'Open the consent page' }).getAttribute('href'));
  const sync = page.locator('.samples[data-run="POST /api/v1/creators/{id}/sync"]');
  await sync.getByRole('button', { name: 'Run' }).click();
  await sync.getByText('"synced": true').waitFor({ timeout: 60_000 });
  await page.goto(`${api}/docs/api/creators`);
  const form = page.locator('form[data-method=GET][data-path="/api/v1/creators"]');
  await form.getByLabel('limit').fill('0');
  await form.getByRole('button', { name: 'Send GET' }).click();
  // The browser says on its console that a request failed: it was to.
  await form.getByText('"code": "invalid_request"').waitFor();
  await form.getByLabel('limit').fill('1');
  await form.getByRole('button', { name: 'Send GET' }).click();
  await form.getByText('"nextCursor"').waitFor();
  assert.deepEqual(complaints.filter((text) => !text.includes('400')), []);
  const kept = await page.evaluate(() => [Object.values(localStorage), document.cookie].flat().join());
  assert.ok(!kept.includes('mlk_'), kept);
  await context.close();
});

/** The creator's part: agrees on the consent page. */
async function agree(context, authUrl) {
  const page = await context.newPage();
  await page.goto(authUrl);
  await page.click('button[value=allow]');
  await page.waitForURL(/\/oauth\/tiktok\/callback/);
  await page.close();
}

/** The samples of a page, in their order. */
async function samples(name) {
  const text = await (await fetch(`${api}/docs/${name}.md`)).text();
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language, code]) => ({ language, code }));
}

/** Runs a sample as a reader would: the variables that a page speaks of are set. */
function run({ language, code }, env) {
  const names = Object.keys(env).filter((name) => name !== 'KEY');
  const camel = (name) => name.toLowerCase().replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  const [program, args, input] = {
    curl: ['bash', ['-euo', 'pipefail', '-s'], code.replace(/^curl/, 'curl -sS')],
    javascript: ['node', ['--input-type=module', '-'], names.map((name) => `const ${camel(name)} = process.env.${name};\n`).join('') + code],
    python: ['python3', ['-'], names.map((name) => `import os\n${name.toLowerCase()} = os.environ["${name}"]\n`).join('') + code],
  }[language];
  const ran = spawnSync(program, args, { input, encoding: 'utf8', env: { ...process.env, ...env }, timeout: 90_000 });
  assert.equal(ran.status, 0, `${code}\n${ran.stdout}\n${ran.stderr}`);
  return ran.stdout;
}

test('the samples of the guides do what they say, as they are written', async () => {
  const { context } = await watchedContext(browser);
  const headers = { 'x-api-key': key };
  const ask = async (method, path) => (await (await fetch(api + path, { method, headers })).json()).data;
  const connect = async () => agree(context, (await ask('POST', '/api/v1/connect/tiktok')).authUrl);
  await connect();
  const env = { KEY: key };
  let ran = 0;
  for (const name of ['api', 'connect', 'sync', 'pagination', 'idempotency', 'history', 'rate-limits', 'quickstart']) {
    for (const sample of await samples(name)) {
      // A page of one's own app, and a function to build on, are no commands.
      if (!['curl', 'javascript', 'python'].includes(sample.language) || /window\.|^def get/m.test(sample.code)) continue;
      env.ID = (await ask('GET', '/api/v1/creators'))[0].id;
      env.VIDEO_ID = (await ask('GET', `/api/v1/creators/${env.ID}/videos?limit=1`)).items[0]?.id ?? env.VIDEO_ID;
      const said = run(sample, env);
      if (/allVideos|all_videos/.test(sample.code)) {
        assert.match(said, /^\d{4}-\d\d-\d\dT.* \d+$/m);
      } else {
        assert.match(said, /success['"]?: ?true/i, `${sample.code}\n${said}`);
      }
      for (const [variable, field] of [['JOB_ID', 'jobId'], ['BATCH_ID', 'batchId']]) {
        const found = said.match(new RegExp(`${field}['"]?: ?['"]([\\w-]+)`));
        if (found) env[variable] = found[1];
      }
      if (/DELETE|delete/.test(sample.code)) await connect();
      ran += 1;
    }
  }
  assert.ok(ran >= 40, `${ran} samples`);
  const [shown] = (await samples('rate-limits')).filter(({ language }) => language === 'console');
  const [command, ...lines] = shown.code.trim().split('\n');
  const said = spawnSync('bash', ['-c', command.slice(2)], { encoding: 'utf8', env: { ...process.env, ...env } }).stdout;
  for (const line of lines) assert.ok(said.includes(`${line.split(':')[0]}: `), `${line}\n${said}`);
  await context.close();
});
