// What every page must be like.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHONE = 390;
const DESKTOP = 1280;
// A desktop whose reader has zoomed in, to 200 and to 400 %.
const ZOOMED = [640, 320];

/** Each page in light and dark, on a desktop and on a phone. */
export const SIGHTS = [[PHONE, 'dark'], [DESKTOP, 'light'], [PHONE, 'light'], [DESKTOP, 'dark']];

/** Shows the page in a window so wide, in such colours. */
export async function see(page, [width, colorScheme]) {
  await page.setViewportSize({ width, height: 844 });
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
}

/** What is wider than its place: the page, or a table on it. */
function wide() {
  const parts = [document.documentElement, ...document.querySelectorAll('[data-page] .table')];
  return parts.filter((part) => part.scrollWidth > part.clientWidth).map((part) => part.ariaLabel ?? part.tagName);
}

/** What a finger would miss: a control of the dashboard's that is less than 44 pixels high. Links within a text may be. */
function small() {
  const controls = 'button, .button, select, summary, input:is([type=text], [type=email], [type=password], [type=search]), nav a, .choice';
  const shown = [...document.querySelectorAll(controls)].filter((part) => part.closest('[data-page]') && part.checkVisibility() && !part.matches('.away'));
  return shown.filter((part) => part.getBoundingClientRect().height < 44).map((part) => part.outerHTML.slice(0, 120));
}

/** What axe-core finds serious; of its rules these, or all. */
async function faults(page, rules) {
  const options = { resultTypes: ['violations'], ...(rules && { runOnly: rules }) };
  const { violations } = await page.evaluate((options) => axe.run(document, options), options);
  const found = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  return found.map(({ id, nodes }) => [id, nodes[0].html]);
}

/**
 * The page is no wider than its window, nor is a table wider than a phone; a finger finds what is there; and it is accessible: by
 * all rules on a dark phone and a light desktop, and by those about colours on a light phone and a dark desktop.
 */
export async function looks(page) {
  await page.evaluate(AXE);
  for (const [place, sight] of SIGHTS.entries()) {
    await see(page, sight);
    const [width] = sight;
    const about = `${page.url()}, ${sight}`;
    const found = await page.evaluate(wide);
    assert.deepEqual(width === PHONE ? found : found.filter((part) => part === 'HTML'), [], about);
    if (width === PHONE) assert.deepEqual(await page.evaluate(small), [], about);
    assert.deepEqual(await faults(page, place < 2 ? undefined : ['color-contrast']), [], about);
  }
  for (const width of ZOOMED) {
    await see(page, [width, 'light']);
    const found = await page.evaluate(wide);
    assert.ok(!found.includes('HTML'), `${page.url()} at ${width}`);
  }
  await see(page, SIGHTS[1]);
}
