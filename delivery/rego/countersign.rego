# What becomes of a call, by the policy of one audience of Countersign.
#
# input     server, kind and name of what is called; principal as policy.md says it, where what is absent, null or of
#           another type is not known; now, an RFC 3339 time: the engine's own where it is absent
# decision  outcome (allow, hold, deny), reason, and obligations: what the gateway has to see to before it lets the
#           call run. Nobody but the gateway can count a call, or have it approved
# allow     true where the call may run and nothing is left to do
#
# It means what Countersign's own evaluator means, save that it knows nothing of conditions: grants with one are not in
# the data, guardrails with one always match, and what must be true never is. So it is never looser.
package countersign

import data.countersign_policy as policy

default allow := false

allow if {
	decision.outcome == "allow"
	decision.obligations == {}
}

default decision := {"outcome": "deny", "reason": "no_policy", "obligations": {}}

decision := denied("invalid_input") if not well_formed

else := denied("unknown_server") if not policy.servers[input.server].state

else := denied("suspended") if policy.servers[input.server].state != "active"

else := denied("unknown_tool") if count(offered) == 0

else := object.union(denial, {"outcome": "deny", "obligations": {}}) if denial

else := {"outcome": "allow", "reason": "allowed", "obligations": {}} if not restrained

else := {"outcome": "hold", "reason": "approval_required", "obligations": obligations} if obligations.approval

else := {"outcome": "allow", "reason": "allowed", "obligations": obligations}

denied(reason) := {"outcome": "deny", "reason": reason, "obligations": {}}

well_formed if {
	is_string(input.server)
	is_string(input.kind)
	is_string(input.name)
	is_number(now)
}

now := time.parse_rfc3339_ns(input.now) if input.now

else := time.now_ns() if not input.now

# What of the server is called: what has the very name, else each template that makes the URI, in order.
offered := [input.name] if is_boolean(policy.servers[input.server].offers[input.kind][input.name].held)

else := [template.name |
	input.kind == "resource"
	some template in policy.servers[input.server].templates
	regex.match(template.expression, input.name)
]

denials := [why | some name in offered; why := refusal(name)]

# Of several templates the strictest verdict counts; a sign-in is asked for only where nothing else is in the way, and a
# second factor before another one.
denial := others[0] if {
	others := [why | some why in denials; not why.reason in {"mfa_required", "step_up_required"}]
	count(others) > 0
}

else := factors[0] if {
	factors := [why | some why in denials; why.reason == "mfa_required"]
	count(factors) > 0
}

else := object.union(denials[0], {"step_up": sign_in({why.step_up | some why in denials})}) if count(denials) > 0

refusal(name) := {"reason": "drifted"} if policy.servers[input.server].offers[input.kind][name].held

else := {"reason": "no_grant"} if not identified

else := {"reason": "denied_by_guardrail", "guardrail": id} if id := min(matching[name].deny)

else := {"reason": "no_grant"} if not granted(name)

else := {"reason": "mfa_required", "guardrail": id} if {
	not second_factor
	id := min(matching[name].mfa)
}

else := {"reason": "step_up_required", "guardrail": id, "step_up": wanted} if {
	id := min({id | some id in matching[name].step_up; not signed_in(policy.guardrails[id].step_up)})
	factors := {{"mfa": true} | some _ in matching[name].mfa}
	wanted := sign_in({policy.guardrails[id].step_up | some id in matching[name].step_up} | factors)
}

else := {"reason": "requirement_not_met", "guardrail": id} if id := min(matching[name].require)

# The guardrails that match the call, for each name that is offered by what they do.
matching := {name: effects |
	some name in offered
	effects := {effect: ids |
		some effect, all in policy.servers[input.server].offers[input.kind][name].guardrails
		ids := {id | some id in all; restrains(id)}
		count(ids) > 0
	}
}

restrained if {
	some name in offered
	count(matching[name]) > 0
}

demanded(effect) := ids if {
	ids := {id | some name in offered; some id in matching[name][effect]}
	count(ids) > 0
}

restrains(id) if {
	possible(policy.guardrails[id].subject)
	not excepted(id)
}

excepted(id) if known(policy.guardrails[id].except)

# What is left to do, from the guardrails of everything that is offered.
obligations["approval"] := strictest(demanded("approval"))

obligations["rate_limits"] := [limit |
	some id in demanded("rate_limit")
	limit := object.union(policy.guardrails[id].rate_limit, {"guardrail": id})
] if demanded("rate_limit")

obligations["token_budgets"] := [budget |
	some id in demanded("token_budget")
	budget := object.union(policy.guardrails[id].token_budget, {"guardrail": id})
] if demanded("token_budget")

obligations["max_response_bytes"] := min({policy.guardrails[id].max_response_bytes | some id in demanded("max_response_bytes")})

