// What the browser tests share: the real program, `metriqlab up`, in a folder of its own, and browsers that are watched.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const PROGRAM = process.env.METRIQLAB_PROGRAM;
const BROWSER = process.env.METRIQLAB_BROWSER ?? '/usr/bin/chromium';
// Nothing but the page itself may make requests.
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/**
 * Starts a system; `api` is its URL, `sandbox` its stand-in for TikTok's, `key` a key, `invitation` its first owner's link, `run` runs
 * a command of the program on it and gives what it prints, `printed` is what it has said on standard output once a text is in it, `fill`
 * runs a file of SQL, `stop` ends it and removes its folder.
 */
export async function startSystem() {
  const folder = mkdtempSync(join(tmpdir(), 'metriqlab-web-'));
  const { METRIQLAB_BIND, METRIQLAB_PUBLIC_URL, DATABASE_URL, REDIS_URL, ...environment } = process.env;
  const system = spawn(PROGRAM, ['up'], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let [said, output] = ['', ''];
  const ready = new Promise((resolve, reject) => {
    const read = (chunk) => {
      said += chunk;
      const url = said.match(/API {2,}(http:\/\/\S+)/)?.[1];
      const found = said.match(/API key {2,}(mlk_\w+)/)?.[1];
      const link = said.match(/Dashboard {2,}(http:\/\/\S+)\n/)?.[1];
      const sandbox = said.match(/TikTok {2,}.*(http:\/\/\S+)/)?.[1];
      if (url && found && link && sandbox) resolve([url, found, link, sandbox]);
    };
    system.stdout.on('data', read);
    system.stdout.on('data', (chunk) => { output += chunk; });
    system.stderr.on('data', read);
    system.on('exit', () => reject(new Error(`the system ended: ${said}`)));
    setTimeout(() => reject(new Error(`the system is not ready: ${said}`)), 60_000).unref();
  });
  const stop = async () => {
    if (system.exitCode === null) {
      system.kill('SIGTERM');
      await once(system, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const [api, key, invitation, sandbox] = await ready;
    const run = (...words) => {
      const { status, stdout, stderr } = spawnSync(PROGRAM, words, { cwd: folder, env: environment, encoding: 'utf8' });
      if (status !== 0) throw new Error(`${words.join(' ')}: ${stderr}`);
      return stdout.trim();
    };
    const fill = (file) => {
      const places = ['elsewhere/postgres/url', 'postgres/url'].map((place) => join(folder, '.metriqlab', place));
      const url = readFileSync(places.find(existsSync), 'utf8');
      const { status, stderr } = spawnSync('psql', ['-qX1', '-v', 'ON_ERROR_STOP=1', '-f', file, url], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`${file}: ${stderr}`);
    };
    const printed = async (text) => {
      while (!output.includes(text)) await once(system.stdout, 'data', { signal: AbortSignal.timeout(60_000) });
      return output.trim();
    };
    return { api, key, invitation, sandbox, run, printed, fill, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

export function startBrowser() {
  return chromium.launch({ executablePath: BROWSER, args: QUIET, timeout: 120_000 });
}

/** Follows a link of the dashboard's navigation, which a phone has behind a button. */
export async function follow(page, name) {
  const menu = page.getByRole('button', { name: 'Menu', exact: true });
  if (await menu.isVisible()) await menu.click();
  await page.locator('.side').getByRole('link', { name, exact: true }).click();
}

/** A context whose pages must say nothing on the console, break no policy and ask no other host. */
export async function watchedContext(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 844 }, ...options });
  // As everywhere in the tests: how fast the machine is decides nothing.
  context.setDefaultTimeout(60_000);
  const complaints = [];
  context.on('page', (page) => {
    page.on('console', (message) => {
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
