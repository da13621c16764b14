// Asks a daemon through OpenFeature's clients: a question on each line of stdin, its answer on a line of stdout.
// Usage: node ask.mjs server|web URL    Question: {"users": [...]} or {"again": true}    Answer: {"USER": true, ...}
import {createInterface} from 'node:readline';

const [kind, baseUrl] = process.argv.slice(2);
const FLAG = 'microsoft';

async function server() {
  const {OpenFeature} = await import('@openfeature/server-sdk');
  const {OFREPProvider} = await import('@openfeature/ofrep-provider');
  await OpenFeature.setProviderAndWait(new OFREPProvider({baseUrl}));
  const client = OpenFeature.getClient();
  return (user) => client.getBooleanDetails(FLAG, false, {targetingKey: user});
}

// A browser has one user at a time, fetches its flags at once, and fetches them again at every interval.
async function web() {
  const {OpenFeature} = await import('@openfeature/web-sdk');
  const {OFREPWebProvider} = await import('@openfeature/ofrep-web-provider');
  await OpenFeature.setContext({targetingKey: 'nobody-yet'});
  await OpenFeature.setProviderAndWait(new OFREPWebProvider({baseUrl, cacheMode: 'disabled', pollInterval: 250}));
  const client = OpenFeature.getClient();
  return async (user, again) => {
    if (!again) await OpenFeature.setContext({targetingKey: user});
    return client.getBooleanDetails(FLAG, false);
  };
}

const ask = await {server, web}[kind]();
let users = [];
for await (const line of createInterface({input: process.stdin})) {
  const question = JSON.parse(line);
  users = question.users ?? users;
  const answers = {};
  for (const user of users) answers[user] = await ask(user, question.again);
  console.log(JSON.stringify(Object.fromEntries(users.map((user) => [user, answers[user].errorCode ?? answers[user].value]))));
}
process.exit(0);
