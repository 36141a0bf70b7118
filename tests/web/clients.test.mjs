// The API as its document describes it: clients that public generators make of it compile and do the five-step walk, and
// schemathesis finds no answer that the document does not.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { startSystem } from './system.mjs';

const run = promisify(execFile);
const HERE = import.meta.dirname;
const PYTHON = join(HERE, '.venv/bin');
const NODE = join(HERE, 'node_modules/.bin');

let system, folder, environment;

before(async () => {
  system = await startSystem();
  folder = mkdtempSync(join(tmpdir(), 'metriqlab-clients-'));
  environment = { ...process.env, METRIQLAB_URL: system.api, METRIQLAB_API_KEY: system.key };
});

after(async () => {
  await system?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** Runs a program; what it said is in the error if it fails. */
async function said(program, parameters, cwd) {
  try {
    return (await run(program, parameters, { cwd, env: environment, maxBuffer: 1 << 26 })).stdout;
  } catch (error) {
    throw new Error(`${program} ${parameters.join(' ')}:\n${error.stdout}\n${error.stderr}`);
  }
}

/** What the API answers. */
async function ask(method, path, headers = {}, at = system) {
  const response = await fetch(at.api + path, { method, headers: { 'x-api-key': at.key, ...headers } });
  return (await response.json()).data;
}

/** What a walk must have seen. */
function isWhole(line, externalRef) {
  const { views, ...walk } = JSON.parse(line);
  assert.equal(typeof walk.username, 'string');
  assert.ok(views.length > 0 && views.every((value, at) => at === 0 || value <= views[at - 1]), `${views}`);
  const expected = { creators: 1, username: walk.username, externalRef, disconnected: true, afterwards: 'not_found' };
  assert.deepEqual(walk, expected);
}

test('a TypeScript client compiles and does the walk', async () => {
  const place = join(folder, 'typescript');
  cpSync(join(HERE, 'clients'), place, { recursive: true });
  symlinkSync(join(HERE, 'node_modules'), join(place, 'node_modules'));
  writeFileSync(join(place, 'package.json'), '{ "type": "module" }');
  await said(join(NODE, 'openapi-typescript'), [`${system.api}/openapi.json`, '-o', 'schema.d.ts'], place);
  await said(join(NODE, 'tsc'), ['-p', '.'], place);
  isWhole(await said(process.execPath, ['walk.js'], place), 'typescript-walk');
});

test('a Python client does the walk', async () => {
  const place = join(folder, 'python');
  mkdirSync(place);
  // What it would do to the code's looks needs more programs.
  writeFileSync(join(place, 'settings.yml'), 'post_hooks: []\n');
  const generate = ['generate', '--url', `${system.api}/openapi.json`, '--meta', 'none', '--config', 'settings.yml',
    '--output-path', 'metriq_lab_client'];
  await said(join(PYTHON, 'openapi-python-client'), [...generate, '--fail-on-warning'], place);
  await said(join(PYTHON, 'python'), ['-m', 'compileall', '-q', 'metriq_lab_client'], place);
  cpSync(join(HERE, 'clients/walk.py'), join(place, 'walk.py'));
  isWhole(await said(join(PYTHON, 'python'), ['walk.py'], place), 'python-walk');
});

/** Connects the creator at this place of the sandbox's consent page; how many creators that page has. */
async function connect(place, at = system) {
  const { authUrl } = await ask('POST', '/api/v1/connect/tiktok', {}, at);
  const page = await (await fetch(authUrl)).text();
  const creators = [...page.matchAll(/name="creator" value="([^"]+)"/g)].map(([, creator]) => creator);
  const form = new URLSearchParams({ creator: creators[place], action: 'allow' });
  for (const [, scope] of page.matchAll(/name="scope" value="([^"]+)"/g)) form.append('scope', scope);
  const answer = await fetch(authUrl, { method: 'POST', body: form });
  assert.equal(answer.status, 200, await answer.text());
  return creators.length;
}

/** A creator that is connected and synced; its id. */
async function connected() {
  await connect(0);
  const [creator] = await ask('GET', '/api/v1/creators');
  await ask('POST', `/api/v1/creators/${creator.id}/sync`, { prefer: 'wait=60' });
  return creator.id;
}

test('schemathesis finds nothing', async () => {
  const creator = await connected();
  const { items: [video] } = await ask('GET', `/api/v1/creators/${creator}/videos`);
  const { jobId } = await ask('POST', `/api/v1/creators/${creator}/sync`, { prefer: 'respond-async' });
  const { batchId } = await ask('POST', '/api/v1/creators/sync');
  Object.assign(environment, { CREATOR: creator, VIDEO: video.id, JOB: jobId, BATCH: batchId });
  const place = join(folder, 'schemathesis');
  mkdirSync(place);
  cpSync(join(HERE, 'schemathesis.toml'), join(place, 'schemathesis.toml'));
  await said(join(PYTHON, 'schemathesis'), ['run', `${system.api}/openapi.json`, '--no-color'], place);
});

test('schemathesis finds nothing on its way from answer to answer', async () => {
  // A system of its own: what is walked through is not there any more.
  const own = await startSystem();
  try {
    let pool = 1;
    for (let place = 0; place < pool; place += 1) pool = await connect(place, own);
    const creators = () => ask('GET', '/api/v1/creators', {}, own);
    assert.equal((await creators()).length, pool);
    const place = join(folder, 'stateful');
    mkdirSync(place);
    cpSync(join(HERE, 'schemathesis-stateful.toml'), join(place, 'schemathesis.toml'));
    environment.METRIQLAB_API_KEY = own.key;
    // Which ways a seed takes depends on the ids, too. Most come past a disconnect: another seed is for one that did not. That a
    // creator is gone afterwards is what the walks of our own show.
    for (let seed = 1; seed <= 3 && (await creators()).length === pool; seed += 1) {
      const walk = ['run', `${own.api}/openapi.json`, '--no-color', '--seed', String(seed)];
      await said(join(PYTHON, 'schemathesis'), walk, place);
    }
  } finally {
    environment.METRIQLAB_API_KEY = system.key;
    await own.stop();
  }
});
