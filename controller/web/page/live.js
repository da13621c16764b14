// Requests that end in time, and the news of the daemon: through the worker that all tabs share, or by asking.
'use strict';

const READ_MS = 6000, POLL_MS = 5000, SAFETY_MS = 30000, SOON_MS = 120, QUIET_MS = 1500;

// A read ends by itself, and at once when a person does something in any tab: an act needs a connection.
let reading = new AbortController();
let quietUntil = 0;
const others = 'BroadcastChannel' in self ? new BroadcastChannel('rollout') : null;

async function read(address, take, options = {}) {
  const signal = AbortSignal.any([reading.signal, AbortSignal.timeout(READ_MS)]);
  return take(await fetch(address, {...options, signal}));
}

function letGo() {
  quietUntil = Date.now() + QUIET_MS;
  reading.abort();
  reading = new AbortController();
  soon({instead: true});
}

function letGoEverywhere() {
  others?.postMessage('acting');
  letGo();
}

if (others) others.onmessage = letGo;

// --- when to read the page again --------------------------------------------------------------------------
let planned = 0;

// A hidden tab only keeps its title up to date, so it has time.
function soon({instead = false} = {}) {
  if (planned && !instead) return;
  clearTimeout(planned);
  const wait = document.hidden ? POLL_MS : SOON_MS;
  planned = setTimeout(() => { planned = 0; refresh(); }, Math.max(wait, quietUntil - Date.now()));
}

function follow() {
  let live = false, last = Date.now();
  setInterval(() => {
    const every = live || document.hidden ? SAFETY_MS : POLL_MS;
    if (Date.now() - last >= every) { last = Date.now(); refresh(); }
  }, POLL_MS);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) soon({instead: true}); });
  if (!('SharedWorker' in self)) return;
  const join = () => {
    const {port} = new SharedWorker('/page/stream.js');
    port.onmessage = ({data}) => {
      const begins = data.live && !live;
      live = data.live ?? live;
      // What happened while nobody listened is seen by reading the page.
      if (data.changed || begins) { last = Date.now(); soon(); }
    };
    addEventListener('pagehide', () => { live = false; port.postMessage('bye'); port.close(); }, {once: true});
  };
  join();
  addEventListener('pageshow', (event) => { if (event.persisted) { join(); soon(); } });
}
