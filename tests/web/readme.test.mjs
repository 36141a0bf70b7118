// The README's walk, typed as it is written, gives what the README shows; and `make demo` does the same by itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBrowser, startSystem } from './system.mjs';

const ROOT = join(import.meta.dirname, '../..');
const PROGRAM = process.env.METRIQLAB_PROGRAM;

let system, browser;

before(async () => {
  system = await startSystem();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** The README's console blocks, each as its commands with what it shows of their output. */
function blocks() {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  return [...readme.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) =>
    block.split(/^\$ /m).filter(Boolean).map((part) => {
      const [command, ...lines] = part.trimEnd().split('\n');
      return { command, shown: lines.join('\n').trim() };
    }));
}

/**
 * What is shown as a pattern: `…` in quotes stands for what is in the quotes, after a comma, in braces or on a line of its own for
 * more of the same, else for a word; a number stands for another one.
 */
function pattern(shown) {
  const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  // Addresses come first: what is a number in them is no counter.
  const parts = shown.split(/(https?:\/\/[\w.:]+|…|(?<=":)\d+)/);
  const patterns = parts.map((part, at) => {
    if (/^\d+$/.test(part)) return '\\d+';
    if (part !== '…') return quoted(part);
    const [before, behind] = [parts[at - 1].at(-1), parts[at + 1][0]];
    if (behind === '"') return '[^"]*';
    return [',', '{', '\n', undefined].includes(before) ? '[^]*' : '\\S+';
  });
  return new RegExp(`^${patterns.join('')}$`);
}

/** Types a command, as somebody does who has exported these variables. */
function type(command, env) {
  // As without a terminal, curl would show its progress.
  const ran = spawnSync('bash', ['-c', command.replace(/^curl/, 'curl -sS')], { encoding: 'utf8', env: { ...process.env, ...env }, timeout: 90_000 });
  assert.equal(ran.status, 0, `${command}\n${ran.stdout}\n${ran.stderr}`);
  return ran.stdout.trim();
}

test('what is shown is compared to the letter, but for what it leaves out', () => {
  assert.match('{"a":1,"b":"x y"}', pattern('{"a":22,"b":"…"}'));
  assert.match('{"a":"x","b":{"c":1},"d":2}', pattern('{"a":"x",…}'));
  assert.match('KEY  mlk_abc', pattern('KEY  mlk_…'));
  assert.doesNotMatch('{"id":"1","more":2,"title":"t"}', pattern('{"id":"…","title":"…"}'));
  assert.doesNotMatch('{"id":"1","title":null}', pattern('{"id":"…","title":"…"}'));
  assert.doesNotMatch('http://127.0.0.1:1', pattern('http://127.0.0.1:2'));
});

test('the README shows what happens', async () => {
  const [first, connect, walk, real, beside, ...more] = blocks();
  // The system is on a free port; a reader's is on the usual one.
  const here = (text) => text.replaceAll('http://127.0.0.1:8080', system.api).replaceAll('http://127.0.0.1:8090', system.sandbox);
  assert.deepEqual(first.map(({ command }) => command), ['make run']);
  assert.match(await system.printed('Ctrl-C stops everything'), pattern(here(first[0].shown)));

  const env = { KEY: system.key };
  const told = { KEY: /^mlk_…$/, ID: /^01…$/ };
  for (const { command, shown } of [...connect, ...walk]) {
    const [, name, value] = command.match(/^export (\w+)=(.*)$/) ?? [];
    if (name) {
      assert.match(value, told[name]);
      assert.ok(env[name].startsWith(value.slice(0, -1)), `${name} begins as it is shown`);
      continue;
    }
    const said = type(here(command), env);
    assert.match(said, pattern(here(shown)), `$ ${command}`);
    if (said.includes('authUrl')) await agree(JSON.parse(said).data.authUrl);
    env.ID ??= said.match(/"data":\[\{"id":"([^"]+)/)?.[1];
  }
  assert.deepEqual(JSON.parse(type(here('curl -H "x-api-key: $KEY" http://127.0.0.1:8080/api/v1/creators'), env)).data, []);

  // A real app is nobody's who runs the tests.
  assert.deepEqual(real.map(({ command }) => command), ['cat .env', 'make run']);
  for (const { command } of beside) {
    assert.match(command, /^target\/debug\/metriqlab /);
    system.run(...command.split(' ').slice(1));
  }
  assert.equal(beside.length, 2);
  assert.deepEqual(more, [], 'every block is tried');
});

/** The creator's part, in a browser: "pick a creator, press Authorize". */
async function agree(authUrl) {
  const page = await browser.newPage();
  await page.goto(authUrl);
  await page.getByRole('button', { name: 'Authorize' }).click();
  await page.waitForURL(/\/oauth\/tiktok\/callback/);
  assert.match(await page.textContent('body'), /connected/i);
  await page.close();
}

test('make demo does the walk by itself', () => {
  const recipe = spawnSync('make', ['-n', 'demo'], { cwd: ROOT, encoding: 'utf8' }).stdout;
  assert.match(recipe, /cargo run --locked --example demo$/m);
  const { METRIQLAB_URL, METRIQLAB_API_KEY, METRIQLAB_PUBLIC_URL, ...environment } = process.env;
  const demo = join(dirname(PROGRAM), 'examples/demo');
  const { status, stdout, stderr } = spawnSync(demo, { encoding: 'utf8', env: environment, timeout: 120_000 });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  for (const step of ['1. Connect.', '2. Consent,', '3. The creator is there.', '{"synced":true}', '4. Read', '5. Disconnect', '{"disconnected":true}']) {
    assert.ok(stdout.includes(step), `${step} is not in ${stdout}`);
  }
  assert.match(stdout, /\nDone\.\n$/);
  // What it was told to use, it uses.
  const there = spawnSync(demo, { encoding: 'utf8', env: { ...environment, METRIQLAB_URL: system.api, METRIQLAB_API_KEY: system.key }, timeout: 120_000 });
  assert.equal(there.status, 0, there.stderr);
  assert.ok(!there.stdout.includes('MetriqLab is ready') && there.stdout.endsWith('\nDone.\n'), there.stdout);
});
