// What several guardrails demand of one call, as one demand: the strictest of all. Who may approve by it may approve by
// each of them alone.

const maxWays = 16;
const minute = 60_000;

/** What the approvals of some rules demand together of a call to a server, with all teams in full; undefined for none. */
export function unitedApproval(rules, server) {
  const all = rules.map((rule) => rule.effect.approval);
  if (!all.length) return undefined;
  const least = (member, usual) => Math.min(...all.map((one) => one[member] ?? usual));
  const pending_seconds = least("pending_seconds", 900);
  const step_up = unitedStepUp(all.map((one) => one.step_up));
  const somebody = !step_up?.acr || step_up.acr.length > 0;
  const ways = somebody ? waysOf(all, server) : [];
  const fallback = somebody ? together(all, "fallback", server) : undefined;
  return {
    quorum: Math.max(...all.map((one) => one.quorum)), // where nobody can approve
    teams: [],
    ...ways[0],
    alternatives: ways.length > 1 ? ways.slice(1) : undefined,
    deny_quorum: least("deny_quorum", 1),
    pending_seconds,
    evidence: all.some((one) => one.evidence) || undefined,
    not_granter: all.some((one) => one.not_granter) || undefined,
    step_up,
    scope: unitedScope(all),
    fallback: fallback && fallback.after_seconds < pending_seconds ? fallback : undefined,
    break_glass: somebody ? together(all, "break_glass", server) : undefined,
  };
}

/** Every combination of a way of each, without those that lead nowhere or that another makes needless. */
function waysOf(all, server) {
  const lists = all.map(({ quorum, owning_team, teams, alternatives = [] }) =>
    [{ quorum, owning_team, teams }, ...alternatives].map((way) => ({ quorum: way.quorum, teams: inFull(way, server) })),
  );
  const distinct = [...new Map(lists.map((list) => [JSON.stringify(list), list])).values()];
  const tooMany = distinct.reduce((product, list) => product * list.length, 1) > maxWays;
  const ways = distinct
    .map((list) => (tooMany ? list.slice(0, 1) : list))
    .reduce((united, list) => united.flatMap((a) => list.map((b) => both(a, b))));
  const easier = (a, b) => a.quorum <= b.quorum && b.teams.every((team) => a.teams.includes(team));
  return ways.filter(
    (way, i) => way.teams.length && !ways.some((other, j) => j !== i && easier(other, way) && (j < i || !easier(way, other))),
  );
}

const both = (a, b) => ({ quorum: Math.max(a.quorum, b.quorum), teams: a.teams.filter((team) => b.teams.includes(team)) });

/** Teams by id, the owning one among them. */
function inFull({ owning_team, teams = [] }, server) {
  return [...new Set(owning_team && server.team ? [...teams, server.team] : teams)].sort();
}

/** The fallback or the emergency way that all have. */
function together(all, member, server) {
  if (!all.every((one) => one[member])) return undefined;
  const { quorum, teams } = all
    .map((one) => ({ quorum: one[member].quorum ?? 1, teams: inFull(one[member], server) }))
    .reduce(both);
  if (!teams.length) return undefined;
  if (member === "fallback") return { after_seconds: Math.max(...all.map((one) => one.fallback.after_seconds)), quorum, teams };
  return { teams, review_seconds: Math.min(...all.map((one) => one.break_glass.review_seconds ?? 86_400)) };
}

/** How much more than the very call all let an approver approve. */
function unitedScope(all) {
  if (!all.every((one) => one.scope)) return undefined;
  const scopes = all.map((one) => one.scope);
  return {
    max_uses: Math.min(...scopes.map((one) => one.max_uses)),
    max_seconds: Math.min(...scopes.map((one) => one.max_seconds)),
    free: scopes.map((one) => one.free ?? []).reduce((a, b) => a.filter((name) => b.includes(name))),
  };
}

// --- Signing in again ----------------------------------------------------------------------------------------------

/** What all ask of a sign-in. A list of context classes that is empty is met by none. */
export function unitedStepUp(all) {
  const asked = all.filter(Boolean);
  if (!asked.length) return undefined;
  const ages = asked.map((one) => one.max_age_seconds).filter(Boolean);
  const classes = asked.map((one) => one.acr).filter(Boolean);
  return {
    max_age_seconds: ages.length ? Math.min(...ages) : undefined,
    mfa: asked.some((one) => one.mfa) || undefined,
    acr: classes.length ? classes.reduce((a, b) => a.filter((one) => b.includes(one))) : undefined,
  };
}

/** Whether a caller signed in as is asked for. What is not known is not so. */
export function isMet({ max_age_seconds: most, mfa, acr }, { auth_time, amr, acr: theirs }, now) {
  const age = now - Date.parse(auth_time); // NaN where it is not known, which is neither more nor less than anything
  if (most && !(age <= most * 1000 && age >= -minute)) return false;
  if (mfa && !secondFactor(amr)) return false;
  return !acr || (Boolean(theirs) && acr.includes(theirs));
}

const factors = {
  knows: ["pwd", "pin", "kba", "mfa"], // mfa: the provider vouches for two, whichever they were
  has: ["otp", "hwk", "swk", "sc", "sms", "tel", "pop", "mfa"],
  is: ["face", "fpt", "iris", "retina", "vbm"],
};

/** Whether the methods of the caller's token (amr, RFC 8176) prove two different things. */
export function secondFactor(amr = []) {
  return Object.values(factors).filter((methods) => methods.some((m) => amr.includes(m))).length > 1;
}
