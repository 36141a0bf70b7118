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
    if (data.status === 'connected') location.assign(`${location.pathname}?done=connected`);
  });
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
