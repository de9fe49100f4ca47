// Conditions are written in CEL, the Common Expression Language (cel.dev). This file ties an implementation of it to what
// docs/policy.md says an expression may use. Whatever is wrong with an expression or its values is thrown: only the rule
// knows what an error means for it.

import { createContext, Script } from "node:vm";

import { celEnv, celError, celFunc, celMap, CelScalar, celUint, isCelError, parse, plan } from "@bufbuild/cel";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";

import { Numeral } from "./json.js";

const { STRING, INT, UINT, DOUBLE } = CelScalar;

/** The library reads numbers in text as JavaScript does, to which "" is 0 and "x" is NaN. In CEL both are errors. */
const strictly = (pattern, read) => (text) => {
  if (!pattern.test(text)) throw new Error("this text is no number");
  return read(text);
};

/** A number of 64 bits; fits cuts one to that. */
const whole = (fits) => (text) => {
  const number = BigInt(text.replace("+", ""));
  if (number !== fits(64, number)) throw new Error("this number does not fit 64 bits");
  return number;
};

const environment = celEnv({
  funcs: [
    celFunc("int", [STRING], INT, strictly(/^[+-]?\d+$/, whole(BigInt.asIntN))),
    celFunc("uint", [STRING], UINT, strictly(/^\d+$/, (text) => celUint(whole(BigInt.asUintN)(text)))),
    celFunc("double", [STRING], DOUBLE, strictly(/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/, Number)),
  ],
});

/**
 * How long one evaluation may take: what takes longer is an error. The control plane refuses expressions that multiply, so
 * this is for what long arguments make of the others. A gateway with much to do evaluates in a worker.
 */
const milliseconds = 1000;

/** Compiles an expression; the result says whether it is true of a call's variables, and throws what went wrong. */
export function compile(expression) {
  let evaluate, tree;
  try {
    tree = parse(expression);
    evaluate = plan(environment, tree);
  } catch (error) {
    return Object.assign(() => { throw error; }, { usesArguments: true });
  }
  const isTrue = (variables) => {
    const result = bounded(() => evaluate(variables));
    if (isCelError(result)) throw new Error(result.message);
    if (typeof result !== "boolean") throw new Error("the expression gives no boolean");
    return result;
  };
  return Object.assign(isTrue, { usesArguments: names(tree, "args") });
}

/** The variables of an expression. What is not known of the caller is left out, so that has() can ask for it. */
export function variables({ args, principal, tool, server, now }) {
  const known = Object.entries({
    issuer: principal.issuer,
    subject: principal.subject,
    groups: principal.groups,
    agent: principal.agent,
    model: principal.model,
    model_assurance: principal.model_assurance,
    amr: principal.amr,
    auth_time: principal.auth_time && timestampFromDate(new Date(principal.auth_time)),
  }).filter(([, value]) => value !== undefined && value !== "");
  return {
    args: readable(args),
    principal: map(known),
    tool: map(Object.entries({ name: tool.name, kind: tool.kind, risk: tool.risk })),
    server: map(Object.entries({ name: server.name, labels: server.labels ?? [], team: server.team })),
    now: timestampFromDate(now),
  };
}

/** Arguments that cannot be read, or hold a number that cannot be kept, are an error to every expression that asks. */
function readable(args) {
  try {
    if (args) return value(args);
  } catch {
    // said below
  }
  return celError("the arguments cannot be read exactly");
}

/** JSON as CEL has it: whole numbers of 64 bits are int (or uint, above), all others that a double keeps are double. */
function value(json) {
  if (json instanceof Map) return map([...json].map(([key, inner]) => [key, value(inner)]));
  if (Array.isArray(json)) return json.map(value);
  if (!(json instanceof Numeral)) return json;
  const [digits, exponent] = json.decimal.split("e");
  if (exponent >= 0 && exponent < 20) {
    const whole = BigInt(digits) * 10n ** BigInt(exponent);
    if (whole === BigInt.asIntN(64, whole)) return whole;
    if (whole === BigInt.asUintN(64, whole)) return celUint(whole);
  }
  if (!json.exact) throw new Error(`neither an int nor a double keeps ${json.text}`);
  return Number(json.text);
}

/** A map of CEL, in the order of its keys. To the library what is null is not there; has() must not take it so. */
function map(entries) {
  const ordered = entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const made = celMap(new Map(ordered));
  made.has = (key) => made.get(key) !== undefined;
  return made;
}

const sandbox = createContext({ evaluate: null });
const script = new Script("evaluate()");

function bounded(evaluate) {
  sandbox.evaluate = evaluate;
  return script.runInContext(sandbox, { timeout: milliseconds });
}

/** Whether a parsed expression names a variable. */
function names(tree, variable) {
  if (typeof tree !== "object" || tree === null) return false;
  if (tree.case === "identExpr" && tree.value.name === variable) return true;
  return Object.values(tree).some((inner) => names(inner, variable));
}
