// Keeps the page up to date and sends what a person asks for. The server makes all HTML: this only puts it in place.
'use strict';

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- times in the reader's zone ---------------------------------------------------------------------------
const clock = new Intl.DateTimeFormat(undefined, {timeStyle: 'medium'});
const full = new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'medium'});

// How long ago, in two figures and one unit, as the server writes it.
function ago(at) {
  const seconds = Math.max((Date.now() - at) / 1000, 0);
  for (const [unit, length] of [['d', 86400], ['h', 3600], ['min', 60]]) {
    const number = seconds / length;
    if (number >= 2) return `${number < 10 ? Number(number.toFixed(1)) : Math.round(number)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

function localise(root) {
  for (const time of all('time', root)) {
    const at = new Date(time.dateTime);
    if (time.dataset.show === 'ago') { time.textContent = ago(at); continue; }
    const today = at.toDateString() === new Date().toDateString();
    time.textContent = (time.dataset.show === 'full' || !today ? full : clock).format(at);
    time.title = time.dateTime;
  }
}

// --- taking in a newer page -------------------------------------------------------------------------------
const seen = new Map();

function remember() {
  for (const part of all('[data-part], [data-list] > li')) seen.set(part.id || part.dataset.id, part.outerHTML);
}

function takeIn(fresh) {
  for (const part of all('[data-part]', fresh)) {
    const old = document.getElementById(part.id);
    if (!old || seen.get(part.id) === part.outerHTML) continue;
    seen.set(part.id, part.outerHTML);
    const open = all('details', old).map((details) => details.open);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    old.replaceChildren(...part.childNodes);
    all('details', old).forEach((details, i) => { details.open = open[i] ?? false; });
    if (focused) refocus(old, focused);
    localise(old);
  }
  for (const list of all('[data-list]', fresh)) takeInList(document.getElementById(list.id), list);
  for (const card of all('.card', fresh)) {
    const old = document.getElementById(card.id);
    if (old) old.className = card.className;
  }
  document.title = fresh.title;
  search();
}

function refocus(root, focused) {
  const same = focused.dataset.act && find(`[data-act="${focused.dataset.act}"]`, root);
  const link = focused.href && all('a', root).find((one) => one.href === focused.href);
  (same || link || find('button, a, summary', root))?.focus();
}

function takeInList(old, fresh) {
  if (!old) return;
  const known = new Map([...old.children].map((item) => [item.dataset.id, item]));
  const items = [...fresh.children].map((item) => {
    const before = known.get(item.dataset.id);
    if (before && seen.get(item.dataset.id) === item.outerHTML) return before;
    seen.set(item.dataset.id, item.outerHTML);
    localise(item);
    if (!before) return item;
    const [summary, newer] = [find('summary', before), find('summary', item)];
    summary.replaceChildren(...newer.childNodes);
    const [details, since] = [summary.parentNode, newer.parentNode];
    details.dataset.record = since.dataset.record;
    if (!details.open) delete details.dataset.told;
    return before;
  });
  const same = items.length === old.children.length && items.every((item, i) => old.children[i] === item);
  if (!same) old.replaceChildren(...items);
}

// Cards come and go with the configuration, or grow when a feature is switched on: then the page is loaded again.
const shape = (root) => all('.card', root).map((card) => `${card.id} ${all('.chart', card).length}`).join();

let asked = false, again = false;

async function refresh() {
  if (asked) { again = true; return; }
  asked = true;
  try {
    const [answer, text] = await read(location.href, async (got) => [got, await got.text()], {headers: {Accept: 'text/html'}});
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    if (answer.ok && shape(fresh) !== shape(document)) { rebuild(fresh); } else { takeIn(fresh); }
    lost(answer.ok ? '' : find('.trouble', fresh)?.textContent ?? `The daemon answers ${answer.status}.`);
    if (answer.ok && !document.hidden) await Promise.all(all('.chart').map(draw));
  } catch (error) {
    if (error.name !== 'AbortError') lost(error.name === 'TimeoutError' ? `The daemon did not answer within ${READ_MS / 1000} s.` : 'The connection to the daemon is lost.');
  } finally {
    asked = false;
    if (again) { again = false; setTimeout(refresh, 300); }
  }
}

function rebuild(fresh) {
  find('#main').replaceChildren(...find('#main', fresh).childNodes);
  begin();
}

function lost(why) {
  const bar = find('.lost');
  bar.hidden = !why || Boolean(find('main .trouble'));
  if (why) bar.textContent = `${why} What is shown is old.`;
}

// The features whose line has every word that is looked for; a fold opens where one is found.
function search() {
  const field = find('[name=search]');
  if (!field) return;
  const words = field.value.toLowerCase().split(/\s+/);
  for (const item of all('.overview [data-find]')) {
    item.hidden = !words.every((word) => item.dataset.find.toLowerCase().includes(word));
  }
  for (const fold of all('.overview .quiet')) {
    const found = Boolean(find('[data-find]:not([hidden])', fold));
    fold.hidden = !found;
    if (field.value.trim()) fold.open = found;
  }
}

function begin() {
  remember();
  localise(document);
  for (const form of all('.acts, .token')) form.hidden = false;
  all('.chart').forEach(draw);
}

document.addEventListener('toggle', async (event) => {
  const details = event.target;
  if (!details.open || !details.dataset?.record || details.dataset.told) return;
  details.dataset.told = 'yes';
  const record = await read(details.dataset.record, (answer) => answer.json()).catch(() => null);
  if (record) find('.record', details).textContent = JSON.stringify(record, null, 2); else delete details.dataset.told;
}, true);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => all('.chart').forEach(draw));

tokenInput().value = stored((kept) => kept.getItem(TOKEN)) ?? '';
find('.zone').textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
begin();
follow();
document.addEventListener('input', (event) => { if (event.target.name === 'search') search(); });
setInterval(() => { for (const time of all('time[data-show=ago]')) time.textContent = ago(new Date(time.dateTime)); }, 10000);
