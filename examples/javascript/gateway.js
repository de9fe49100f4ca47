// A decision point: it follows the policy and says, over HTTP on this machine, what becomes of a call. Put it beside
// whatever stands between your agents and their servers.
//
//   GET  /         what is in force
//   POST /decide   {server, kind, name, principal, arguments} → {outcome, reason, …}
//   POST /list     {server, kind, principal} → what to list
//
// It is configured by the environment: see README.md.

import { createServer } from "node:http";
import { hostname } from "node:os";

import { callDigest, readArguments } from "./digest.js";
import { read, write } from "./json.js";
import { Follower } from "./pull.js";

const { CONTROL_PLANE, CLIENT_ID, CLIENT_SECRET, ROOT_KEY, STATE = "state", LISTEN = "127.0.0.1:9090", WAIT = "50" } = process.env;

const follower = new Follower({
  controlPlane: CONTROL_PLANE,
  clientId: CLIENT_ID,
  clientSecret: CLIENT_SECRET,
  rootKey: ROOT_KEY,
  stateFolder: STATE,
  instance: `${hostname()}/${process.pid}`,
  wait: Number(WAIT),
  log: (line) => console.error(line),
});

/** What is in force now; throws where nothing is. */
function inForce() {
  const { document } = follower.current();
  return { issuer: document.issuer, epoch: document.epoch, revision: document.revision, lease_seconds: Math.round(follower.leaseLeft()) };
}

/** Decides on a call. One that is held comes with the call to ask an approval for, its digest and what to forward. */
function decide(request) {
  const { policy, document } = follower.current();
  const verdict = policy.decide(request);
  const { outcome, reason, tool, approval, stepUp, limits = [], budgets = [], maxResponseBytes } = verdict;
  const counted = (rules, effect) => rules.map((rule) => ({ guardrail: rule.id, ...rule.effect[effect] }));
  return {
    outcome,
    reason,
    revision: document.revision,
    definition: tool?.definition, // deny the call all the same, unless the server serves exactly this now
    approval: approval && { ...approval, ...held(request, tool, document) },
    step_up: stepUp, // what the caller has to sign in by; over HTTP a challenge (RFC 9470)
    limits: counted(limits, "rate_limit"),
    budgets: counted(budgets, "token_budget"),
    max_response_bytes: maxResponseBytes,
  };
}

function held({ server: name, kind, principal, arguments: args }, tool, { issuer, epoch, servers }) {
  const server = servers.find((one) => one.name === name);
  const { issuer: idp = "", subject = "", agent = "", model = "" } = principal;
  const call = {
    issuer,
    epoch,
    gateway: follower.identity?.gateway_id,
    server_id: server.id,
    endpoint_digest: server.endpoint.digest,
    tool: tool.name,
    kind,
    definition: tool.definition,
    principal: { issuer: idp, subject, agent, model },
  };
  const { digest, arguments: forward } = callDigest({ ...call, arguments: args });
  return { call: { ...call, arguments: JSON.parse(forward) }, call_digest: digest, forward };
}

function list(request) {
  return follower.current().policy.list(request).map((tool) => ({ name: tool.name, definition: tool.definition }));
}

/** Reads a question strictly: arguments keep their numbers as they were written. */
function question(body) {
  const members = read(body, { depth: 68, folded: true });
  const { arguments: args = new Map(), principal, ...rest } = Object.fromEntries(members);
  return { ...rest, principal: JSON.parse(write(principal, (n) => n.text)), arguments: readArguments(write(args, (n) => n.text)), now: new Date() };
}

const routes = { "GET /": inForce, "POST /decide": decide, "POST /list": list };

const server = createServer(async (request, response) => {
  let status = 200;
  let answer;
  try {
    const route = routes[`${request.method} ${request.url}`];
    const body = Buffer.concat(await request.toArray());
    if (route) answer = route(request.method === "POST" ? question(body) : undefined);
    else [status, answer] = [404, { code: "no_such_route" }];
  } catch (error) {
    // Whatever went wrong, the call is denied: without a policy, or because it cannot be read in one way.
    answer = { outcome: "deny", reason: error.code ?? "internal", detail: error.message };
    status = request.method === "GET" ? 503 : 200;
  }
  response.writeHead(status, { "Content-Type": "application/json" }).end(`${JSON.stringify(answer)}\n`);
});

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stopping.abort());

await follower.start();
const [host, port] = LISTEN.split(/:(?=\d+$)/);
server.listen(Number(port), host, () => console.error(`listening on ${host}:${server.address().port}`));
await follower.follow(stopping.signal);
server.close();
server.closeAllConnections();
