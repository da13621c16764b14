// What a person does: Pause at once, everything else after a question that says what will change.
'use strict';

const ACT_MS = 8000;
const TOKEN = 'rollout-token';
const PAUSED_FROM_HERE = 'paused from the status page';
const SAFE = 'Look at the state above. Pressing it again is safe: it is done once.';

// --- the token, kept for this tab -------------------------------------------------------------------------
const tokenInput = () => find('.token [name=token]');
const token = () => tokenInput().value.trim();
let waiting = null;

// Goes on at once with a token; without one, as soon as it was typed and Enter pressed.
function withToken(form, then) {
  const input = tokenInput();
  input.setAttribute('aria-invalid', !token());
  if (token()) { waiting = null; then(); return; }
  waiting = then;
  say(form, 'Type your token at the top of the page and press Enter: it says who you are.', false);
  input.focus();
}

// A browser that keeps nothing for pages throws: then the token lives as long as the page.
function stored(use) {
  try { return use(sessionStorage); } catch { return null; }
}

const keep = () => stored((kept) => { if (token()) kept.setItem(TOKEN, token()); else kept.removeItem(TOKEN); });

function say(form, text, good) {
  const outcome = find('.outcome', form);
  outcome.textContent = text;
  outcome.className = `outcome ${good ? 'yes' : 'no'}`;
}

// --- one call ---------------------------------------------------------------------------------------------
// The key of a call whose end is not known, so that the same call is not done twice.
const keys = new Map();
const newKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

async function post(feature, kind, body) {
  const call = JSON.stringify([feature, kind, body]);
  if (!keys.has(call)) keys.set(call, newKey());
  letGoEverywhere();
  let status = 0, detail = `the daemon did not answer within ${ACT_MS / 1000} s`;
  try {
    const answer = await fetch(`/api/v1/features/${encodeURIComponent(feature)}/${kind}`, {
      method: 'POST',
      headers: {Authorization: `Bearer ${token()}`, 'Content-Type': 'application/json', 'Idempotency-Key': keys.get(call)},
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ACT_MS),
    });
    status = answer.status;
    detail = (await answer.json()).detail;
  } catch (error) {
    if (error.name !== 'TimeoutError') detail = status ? `HTTP ${status}` : 'the connection to the daemon is lost';
    status = status >= 400 && status < 500 ? status : 0;
  }
  const known = status > 0 && status < 500;
  if (known) keys.delete(call);
  return {known, ok: status === 200, status, detail};
}

// Does the steps one after the other and stops at the first one that is not done.
async function act(form, steps) {
  const buttons = () => all('button', form);
  const done = [];
  buttons().forEach((button) => { button.disabled = true; });
  say(form, `${steps[0][0] === 'pause' ? 'Pausing' : 'Working'} …`, true);
  for (const [kind, body] of steps) {
    const told = await post(form.dataset.feature, kind, body);
    const before = done.map((text) => `Done: ${text} `).join('');
    if (!told.known) { say(form, `${before}Not known whether it was done: ${told.detail}. ${SAFE}`, false); break; }
    if (!told.ok) { refused(form, told, before); break; }
    done.push(told.detail);
    say(form, `${before}Done: ${told.detail}`, true);
  }
  if (done.length === steps.length) find('[name=reason]', form).value = '';
  buttons().forEach((button) => { button.disabled = false; });
  soon();
}

function refused(form, {status, detail}, before) {
  say(form, `${before}Not done: ${detail}`, false);
  if (status !== 401) return;
  stored((kept) => kept.removeItem(TOKEN));
  tokenInput().setAttribute('aria-invalid', true);
}

// --- the question -----------------------------------------------------------------------------------------
const skipped = (steps, from, to) => steps.filter((step) => step > from && step < to);

// What a percentage set by hand changes, and which steps nothing proves then.
function change(button, to) {
  const from = Number(button.dataset.now), steps = button.dataset.steps.split(' ').map(Number);
  if (!Number.isFinite(to) || to < 0 || to > 100) return '';
  if (to === from) return `It is at ${from} % now: nothing changes.`;
  const over = skipped(steps, from, to).map((step) => `${step} %`);
  const jump = over.length ? ` ${over.join(', ')} skipped: nothing is proven there first.` : '';
  const stop = to === 0 ? ' Nobody is in then, and it stays so until a person resumes it.' : '';
  return `From ${from} % to ${to} %.${jump}${stop}`;
}

function ask(form, button) {
  const dialog = find('dialog'), {act: kind, ask: question, says, since, to, then} = button.dataset;
  const [percent, reason, preview] = ['[name=percent]', '[name=why]', '.change'].map((one) => find(one, dialog));
  find('#question', dialog).textContent = question;
  const lines = says ? says.split('\n') : [];
  if (since) lines.splice(1, 0, `Since ${full.format(since * 1000)}, ${ago(since * 1000)} ago.`);
  find('.says', dialog).replaceChildren(...lines.map((line) => Object.assign(document.createElement('li'), {textContent: line})));
  find('.go', dialog).textContent = button.textContent;
  const typed = kind === 'set' && to === undefined;
  percent.closest('label').hidden = !typed;
  percent.required = typed;
  percent.value = '';
  percent.oninput = () => { preview.textContent = percent.value && percent.validity.valid ? change(button, Number(percent.value)) : ''; };
  preview.textContent = to === undefined ? '' : change(button, Number(to));
  reason.value = find('[name=reason]', form).value.trim();
  dialog.returnValue = 'no';
  dialog.onclose = () => {
    (button.isConnected ? button : find(`[data-act="${kind}"]`, form))?.focus();
    if (dialog.returnValue !== 'yes') return;
    const body = {reason: reason.value.trim()};
    const first = kind === 'set' ? {...body, percent: Number(to ?? percent.value)} : body;
    act(form, [[kind, first], ...(then ? [[then, body]] : [])]);
  };
  dialog.showModal();
}

function pressed(form, button) {
  const {act: kind} = button.dataset, reason = find('[name=reason]', form).value.trim();
  withToken(form, () => {
    if (kind === 'pause') act(form, [[kind, {reason: reason || PAUSED_FROM_HERE}]]); else ask(form, button);
  });
}

document.addEventListener('submit', (event) => {
  if (!event.target.closest('dialog')) event.preventDefault();
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.target !== tokenInput()) return;
  keep();
  const then = waiting;
  waiting = null;
  if (token()) then?.();
});
document.addEventListener('change', (event) => { if (event.target === tokenInput()) keep(); });
document.addEventListener('click', (event) => {
  const cancel = event.target.closest('dialog [value=no]');
  if (cancel) { event.preventDefault(); cancel.closest('dialog').close('no'); return; }
  const button = event.target.closest('.acts button[data-act]');
  if (!button) return;
  event.preventDefault();
  pressed(button.closest('form'), button);
});
