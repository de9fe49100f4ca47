// An MCP server that is no Go program. It keeps what it is sent, byte by byte and as different parsers read it, and
// answers {"do":"listen"} with its port and {"do":"take"} with what came since.
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { readings } from "./parsers.mjs";

const tool = (name, properties) => ({ name, description: name, inputSchema: { type: "object", properties }, annotations: { readOnlyHint: true } });
const tools = [
  tool("safe", {}),
  tool("limited", { amount: { type: "number" } }),
  tool("danger", {}),
  tool("routed", { region: { type: "string", "x-mcp-header": "Region" } }),
];
const resources = [{ uri: "test://safe", name: "safe" }, { uri: "test://danger", name: "danger" }];

const results = {
  initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {}, resources: {} }, serverInfo: { name: "recorder", version: "1" } },
  "tools/list": { tools },
  "resources/list": { resources },
  "resources/templates/list": { resourceTemplates: [] },
  "tools/call": { content: [{ type: "text", text: "done" }] },
  "resources/read": { contents: [] },
};

let taken = [];

// Every request of a connection is kept, also one that came behind another.
const server = createServer({ insecureHTTPParser: true, keepAliveTimeout: 60_000 }, async (req, res) => {
  const chunks = [];
  try {
    for await (const chunk of req) chunks.push(chunk);
  } catch { /* it is kept as far as it came */ }
  const body = Buffer.concat(chunks);
  const own = req.headers["user-agent"]?.startsWith("Go-http-client"); // the gateway's own look at us: it sends no such name for callers
  if (!own) taken.push({ method: req.method, target: req.url, headers: req.rawHeaders, trailers: req.rawTrailers, body: body.toString("latin1"), readings: readings(body) });
  let message = {};
  try { message = JSON.parse(body); } catch { /* it is kept as it is */ }
  const result = results[message.method];
  if (message.id === undefined) return res.writeHead(202).end();
  const answer = result ? { result } : { error: { code: -32601, message: "unknown" } };
  res.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
});
server.on("clientError", (error, socket) => {
  if (error.code === "ECONNRESET") return;
  taken.push({ method: "", target: "", headers: [], trailers: [], body: "", readings: { http: `refused: ${error.message}` } });
  socket.destroy();
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

for await (const line of createInterface({ input: process.stdin })) {
  if (JSON.parse(line).do === "listen") console.log(JSON.stringify({ port: server.address().port }));
  else {
    console.log(JSON.stringify({ requests: taken }));
    taken = [];
  }
}
process.exit();