# The union of approvals: every combination of a way of each, with the greatest quorum and the teams that all of them
# accept. What any asks for is asked for, and only what all allow is allowed. Where combinations would be more than 16
# only that of the first ways is left, as in Countersign.
strictest(ids) := object.union_n([
	approved_by(united_ways(ids), ids),
	{
		"guardrails": ids,
		"deny_quorum": min({policy.guardrails[id].approval.deny_quorum | some id in ids}),
		"pending_seconds": pending(ids),
		"evidence": true in {policy.guardrails[id].approval.evidence | some id in ids},
		"not_granter": true in {policy.guardrails[id].approval.not_granter | some id in ids},
	},
	{member: value | some member in {"step_up", "scope", "fallback", "break_glass"}; value := more(member, ids)},
])

approved_by(ways, _) := object.union(ways[0], {"alternatives": array.slice(ways, 1, count(ways))}) if count(ways) > 0

approved_by([], ids) := {
	"quorum": max({policy.guardrails[id].approval.ways[0].quorum | some id in ids}),
	"teams": [], "owning_team": false, "alternatives": [],
}

owner := policy.servers[input.server].team

pending(ids) := min({policy.guardrails[id].approval.pending_seconds | some id in ids})

more("step_up", ids) := voters_sign_in(ids)

more("scope", ids) := {
	"max_uses": min({policy.guardrails[id].approval.scope.max_uses | some id in ids}),
	"max_seconds": min({policy.guardrails[id].approval.scope.max_seconds | some id in ids}),
	"free": intersection({{name | some name in policy.guardrails[id].approval.scope.free} | some id in ids}),
} if {
	every id in ids { policy.guardrails[id].approval.scope }
}

more("fallback", ids) := object.union(way, {"after_seconds": after}) if {
	every id in ids { policy.guardrails[id].approval.fallback }
	not impossible(ids)
	after := max({policy.guardrails[id].approval.fallback.after_seconds | some id in ids})
	after < pending(ids)
	way := joined([voters(policy.guardrails[id].approval.fallback) | some id in ids])
	count(way.teams) > 0
}

more("break_glass", ids) := {"teams": teams, "owning_team": owner in teams, "review_seconds": review} if {
	every id in ids { policy.guardrails[id].approval.break_glass }
	not impossible(ids)
	teams := intersection({team_ids(policy.guardrails[id].approval.break_glass) | some id in ids})
	count(teams) > 0
	review := min({policy.guardrails[id].approval.break_glass.review_seconds | some id in ids})
}

# Nobody can sign in so that all are content.
impossible(ids) if count(voters_sign_in(ids).acr) == 0

voters_sign_in(ids) := sign_in({policy.guardrails[id].approval.step_up | some id in ids})

united_ways(ids) := [] if impossible(ids)

else := [way |
	some i, way in ways
	count(way.teams) > 0
	count({j | some j, other in ways; needless(i, way, j, other)}) == 0
] if {
	ways := [joined(pick) | some pick in picks(distinct(sort(ids)))]
}

distinct(ids) := [list |
	some i, id in ids
	list := ways_of(id)
	count({j | some j, other in ids; j < i; ways_of(other) == list}) == 0
]

ways_of(id) := [voters(way) | some way in policy.guardrails[id].approval.ways]

# One way of each list, in all combinations: as one counts, the last list fastest.
picks(lists) := [[list[0] | some list in lists]] if product([count(list) | some list in lists]) > 16

else := [pick |
	some n in numbers.range(0, product([count(list) | some list in lists]) - 1)
	pick := [list[floor(n / stride(lists, i)) % count(list)] | some i, list in lists]
]

stride(lists, i) := product([count(list) | some list in array.slice(lists, i + 1, count(lists))])

joined(ways) := {"quorum": max([way.quorum | some way in ways]), "teams": teams, "owning_team": owner in teams} if {
	teams := intersection({way.teams | some way in ways})
}

needless(i, way, j, other) if {
	j < i
	easier(other, way)
}

needless(i, way, j, other) if {
	j > i
	easier(other, way)
	not easier(way, other)
}

easier(a, b) if {
	a.quorum <= b.quorum
	count(b.teams - a.teams) == 0
}

voters(way) := {"quorum": way.quorum, "teams": team_ids(way)}

team_ids(way) := {team | some team in way.teams} | {owner |
	way.owning_team
	owner != ""
}

# What all of some ask of a sign-in. A list of context classes that is empty is met by none.
sign_in(all) := {member: value | some member in {"max_age_seconds", "mfa", "acr"}; value := asked(member, all)} if count(all) > 0

asked("max_age_seconds", all) := min({one.max_age_seconds | some one in all})

asked("mfa", all) if {
	some one in all
	one.mfa
}

asked("acr", all) := intersection(lists) if {
	lists := {{class | some class in one.acr} | some one in all; one.acr}
	count(lists) > 0
}

signed_in(asks) if {
	lately(asks)
	with_factors(asks)
	in_class(asks)
}

