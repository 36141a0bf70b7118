// What the documentation does where there is JavaScript; without it every page is complete.
// A key that the reader pastes, or brings along from the dashboard, stays in this tab (sessionStorage) and goes to this server
// alone.
'use strict';

const KEY = 'metriqlab-key';
const LANGUAGE = 'metriqlab-language';

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** Storage may be forbidden; the page works all the same. */
function stored(storage, name, value) {
  try {
    const place = window[storage];
    if (value === undefined) return place.getItem(name);
    if (value) place.setItem(name, value); else place.removeItem(name);
  } catch { /* nothing is kept */ }
  return value ?? null;
}

/** What a reader wants of a block: of a console, the commands alone. */
function copied(block) {
  const commands = [...block.querySelectorAll('.cmd')].map((command) => command.textContent);
  return commands.length ? commands.join('').trimEnd() : block.querySelector('code').textContent;
}

function addCopyButtons() {
  if (!navigator.clipboard) return;
  for (const block of document.querySelectorAll('.code')) {
    const button = element('button', { type: 'button', class: 'copy', 'aria-live': 'polite' }, 'Copy');
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(copied(block));
        button.textContent = 'Copied';
      } catch {
        button.textContent = 'Not allowed';
      }
      button.classList.add('done');
      setTimeout(() => { button.textContent = 'Copy'; button.classList.remove('done'); }, 1500);
    });
    block.append(button);
  }
}

/** One language for all samples, on this page and the next. */
function keepLanguage() {
  const choose = (value) => {
    for (const input of document.querySelectorAll('.samples input')) input.checked = input.value === value;
  };
  const known = stored('localStorage', LANGUAGE);
  if (known && document.querySelector(`.samples input[value="${CSS.escape(known)}"]`)) choose(known);
  document.addEventListener('change', (event) => {
    if (!event.target.matches('.samples input')) return;
    const before = event.target.getBoundingClientRect().top;
    choose(event.target.value);
    stored('localStorage', LANGUAGE, event.target.value);
    // What the reader clicked stays where it was, though samples above it changed their height.
    window.scrollBy(0, event.target.getBoundingClientRect().top - before);
  });
}

function addKeyField() {
  const place = document.getElementById('key');
  if (!document.querySelector('[data-run], form[data-key]')) return;
  const input = element('input', {
    id: 'key-input', type: 'text', placeholder: 'Paste your API key: mlk_…', autocomplete: 'off', spellcheck: 'false',
    'aria-label': 'API key for the run buttons; it stays in this tab',
    title: 'For the run buttons. It stays in this tab and goes to this server alone.',
  });
  const offer = element('a', { href: '/console/docs-key' }, 'Get a key');
  input.value = stored('sessionStorage', KEY) ?? '';
  const changed = () => {
    fillSamples(input.value.trim());
    offer.hidden = input.value !== '';
  };
  input.addEventListener('input', () => {
    stored('sessionStorage', KEY, input.value.trim());
    changed();
  });
  place.append(offer, input);
  place.hidden = false;
  changed();
}

const PLACEHOLDER = 'mlk_your_key_here';

/** The reader's own key, wherever a sample has a place for one; the placeholder, where there is none. */
function fillSamples(mine) {
  const shown = /^mlk_\w{1,200}$/.test(mine) ? mine : PLACEHOLDER;
  for (const place of document.querySelectorAll('.code .own')) place.textContent = shown;
}

function findPlaces() {
  for (const code of document.querySelectorAll('.code code')) {
    const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) if (walker.currentNode.data.includes(PLACEHOLDER)) texts.push(walker.currentNode);
    for (const text of texts) {
      const [before, after] = text.data.split(PLACEHOLDER);
      text.replaceWith(before, element('span', { class: 'own' }, PLACEHOLDER), after);
    }
  }
}

/** The key `/` leads to the search, unless somebody writes. */
function listenForSlash() {
  const field = document.getElementById('find');
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.('input, textarea, select, [contenteditable]')) return;
    event.preventDefault();
    const menu = document.getElementById('nav');
    if (!field.checkVisibility()) menu.showPopover();
    field.focus();
    field.select();
  });
}

function key() {
  const input = document.getElementById('key-input');
  if (input?.value.trim()) return input.value.trim();
  input?.focus();
  return null;
}

