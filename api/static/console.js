// What the pages do better with JavaScript. Without it everything works: text can be selected and copied by hand, and times
// are shown in UTC.
'use strict';

for (const button of document.querySelectorAll('button[data-copy]')) {
  // Browsers lend the clipboard to pages of https and localhost alone.
  if (!navigator.clipboard) break;
  const source = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = 'Press Ctrl-C';
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

// A new key goes to the documentation by the storage of this tab, where it ends with the tab or a sign-out.
const DOCS_KEY = 'metriqlab-key';
for (const button of document.querySelectorAll('button[data-docs-key]')) {
  button.hidden = false;
  button.addEventListener('click', () => {
    try { sessionStorage.setItem(DOCS_KEY, document.getElementById(button.dataset.docsKey).textContent); } catch { /* forbidden */ }
    location.assign('/docs/quickstart');
  });
}
for (const form of document.querySelectorAll('form[action="/console/sign-out"]')) {
  form.addEventListener('submit', () => {
    try { sessionStorage.removeItem(DOCS_KEY); } catch { /* forbidden */ }
  });
}

// The exact time in the reader's own zone and way of writing.
function exactTimes(root) {
  for (const time of root.querySelectorAll('time[datetime]')) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'long' });
  }
}
exactTimes(document);

// A consent in a popup: its last page tells us how it went. If popups are blocked, the form goes on in this window.
for (const form of document.querySelectorAll('form[data-popup]')) {
  form.addEventListener('submit', () => {
    const popup = open('', 'metriqlab-connect', 'popup,width=520,height=760');
    if (popup) form.target = 'metriqlab-connect';
    else form.removeAttribute('target');
  });
  addEventListener('message', ({ origin, data }) => {
    if (origin !== location.origin || data?.source !== 'metriqlab') return;
    const failed = data.reason === 'access_denied' ? 'declined' : 'connect-failed';
    location.assign(`${location.pathname}?done=${data.status === 'connected' ? 'connected' : failed}`);
  });
}

// The numbers along the lines, under the pointer: all lines of a page show the same time. Without a pointer there is the table.
for (const panels of document.querySelectorAll('.panels[data-times]')) {
  const [from, to] = [Number(panels.dataset.from), Number(panels.dataset.to)];
  const times = panels.dataset.times.split(',').map(Number);
  const charts = [...panels.querySelectorAll('.chart')].map((chart) => {
    const cross = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    cross.classList.add('cross');
    chart.querySelector('svg').append(cross);
    const hint = chart.closest('.panel').querySelector('.hint');
    return { cross, hint, words: hint.textContent, values: chart.dataset.values.split(',') };
  });
  // Where a time lies on the lines, from 0 to 1.
  const share = (at) => (to > from ? Math.min(1, Math.max(0, (at - from) / (to - from))) : 0);
  const clear = () => {
    for (const { cross, hint, words } of charts) {
      cross.removeAttribute('d');
      hint.textContent = words;
    }
  };
  panels.addEventListener('pointermove', ({ target, clientX }) => {
    const svg = target.closest('.chart')?.querySelector('svg');
    if (!svg) return clear();
    const { left, width } = svg.getBoundingClientRect();
    const part = (clientX - left) / width;
    // What was last recorded by then.
    let place = 0;
    while (place + 1 < times.length && share(times[place + 1]) <= part) place += 1;
    const day = new Date(times[place] * 1000).toLocaleDateString(undefined, { dateStyle: 'medium' });
    const { width: across, height } = svg.viewBox.baseVal;
    for (const { cross, hint, values } of charts) {
      cross.setAttribute('d', `M${share(times[place]) * across} 0V${height}`);
      hint.textContent = `${values[place] ? Number(values[place]).toLocaleString() : '–'} on ${day}`;
    }
  });
  panels.addEventListener('pointerleave', clear);
}

// A form that is sent twice by a double click would make two keys.
for (const form of document.querySelectorAll('form[method=post]:not([data-popup])')) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = 'yes';
  });
}
// Back from another page, the form is a new one.
addEventListener('pageshow', () => {
  for (const form of document.querySelectorAll('form[data-sent]')) delete form.dataset.sent;
});