lately(asks) if not asks.max_age_seconds

lately(asks) if {
	age := now - time.parse_rfc3339_ns(input.principal.auth_time)
	age <= asks.max_age_seconds * 1000000000
	age >= -60000000000 # clocks differ by a little
}

with_factors(asks) if not asks.mfa

with_factors(_) if second_factor

in_class(asks) if not asks.acr

in_class(asks) if {
	input.principal.acr != ""
	input.principal.acr in asks.acr
}

# Whether a grant lets the caller have it. A grant that needs nothing but one name is found by that name (plain); one
# that needs more is found by a name and looked at (keyed); what no exact name leads to is looked at always (open).
granted(name) if {
	some reach in policy.servers[input.server].offers[input.kind][name].reaches
	reached(reach)
}

reached(reach) if policy.reaches[reach].everyone

reached(reach) if {
	some key in caller
	policy.reaches[reach].plain[key[0]][key[1]]
}

reached(reach) if {
	some key in caller
	some id in policy.reaches[reach].keyed[key[0]][key[1]]
	grants(id)
}

reached(reach) if {
	some id in policy.reaches[reach].open
	grants(id)
}

grants(id) if {
	grant := policy.grants[id]
	known(grant.subject)
	begun(grant)
	lasting(grant)
}

begun(grant) if not grant.not_before

begun(grant) if now >= grant.not_before

lasting(grant) if not grant.not_after

lasting(grant) if now < grant.not_after

# The subject of a grant or an exception: only what is known matches.
known(i) if policy.subjects[i].everyone

known(i) if {
	count(policy.subjects[i].kinds) > 0
	every kind in policy.subjects[i].kinds { known_in(kind, i) }
}

# The subject of a guardrail: what is not known matches.
possible(i) if policy.subjects[i].everyone

possible(i) if {
	count(policy.subjects[i].kinds) > 0
	every kind in policy.subjects[i].kinds { possible_in(kind, i) }
}

possible_in(kind, _) if kind in unknown

possible_in(kind, i) if known_in(kind, i)

known_in("users", i) if policy.subjects[i].users.exact[subject]

known_in("users", i) if policy.subjects[i].users.qualified[issuer][subject]

known_in("users", i) if {
	some pattern in policy.subjects[i].users.patterns
	regex.match(pattern.subject, subject)
	regex.match(pattern.issuer, issuer)
}

known_in("groups", i) if {
	some group in groups
	policy.subjects[i].groups.exact[group]
}

known_in("groups", i) if {
	some group in groups
	some pattern in policy.subjects[i].groups.patterns
	regex.match(pattern, group)
}

known_in("agents", i) if policy.subjects[i].agents.exact[agent]

known_in("agents", i) if {
	some pattern in policy.subjects[i].agents.patterns
	regex.match(pattern, agent)
}

known_in("models", i) if {
	vouched(i)
	policy.subjects[i].models.exact[model]
}

known_in("models", i) if {
	vouched(i)
	some pattern in policy.subjects[i].models.patterns
	regex.match(pattern, model)
}

vouched(_) if assurance == "attested"

vouched(i) if {
	assurance == "declared"
	policy.subjects[i].allow_declared
}

unknown contains "users" if not subject

unknown contains "groups" if not groups

unknown contains "agents" if not agent

unknown contains "models" if not model

unknown contains "models" if assurance != "attested"

# The names by which grants are found.
caller contains ["user", subject]

caller contains [concat("|", ["user", issuer]), subject]

caller contains ["group", group] if some group in groups

caller contains ["agent", agent]

caller contains ["model", model] if assurance == "attested"

caller contains ["declared", model] if assurance in {"attested", "declared"}

identified if is_object(input.principal)

# What is known of the caller; undefined is not known.
subject := told("subject") if is_string(issuer)

issuer := "" if object.get(input.principal, "issuer", null) == null

else := input.principal.issuer

agent := told("agent")

model := told("model")

assurance := input.principal.model_assurance if is_string(input.principal.model_assurance)

else := ""

groups := {group | some group in input.principal.groups; group != ""} if {
	is_array(input.principal.groups)
	every group in input.principal.groups { is_string(group) }
}

told(what) := input.principal[what] if {
	is_string(input.principal[what])
	input.principal[what] != ""
}

# More than one factor: amr says mfa, or has methods of two different factors (RFC 8176).
second_factor if "mfa" in input.principal.amr

second_factor if count({factor_of[method] | some method in input.principal.amr}) > 1

factor_of := {
	"pwd": "knowledge", "pin": "knowledge", "kba": "knowledge",
	"otp": "possession", "hwk": "possession", "swk": "possession", "sc": "possession", "sms": "possession",
	"tel": "possession", "pop": "possession",
	"face": "inherence", "fpt": "inherence", "iris": "inherence", "retina": "inherence", "vbm": "inherence",
}
