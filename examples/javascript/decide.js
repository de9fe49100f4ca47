// Decides on calls by a policy document, as docs/policy.md says: "How a call is decided".
//
// A rule answers in one of two directions. A grant asks "is it certain that this rule is meant?", and a guardrail "is it
// possible?". What is not known of a caller, and a condition that cannot be evaluated, is never certain and always
// possible: so it never makes anybody get more.

import { isMet, secondFactor, unitedApproval, unitedStepUp } from "./approval.js";
import { compile, variables } from "./cel.js";
import { matchesTemplate, matchesUser, glob, readTemplate } from "./match.js";

export class Policy {
  #servers = new Map();
  #expressions = new Map();

  /** Indexes a document that was verified and read. Do it off the hot path; then decide. */
  constructor(document) {
    this.document = document;
    for (const server of document.servers) {
      const offers = new Map(server.tools.map((tool) => [`${tool.kind} ${tool.name}`, tool]));
      const templates = server.tools
        .filter((tool) => tool.kind === "resource")
        .map((tool) => ({ tool, parts: readTemplate(tool.name) }))
        .filter(({ parts }) => parts);
      this.#servers.set(server.name, { server, offers, templates });
    }
    const rules = [...document.grants, ...document.guardrails];
    for (const expression of rules.flatMap((rule) => [rule.condition, rule.effect?.require])) {
      if (expression) this.#expressions.set(expression, compile(expression));
    }
  }

  /**
   * Says what becomes of a call: {outcome, reason, …}. A request is {server, kind, name, principal, arguments, now}, where
   * arguments are what readArguments returned, or null if they cannot be read in one way, and now is a Date.
   */
  decide(request) {
    const known = this.#servers.get(request.server);
    if (!known) return { outcome: "deny", reason: "unknown_server" };
    const { server, offers, templates } = known;
    if (server.state !== "active") return { outcome: "deny", reason: "suspended" };
    const exact = offers.get(`${request.kind} ${request.name}`);
    if (exact) return this.#judge(server, exact, request);
    if (request.kind !== "resource") return { outcome: "deny", reason: "unknown_tool" };
    return templates
      .filter(({ parts }) => matchesTemplate(parts, request.name))
      .map(({ tool }) => this.#judge(server, tool, request))
      .reduce(stricter, undefined) ?? { outcome: "deny", reason: "unknown_tool" };
  }

  /**
   * The tools, prompts or resources to list for a caller: what some call of it could be allowed. Nobody knows the arguments
   * yet, and a caller can still sign in again, so neither hides anything.
   */
  list({ server: name, kind, principal, now }) {
    const { server } = this.#servers.get(name) ?? {};
    if (server?.state !== "active") return [];
    return server.tools.filter((tool) => tool.kind === kind && this.#judge(server, tool, { principal, now }).outcome !== "deny");
  }

  #judge(server, tool, request) {
    const deny = (reason, rule) => ({ outcome: "deny", reason, tool, rule });
    const { principal, now, arguments: args } = request; // a list has no arguments
    if (tool.held) return deny("drifted");

    const call = this.#evaluator(server, tool, request);
    const guardrails = this.#rules("guardrails", tool).filter((rule) => restrains(rule, request) && call.possible(rule.condition));
    const demanding = (effect) => guardrails.filter((rule) => effect in rule.effect);
    const [denies] = demanding("deny");
    if (denies) return deny("denied_by_guardrail", denies);

    const grants = this.#rules("grants", tool).filter((rule) => matches(rule.subject, principal, certain) && inWindow(rule, now));
    const grant = grants.find((rule) => call.certain(rule.condition));
    if (!grant) return deny(grants.length ? "condition_not_met" : "no_grant");

    const [factor] = demanding("mfa");
    const [stale] = demanding("step_up").filter((rule) => !isMet(rule.effect.step_up, principal, now));
    if (args !== undefined) {
      if (factor && !secondFactor(principal.amr)) return deny("mfa_required", factor);
      const signIn = () => unitedStepUp([...demanding("step_up").map((rule) => rule.effect.step_up), factor && { mfa: true }]);
      if (stale) return { ...deny("step_up_required", stale), stepUp: signIn() };
    }
    const unmet = demanding("require").find((rule) => !call.certain(rule.effect.require));
    if (unmet) return deny("requirement_not_met", unmet);

    const holding = demanding("approval");
    const bytes = demanding("max_response_bytes").map((rule) => rule.effect.max_response_bytes);
    return {
      outcome: holding.length ? "hold" : "allow",
      reason: holding.length ? "approval_required" : "allowed",
      server,
      tool,
      rule: grant,
      holding,
      approval: unitedApproval(holding, server),
      limits: demanding("rate_limit"), // count the call with each, when it runs
      budgets: demanding("token_budget"),
      maxResponseBytes: bytes.length ? Math.min(...bytes) : undefined,
    };
  }

  #rules(list, tool) {
    return (tool[list] ?? []).map((place) => this.document[list][place]);
  }

