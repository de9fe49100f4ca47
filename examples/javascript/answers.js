// Answers the questions of a test: each line of the input is {document, requests}, {keys, key, now} or {call}, and each line of the output
// says what this gateway makes of it. The tests of the control plane run it beside their own evaluator.
//
//   echo '{"document": …, "requests": [{"server": "com.example/orders", …}]}' | node answers.js

import { createInterface } from "node:readline";

import { keyHolder } from "./agentkey.js";
import { Policy } from "./decide.js";
import { callDigest, canonicalArguments, exact, readArguments } from "./digest.js";
import { readDocument } from "./document.js";
import { read } from "./json.js";

const answers = {
  document: ({ document, requests }) => {
    const policy = new Policy(readDocument(document));
    return requests.map((request) => {
      const now = new Date(request.now);
      if (request.list) return policy.list({ ...request, now }).map((tool) => tool.id);
      const { outcome, reason, approval, stepUp, limits, budgets, maxResponseBytes } = policy.decide({
        ...request,
        now,
        arguments: readable(request.arguments ?? ""),
      });
      const ids = (rules) => rules?.map((rule) => rule.id);
      return { outcome, reason, approval, step_up: stepUp, limits: ids(limits), budgets: ids(budgets), max_response_bytes: maxResponseBytes };
    });
  },
  keys: ({ keys: document, key, now }) => keyHolder(readDocument(document), key, new Date(now)),
  exact: ({ exact: text }) => exact(text),
  arguments: ({ arguments: text }) => canonicalArguments(readArguments(text)),
  call: ({ call: text }) => {
    const members = read(text, { depth: 65, folded: true });
    const given = members.get("arguments");
    if (given !== undefined && !(given instanceof Map)) return { refused: "not_object" };
    return callDigest({
      ...Object.fromEntries(members),
      epoch: Number(members.get("epoch").text),
      principal: Object.fromEntries(members.get("principal")),
      arguments: given ?? new Map(),
    });
  },
};

/** A gateway denies what it cannot read. These tests ask what rules make of it all the same. */
function readable(text) {
  try {
    return readArguments(text);
  } catch {
    return null;
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const question = JSON.parse(line);
  const [answer] = Object.keys(answers).filter((kind) => kind in question).map((kind) => answers[kind]);
  let result;
  try {
    result = answer(question);
  } catch (error) {
    result = { refused: error.code ?? error.message };
  }
  console.log(JSON.stringify(result));
}
