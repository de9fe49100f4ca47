// Calls delete_orders with a TypeScript SDK, once for each line of standard input, which has the arguments. Each line of
// standard output says what the SDK gave: { result }, { error }, or { asked } when it asks its user to open an address;
// the next line of input is then the user's answer. The second argument is v1, v2 or v2-modern; the third is the folder
// of the npm packages.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [, , kind, modules, address] = process.argv;
const load = (path) => import(pathToFileURL(`${modules}/@modelcontextprotocol/${path}`).href);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');

const modern = kind === 'v2-modern';
const { Client } = await load(kind === 'v1' ? 'sdk/dist/esm/client/index.js' : 'client/dist/index.mjs');
const { StreamableHTTPClientTransport } = await load(kind === 'v1' ? 'sdk/dist/esm/client/streamableHttp.js' : 'client/dist/index.mjs');

const client = new Client({ name: kind, version: '1' }, modern
  ? { capabilities: { elicitation: { url: {} } }, versionNegotiation: { mode: { pin: '2026-07-28' } } }
  : {});
if (modern) {
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    say({ asked: params });
    return { action: (await lines.next()).value };
  });
}

let retries = 0; // requests that carried a requestState
const counting = (url, init) => {
  if (init?.method === 'POST' && JSON.parse(init.body).params?.requestState) retries++;
  return fetch(url, init);
};
await client.connect(new StreamableHTTPClientTransport(new URL(address), {
  fetch: counting, requestInit: { headers: { Authorization: `Bearer ${process.env.TOKEN}` } },
}));
await client.listTools(); // from here on the SDK checks results against their schemas

for (let line = await lines.next(); !line.done; line = await lines.next()) {
  try {
    say({ result: await client.callTool({ name: 'delete_orders', arguments: JSON.parse(line.value) }), retries });
  } catch (error) {
    say({ error: String(error), retries });
  }
}
await client.close();