// What changes by itself is asked for again every two seconds, for as long as somebody can see it. Only what differs is
// touched: the focus, a selection and what was scrolled stay.
function become(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeName !== next.nodeName) return old.replaceWith(next);
  if (old.nodeType === Node.TEXT_NODE) old.data = next.data;
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const nodes = [...next.childNodes];
  while (old.childNodes.length > nodes.length) old.lastChild.remove();
  nodes.forEach((node, place) => (old.childNodes[place] ? become(old.childNodes[place], node) : old.append(node)));
}

for (const shown of document.querySelectorAll('[data-refresh]')) {
  const stale = document.querySelector('[data-stale]');
  const look = async () => {
    if (!shown.dataset.refresh) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(shown.dataset.refresh, { redirect: 'manual', signal: AbortSignal.timeout(10_000) });
        // Signed out, or no longer allowed: the page itself says so.
        if (answer.type === 'opaqueredirect' || answer.status === 404) return location.reload();
        if (!answer.ok) throw new Error(answer.statusText);
        const text = await answer.text();
        // The same part of a whole page, or nothing but that part.
        let next = new DOMParser().parseFromString(text, 'text/html').getElementById(shown.id);
        if (!next) {
          next = shown.cloneNode();
          next.innerHTML = text;
        }
        exactTimes(next);
        become(shown, next);
        if (stale) stale.hidden = true;
      } catch {
        if (stale) stale.hidden = false;
      }
    }
    setTimeout(look, 2000);
  };
  setTimeout(look, 2000);
}

// A sync, watched live. Browsers lend a site six connections for all of its tabs, so a page takes two at most, and none
// while nobody looks at it.
const places = [...document.querySelectorAll('[data-progress]')].slice(0, 2);
const streams = new Map();
// What is seen changes four times a second. It is read aloud when it means something else, or has not been for a while.
const aloud = document.createElement('p');
const said = { step: '', at: 0 };
if (places.length > 0) {
  aloud.className = 'away';
  aloud.setAttribute('role', 'status');
  document.getElementById('content').append(aloud);
}

function show(place, { words, short, until, read, of, count }, event) {
  const at = until && new Date(until).toLocaleTimeString();
  const sentence = words.replace('{until}', at);
  const bar = place.querySelector('progress');
  if (bar) {
    place.hidden = false;
    place.querySelector('.words').textContent = sentence;
    bar.hidden = event !== 'progress' || read === null || !of;
    if (!bar.hidden) [bar.max, bar.value] = [of, read];
    for (const state of document.querySelectorAll('[data-state]')) state.textContent = short;
  } else {
    place.textContent = count ? `${short}: ${count}` : short;
    place.title = sentence;
  }
  if (event !== 'progress') {
    place.classList.remove('warn');
    place.classList.add(event === 'done' ? 'good' : 'bad');
  }
  if (short === said.step && performance.now() - said.at < 10_000) return;
  [said.step, said.at] = [short, performance.now()];
  aloud.textContent = sentence;
}

/** Takes what has changed from the page as it is now. */
async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const part of document.querySelectorAll('[data-renew]')) {
    const now = fresh.getElementById(part.id);
    // What somebody is about to use stays where it is.
    if (!now || part.contains(document.activeElement) || part.querySelector('[data-progress]')) continue;
    part.replaceChildren(...now.childNodes);
    exactTimes(part);
  }
}

function watch(place) {
  const stream = new EventSource(place.dataset.progress);
  streams.set(place, stream);
  stream.addEventListener('progress', ({ data }) => show(place, JSON.parse(data), 'progress'));
  for (const end of ['done', 'failed', 'cancelled', 'moved']) {
    stream.addEventListener(end, ({ data }) => {
      stream.close();
      streams.delete(place);
      delete place.dataset.progress;
      places.splice(places.indexOf(place), 1);
      if (end === 'moved') return;
      show(place, JSON.parse(data), end);
      // What can't be fetched now, or is drawn by a script, is there when the page is loaded again.
      const again = Object.assign(document.createElement('a'), { href: location.pathname, textContent: 'Load the page anew' });
      place.querySelector('.words')?.append(' ', again);
      refresh().catch(() => {});
    });
  }
}

function look() {
  if (document.hidden) {
    for (const stream of streams.values()) stream.close();
    streams.clear();
  } else {
    for (const place of places) if (!streams.has(place)) watch(place);
  }
}
document.addEventListener('visibilitychange', look);
look();