  /** Evaluates expressions for one call. Its variables are made when the first expression asks for them. */
  #evaluator(server, tool, { principal, now, arguments: args }) {
    let made;
    const evaluate = (expression, { onError, inList }) => {
      if (!expression) return true;
      const isTrue = this.#expressions.get(expression);
      if (args === undefined && isTrue.usesArguments) return inList;
      try {
        return isTrue((made ??= variables({ args, principal, tool, server, now })));
      } catch {
        return onError;
      }
    };
    return {
      certain: (expression) => evaluate(expression, { onError: false, inList: true }),
      possible: (expression) => evaluate(expression, { onError: true, inList: false }),
    };
  }
}

// --- Subjects ------------------------------------------------------------------------------------------------------

const certain = false;
const possible = true;

/** Whether a guardrail is about a caller. Whom it excepts has to be certain. */
function restrains(rule, { principal, now, arguments: args }) {
  const { tainted } = rule.effect;
  if (tainted && (args === undefined || !isTainted(tainted, principal.taint, now))) return false; // a list does not tell
  if (!matches(rule.subject, principal, possible)) return false;
  return !rule.except || !matches(rule.except, principal, certain);
}

/** Whether something of such a server came into the session of a caller, by label when; or nobody knows. */
function isTainted({ labels, seconds = 3600 }, taint, now) {
  if (!taint) return true;
  return Object.entries(taint).some(([label, at]) => now - new Date(at) < seconds * 1000 && labels.some((p) => glob(p, label)));
}

/** Whether all the kinds that a subject names match; unknown is the answer where the caller did not say. */
function matches(subject, principal, unknown) {
  if (subject.everyone) return true;
  const { users, groups, agents, models } = subject;
  return (
    (!users || (principal.subject ? users.some((p) => matchesUser(p, principal)) : unknown)) &&
    (!groups || (principal.groups ? groups.some((p) => principal.groups.some((g) => g !== "" && glob(p, g))) : unknown)) &&
    (!agents || (principal.agent ? agents.some((p) => glob(p, principal.agent)) : unknown)) &&
    (!models || matchesModel(subject, principal, unknown))
  );
}

/** Only an attested model is known. A grant may say that a declared one will do. */
function matchesModel({ models, allow_declared }, { model, model_assurance }, unknown) {
  const known = model && (model_assurance === "attested" || (model_assurance === "declared" && allow_declared && unknown === certain));
  return known ? models.some((p) => glob(p, model)) : unknown;
}

/** Times are RFC 3339 in UTC, so they compare as text once they have the same digits. */
function inWindow({ not_before, not_after }, now) {
  const comparable = (time) => time.replace("Z", "").padEnd(20, ".").padEnd(29, "0");
  const at = comparable(now.toISOString());
  return (!not_before || comparable(not_before) <= at) && (!not_after || at < comparable(not_after));
}

// --- Several at once -----------------------------------------------------------------------------------------------

/** The stricter of two verdicts: a resource may be that of several templates. */
function stricter(a, b) {
  if (!a) return b;
  const severities = ["allow", "hold", "step_up_required", "mfa_required", "deny"];
  const severity = ({ outcome, reason }) => severities.indexOf(severities.includes(reason) ? reason : outcome);
  const kept = severity(b) > severity(a) ? b : a;
  if (kept.stepUp && b.stepUp) return { ...kept, stepUp: unitedStepUp([a.stepUp, b.stepUp]) };
  if (kept.outcome === "deny") return kept;
  const both = (list) => [...new Set([...a[list], ...b[list]])].sort((x, y) => (x.id < y.id ? -1 : 1));
  const holding = both("holding");
  return {
    ...kept,
    holding,
    approval: unitedApproval(holding, kept.server),
    limits: both("limits"),
    budgets: both("budgets"),
    maxResponseBytes: Math.min(a.maxResponseBytes ?? Infinity, b.maxResponseBytes ?? Infinity),
  };
}
