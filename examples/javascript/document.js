// Reads the policy document. It is signed, so nobody else wrote it; but a newer control plane may say something that this
// gateway does not know, and what it does not know may be a restriction. So everything has to be known: a document with
// anything else in it is refused whole, and the gateway goes on by the one it has.

const members = {
  document: "format issuer audience epoch revision issued_at max_stale_seconds servers grants guardrails keys agents",
  key: "hash agent subject not_after",
  agent: "agent models",
  server: "id name state team labels endpoint client_requests tools",
  endpoint: "transport url command command_digest digest",
  tool: "id kind name definition risk labels held input_schema has_output_schema grants guardrails",
  grant: "id name subject not_before not_after condition",
  guardrail: "id name subject except condition effect",
  subject: "everyone users groups agents models allow_declared",
  effect: "deny approval mfa step_up rate_limit require token_budget max_response_bytes tainted",
  approval:
    "quorum deny_quorum owning_team teams pending_seconds alternatives fallback evidence not_granter step_up scope break_glass",
  approvers: "quorum owning_team teams",
  fallback: "after_seconds quorum owning_team teams",
  step_up: "max_age_seconds mfa acr",
  scope: "max_uses max_seconds free",
  break_glass: "owning_team teams review_seconds",
  rate_limit: "calls seconds",
  token_budget: "tokens seconds",
  tainted: "labels seconds",
};

const values = {
  format: ["countersign/policy/v1"],
  state: ["active", "suspended"],
  transport: ["streamable_http", "stdio"],
  kind: ["tool", "prompt", "resource"],
  risk: ["read_only", "write", "destructive"],
};

/** What stands in which member, where that has members of its own. */
const within = {
  document: { servers: "server", grants: "grant", guardrails: "guardrail", keys: "key", agents: "agent" },
  server: { endpoint: "endpoint", tools: "tool" },
  grant: { subject: "subject" },
  guardrail: { subject: "subject", except: "subject", effect: "effect" },
  effect: { approval: "approval", step_up: "step_up", rate_limit: "rate_limit", token_budget: "token_budget", tainted: "tainted" },
  approval: { alternatives: "approvers", fallback: "fallback", step_up: "step_up", scope: "scope", break_glass: "break_glass" },
};

/** Reads a document, or throws an error that says what about it is not known. */
export function readDocument(text) {
  const document = JSON.parse(text);
  check("document", document, "document");
  for (const list of ["servers", "grants", "guardrails"]) {
    if (!Array.isArray(document[list])) throw new Error(`the document lacks ${list}`);
  }
  for (const server of document.servers) {
    for (const tool of server.tools) {
      for (const rules of ["grants", "guardrails"]) {
        const lost = tool[rules]?.find((place) => document[rules][place] === undefined);
        if (lost !== undefined) throw new Error(`${tool.name} points to ${rules}[${lost}], which is not there`);
      }
    }
  }
  return document;
}

function check(type, value, path) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${path} is not an object`);
  const known = members[type].split(" ");
  for (const [name, inner] of Object.entries(value)) {
    const at = `${path}.${name}`;
    if (!known.includes(name)) throw new Error(`${at} is not known`);
    if (type !== "subject" && values[name] && !values[name].includes(inner)) throw new Error(`${at} is ${inner}, which is not known`);
    const inside = within[type]?.[name];
    if (!inside) continue;
    const all = Array.isArray(inner) ? inner : [inner];
    all.forEach((one, i) => check(inside, one, Array.isArray(inner) ? `${at}[${i}]` : at));
  }
  if (type === "effect" && Object.keys(value).filter((name) => name !== "tainted").length !== 1) throw new Error(`${path} is not exactly one effect`);
}
