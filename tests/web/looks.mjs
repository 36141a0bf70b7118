// What every page of the dashboard must be like.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A page is no wider than its window, and accessible, on a light desktop and on a dark phone. */
export async function looks(page) {
  for (const [width, colorScheme] of [[390, 'dark'], [1280, 'light']]) {
    await page.setViewportSize({ width, height: 844 });
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${page.url()} at ${width}`);
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
    const found = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    assert.deepEqual(found.map(({ id, nodes }) => [id, nodes[0].html]), [], page.url());
  }
}
