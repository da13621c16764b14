// Keeps the page up to date and sends what a person asks for. The server makes all HTML: this only puts it in place.
'use strict';

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- times in the reader's zone ---------------------------------------------------------------------------
const clock = new Intl.DateTimeFormat(undefined, {timeStyle: 'medium'});
const full = new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'medium'});

function localise(root) {
  for (const time of all('time', root)) {
    const at = new Date(time.dateTime);
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
}

function refocus(root, focused) {
  const same = focused.dataset.act && find(`[data-act="${focused.dataset.act}"]`, root);
  (same || find('button, a, summary', root))?.focus();
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
    const answer = await fetch(location.href, {headers: {Accept: 'text/html'}});
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (answer.ok && shape(fresh) !== shape(document)) { rebuild(fresh); } else { takeIn(fresh); }
    lost(answer.ok ? '' : find('.trouble', fresh)?.textContent ?? `The daemon answers ${answer.status}.`);
    if (answer.ok) await Promise.all(all('.chart').map(draw));
  } catch {
    lost('The connection to the daemon is lost.');
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

// --- live -------------------------------------------------------------------------------------------------
const POLL_MS = 5000;
let polling = 0;

function follow() {
  const events = new EventSource('/api/v1/events');
  let soon = 0;
  const changed = () => { clearTimeout(soon); soon = setTimeout(refresh, 120); };
  for (const name of ['decision', 'health', 'gap']) events.addEventListener(name, changed);
  events.onopen = () => { clearInterval(polling); polling = 0; };
  events.onerror = () => { polling ||= setInterval(refresh, POLL_MS); };
}

// --- charts -----------------------------------------------------------------------------------------------
const charts = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(title, width, height, {limit, unit, stairs, last, key, value}) {
  const grid = {stroke: colour('--line'), width: 1};
  const axis = {stroke: colour('--soft'), font: '12px system-ui', grid, ticks: {show: false}};
  const path = stairs ? uPlot.paths.stepped({align: 1}) : undefined;
  const top = (high) => stairs ? 108 : Math.max((limit ?? 0) * 1.5, (high ?? 0) * 1.15, 1e-9);
  return {
    width, height,
    legend: {show: false},
    cursor: {sync: {key}, y: false, points: {size: 7}},
    padding: [6, 8, last ? 0 : 6, 0],
    scales: {y: {range: (_, low, high) => [0, top(high)]}},
    axes: [
      {...axis, show: last, grid: {show: false}, size: 30, space: 90, filter: whole, values: (u, at) => at.map(moments(u.scales.x))},
      {...axis, size: 62, splits: (u) => ticks(u.scales.y.max, stairs), values: (_, at) => at.map((v) => amount(v, unit))},
    ],
    series: [{}, {label: title, stroke: (u) => ink(u, limit), fill: stairs && colour('--accent-soft'), width: 2, paths: path, spanGaps: true, points: {show: false}}],
    hooks: {
      drawClear: [shade],
      draw: [(u) => limit && rule(u, limit, `limit ${amount(limit, unit)}`)],
      setCursor: [(u) => { value.textContent = pointed(u, unit); }],
    },
  };
}

const amount = (number, unit) => `${(+number.toPrecision(3)).toLocaleString()} ${unit}`;

// What the pointer is on: the figure and its time.
function pointed(u, unit) {
  const {idx} = u.cursor, figure = idx == null ? null : u.data[1][idx];
  return figure == null ? '' : `${amount(figure, unit)} at ${clock.format(u.data[0][idx] * 1000)}`;
}

// A line is red only where it is above its limit.
function ink(u, limit) {
  if (!limit) return colour('--accent');
  const {top, height} = u.bbox;
  const share = Math.min(Math.max((u.valToPos(limit, 'y', true) - top) / height, 0), 1);
  const gradient = u.ctx.createLinearGradient(0, top, 0, top + height);
  gradient.addColorStop(share, colour('--stop'));
  gradient.addColorStop(share, colour('--calm'));
  return gradient;
}

// The time that a feature was paused lies in shade.
function shade(u) {
  u.ctx.save();
  u.ctx.fillStyle = colour('--stop-soft');
  for (const [from, to] of u.pauses ?? []) {
    const left = u.valToPos(from, 'x', true), right = u.valToPos(to, 'x', true);
    u.ctx.fillRect(left, u.bbox.top, Math.max(right - left, 2), u.bbox.height);
  }
  u.ctx.restore();
}

// The stretches [from, to] in which it was paused.
function pauses({at, paused}) {
  const found = [];
  at.forEach((moment, i) => {
    if (paused[i] && !paused[i - 1]) found.push([moment, moment]);
    if (paused[i]) found[found.length - 1][1] = at[i + 1] ?? moment;
  });
  return found;
}

// A time that the edge would cut off is left out.
const whole = (u, splits) => splits.map((at) => Math.abs(u.valToPos(at, 'x') - u.over.clientWidth / 2) > u.over.clientWidth / 2 - 32 ? null : at);

// The times below the chart, in the reader's zone and no finer than needed.
function moments({min, max}) {
  const span = max - min;
  const style = span > 172800 ? {dateStyle: 'short'} : span > 900 ? {timeStyle: 'short'} : {timeStyle: 'medium'};
  const format = new Intl.DateTimeFormat(undefined, style);
  return (at) => at === null ? '' : format.format(at * 1000);
}

function ticks(top, stairs) {
  if (stairs) return [0, 50, 100];
  const raw = top / 2.4, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= raw);
  return [0, step, 2 * step].filter((v) => v <= top);
}

function rule(u, limit, says) {
  const y = Math.round(u.valToPos(limit, 'y', true)), end = u.bbox.left + u.bbox.width;
  u.ctx.save();
  u.ctx.strokeStyle = u.ctx.fillStyle = colour('--soft');
  u.ctx.setLineDash([5, 5]);
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(end, y);
  u.ctx.stroke();
  u.ctx.font = `${11 * devicePixelRatio}px system-ui`;
  u.ctx.textAlign = 'right';
  u.ctx.textBaseline = 'bottom';
  u.ctx.fillText(says, end, y - 3 * devicePixelRatio);
  u.ctx.restore();
}

async function draw(figure) {
  if (typeof uPlot === 'undefined') return;
  const answer = await fetch(figure.dataset.chart).catch(() => null);
  if (!answer?.ok) return;
  const told = await answer.json();
  const plots = find('.plots', figure);
  if (told.at.length < 2) { plots.replaceChildren(); charts.delete(figure); return; }
  const span = [told.at[0], told.at[told.at.length - 1]];
  const panels = [
    ['Users who are in', told.at, told.percent, {unit: '%', stairs: true}, 100],
    ['Error rate', told.at, told.errors, {limit: told.limits.error_rate * 100, unit: '%'}, 92],
    ['p95 latency', told.p95_at, told.p95_ms, {limit: told.limits.latency_p95_ms, unit: 'ms', last: true}, 116],
  ];
  const known = charts.get(figure), shaded = pauses(told);
  if (known && known.scheme === scheme()) {
    known.plots.forEach((plot, i) => { plot.pauses = shaded; plot.setData(framed(panels[i][1], panels[i][2], span)); });
    return;
  }
  plots.replaceChildren();
  const made = panels.map(([title, x, y, look, height]) => {
    const name = document.createElement('p'), value = document.createElement('span');
    name.className = 'plot-name';
    name.append(title, value);
    plots.append(name);
    const drawn = options(title, plots.clientWidth, height, {...look, value, key: figure.dataset.chart});
    return new uPlot(drawn, framed(x, y, span), (plot, ready) => { plot.pauses = shaded; plots.append(plot.root); ready(); });
  });
  charts.set(figure, {plots: made, scheme: scheme()});
  sized.observe(plots);
}

// All panels span the same time, whatever each one knows.
function framed(x, y, [first, last]) {
  const inside = x.map((at, i) => [at, y[i]]).filter(([at]) => at >= first && at <= last);
  const begun = inside.length && inside[0][0] === first ? [] : [[first, null]];
  const ended = inside.length && inside[inside.length - 1][0] === last ? [] : [[last, null]];
  const points = [...begun, ...inside, ...ended];
  return [points.map(([at]) => at), points.map(([, value]) => value)];
}

const scheme = () => matchMedia('(prefers-color-scheme: dark)').matches;
const sized = new ResizeObserver((entries) => {
  for (const {target} of entries) {
    const known = charts.get(target.closest('.chart'));
    known?.plots.forEach((plot) => plot.setSize({width: target.clientWidth, height: plot.height}));
  }
});

// --- what a person does -----------------------------------------------------------------------------------
const token = () => find('.token [name=token]').value.trim();

function say(form, text, good) {
  const outcome = find('.outcome', form);
  outcome.textContent = text;
  outcome.className = `outcome ${good ? 'yes' : 'no'}`;
}

function lacks(form) {
  const [reason, key] = [find('[name=reason]', form), find('.token [name=token]')];
  for (const [input, empty, what] of [[reason, !reason.value.trim(), 'Give a reason: it stands in the history.'],
    [key, !token(), 'Give a token, at the top of the page: it says who you are.']]) {
    input.setAttribute('aria-invalid', empty);
    if (empty) { say(form, what, false); input.focus(); return true; }
  }
  return false;
}

async function act(form, kind, percent) {
  const [feature, reason] = [form.dataset.feature, find('[name=reason]', form)];
  const body = {reason: reason.value.trim(), ...(percent === undefined ? {} : {percent})};
  const buttons = all('button', form);
  buttons.forEach((button) => { button.disabled = true; });
  try {
    const answer = await fetch(`/api/v1/features/${encodeURIComponent(feature)}/${kind}`, {
      method: 'POST',
      headers: {Authorization: `Bearer ${token()}`, 'Content-Type': 'application/json', 'Idempotency-Key': crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`},
      body: JSON.stringify(body),
    });
    const told = await answer.json();
    say(form, answer.ok ? `Done: ${told.detail}` : `Not done: ${told.detail}`, answer.ok);
    if (answer.ok) reason.value = '';
  } catch {
    say(form, 'Not known whether it was done: the daemon did not answer. Look at the decisions below.', false);
  } finally {
    all('button', form).forEach((button) => { button.disabled = false; });
    refresh();
  }
}

function ask(form, button) {
  const dialog = find('dialog'), percent = find('.to', dialog), input = find('input', percent);
  find('#question', dialog).textContent = button.dataset.ask;
  find('.because', dialog).textContent = `Reason: ${find('[name=reason]', form).value.trim()}`;
  find('.go', dialog).textContent = button.textContent;
  const wants = button.dataset.act === 'set';
  percent.hidden = !wants;
  input.required = wants;
  input.value = '';
  dialog.returnValue = 'no';
  dialog.onclose = () => {
    button.focus();
    if (dialog.returnValue === 'yes') act(form, button.dataset.act, wants ? Number(input.value) : undefined);
  };
  dialog.showModal();
}

function begin() {
  remember();
  localise(document);
  for (const form of all('.acts, .token')) form.hidden = false;
  all('.chart').forEach(draw);
}

document.addEventListener('submit', (event) => {
  if (!event.target.closest('dialog')) event.preventDefault();
});
document.addEventListener('click', (event) => {
  const cancel = event.target.closest('dialog [value=no]');
  if (cancel) { event.preventDefault(); cancel.closest('dialog').close('no'); return; }
  const button = event.target.closest('.acts button[data-act]');
  if (!button) return;
  event.preventDefault();
  const form = button.closest('form');
  if (lacks(form)) return;
  if (button.dataset.ask) ask(form, button); else act(form, button.dataset.act);
});
document.addEventListener('toggle', async (event) => {
  const details = event.target;
  if (!details.open || !details.dataset?.record || details.dataset.told) return;
  details.dataset.told = 'yes';
  const answer = await fetch(details.dataset.record);
  find('.record', details).textContent = JSON.stringify(await answer.json(), null, 2);
}, true);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => all('.chart').forEach(draw));

find('.zone').textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
begin();
follow();
