// A worker that all tabs share: one event stream for all of them, because a browser opens only six
// connections to a host and a Pause needs one of them.
'use strict';

const AGAIN_MS = 5000;
const tabs = new Set();
let live = false;

const tell = (said) => { for (const tab of tabs) tab.postMessage(said); };

function open() {
  const events = new EventSource('/api/v1/events');
  for (const name of ['decision', 'health', 'gap']) events.addEventListener(name, () => tell({changed: true}));
  events.onopen = () => { live = true; tell({live}); };
  events.onerror = () => {
    live = false;
    tell({live});
    // After a refusal a browser does not try again by itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(open, AGAIN_MS);
  };
}

self.onconnect = ({ports: [tab]}) => {
  tabs.add(tab);
  tab.onmessage = () => tabs.delete(tab);
  tab.postMessage({live});
};
open();
