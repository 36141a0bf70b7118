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
for (const time of document.querySelectorAll('time[datetime]')) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'long' });
}

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
