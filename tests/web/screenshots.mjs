// Pictures of every page, to be looked at: `METRIQLAB_PROGRAM=… npm run screenshots FOLDER [NAME…]`, of all pages or of those whose
// names begin so. STYLE=1 takes the styles from the source, to try them without compiling.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SIGHTS, see } from './looks.mjs';
import { everyPage } from './pages.mjs';
import { startBrowser, startSystem } from './system.mjs';

const [folder = 'screenshots', ...names] = process.argv.slice(2);
const source = (name) => readFileSync(new URL(`../../api/static/${name}`, import.meta.url), 'utf8');

/** Takes the pictures of what `page` shows. */
async function take(page, name) {
  for (const sight of SIGHTS) {
    await see(page, sight);
    await page.screenshot({ path: join(folder, `${name}-${sight.join('-')}.png`), fullPage: true });
  }
  await see(page, SIGHTS[1]);
}

mkdirSync(folder, { recursive: true });
const system = await startSystem();
const browser = await startBrowser();
try {
  const context = await browser.newContext();
  if (process.env.STYLE) {
    const style = (name) => (route) => route.fulfill({ contentType: 'text/css', body: source('colours.css') + source(name) });
    for (const name of ['metriqlab.css', 'docs.css']) await context.route(`**/static/${name}*`, style(name));
  }
  const page = await context.newPage();
  const asked = (name) => names.length === 0 || names.some((begin) => name.startsWith(begin));
  for await (const name of everyPage(page, system)) if (asked(name)) await take(page, name);
  const index = await (await fetch(`${system.api}/llms.txt`)).text();
  const docs = [...index.matchAll(/\]\(\S+?(\/docs\S*)\.md\)/g)].map(([, path]) => path);
  for (const path of [...docs, '/docs/search?q=quota', '/docs/nothing']) {
    const name = path.slice(1).replaceAll(/\W+/g, '-');
    if (!asked(name)) continue;
    await page.goto(system.api + path);
    await take(page, name);
  }
} finally {
  await browser.close();
  await system.stop();
}