async function send(method, path, headers = {}, body = undefined) {
  if (body) headers['content-type'] = 'application/json';
  const response = await fetch(path, { method, headers, body, credentials: 'omit' });
  const text = await response.text();
  try {
    return { response, data: JSON.parse(text) };
  } catch {
    return { response, text };
  }
}

function show(place, { response, data, text }) {
  const status = element('span', { class: `status ${response.ok ? 'good' : 'bad'}` }, String(response.status));
  const heading = element('p', {}, status);
  const url = data?.data?.authUrl;
  if (url && /^https?:/.test(url)) {
    heading.append(' ', element('a', { href: url, target: '_blank', rel: 'noopener' }, 'Open the consent page'));
  }
  const code = element('code', {}, data ? JSON.stringify(data, null, 2) : text || 'No content');
  place.replaceChildren(heading, element('pre', { tabindex: '0', 'aria-label': 'Answer' }, code));
}

function say(place, words) {
  place.replaceChildren(element('p', {}, words), element('p', {}));
}

/** The newest creator, for requests that are about one. */
async function fill(path, headers) {
  if (!path.includes('{id}')) return path;
  const { data } = await send('GET', '/api/v1/creators', headers);
  const last = data?.data?.at(-1)?.id;
  return last ? path.replace('{id}', encodeURIComponent(last)) : null;
}

function addRunButtons() {
  for (const samples of document.querySelectorAll('.samples[data-run]')) {
    const [method, path] = samples.dataset.run.split(' ');
    const button = element('button', { type: 'button', class: 'act' }, 'Run');
    const result = element('div', { class: 'result', 'aria-live': 'polite' });
    const note = path.includes('{id}') ? 'Sends it with your key, for your newest creator.' : 'Sends it with your key.';
    samples.append(element('div', { class: 'run' }, button, note), result);
    button.addEventListener('click', async () => {
      const mine = key();
      if (!mine) return say(result, 'Paste your API key at the top of the page first.');
      button.disabled = true;
      try {
        const filled = await fill(path, { 'x-api-key': mine });
        if (filled) show(result, await send(method, filled, { 'x-api-key': mine }));
        else say(result, 'There is no creator yet, or the key is not good. Connect one first.');
      } catch (error) {
        say(result, `No answer: ${error.message}`);
      } finally {
        button.disabled = false;
      }
    });
  }
}

/** The request that a form describes. */
function requestOf(form) {
  const headers = {};
  const query = new URLSearchParams();
  let path = form.dataset.path;
  let body;
  for (const field of form.querySelectorAll('[data-in]')) {
    const value = field.value.trim();
    if (!value) continue;
    if (field.dataset.in === 'path') path = path.replace(`{${field.name}}`, encodeURIComponent(value));
    if (field.dataset.in === 'query') query.set(field.name, value);
    if (field.dataset.in === 'header') headers[field.name] = value;
    if (field.dataset.in === 'body') body = value;
  }
  const search = query.toString();
  return { path: search ? `${path}?${search}` : path, headers, body };
}

function enableForms() {
  for (const form of document.querySelectorAll('form.try')) {
    form.hidden = false;
    const result = form.querySelector('.result');
    const button = form.querySelector('button');
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const { path, headers, body } = requestOf(form);
      if ('key' in form.dataset) {
        const mine = key();
        if (!mine) return say(result, 'Paste your API key at the top of the page first.');
        headers['x-api-key'] = mine;
      }
      button.disabled = true;
      try {
        show(result, await send(form.dataset.method, path, headers, body));
      } catch (error) {
        say(result, `No answer: ${error.message}`);
      } finally {
        button.disabled = false;
      }
    });
  }
}

/** Marks in the page's contents where the reader is. */
function followReading() {
  const links = new Map([...document.querySelectorAll('.contents a')].map((link) => [link.hash.slice(1), link]));
  if (!links.size) return;
  const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 120);
    const current = passed.at(-1) ?? headings[0];
    for (const [id, link] of links) link.classList.toggle('here', id === current?.id);
  };
  document.addEventListener('scroll', mark, { passive: true });
  mark();
}

addCopyButtons();
keepLanguage();
findPlaces();
addKeyField();
listenForSlash();
addRunButtons();
enableForms();
followReading();
// The menu shows where one is, also in a long list.
document.querySelector('.side a[aria-current]')?.scrollIntoView({ block: 'nearest' });
