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

# Of several templates the strictest verdict counts; a second factor is asked for only where nothing else is in the way.
denial := others[0] if {
	others := [why | some why in denials; why.reason != "mfa_required"]
	count(others) > 0
}

else := denials[0] if count(denials) > 0

refusal(name) := {"reason": "drifted"} if policy.servers[input.server].offers[input.kind][name].held

else := {"reason": "no_grant"} if not identified

else := {"reason": "denied_by_guardrail", "guardrail": id} if id := min(matching[name].deny)

else := {"reason": "no_grant"} if not granted(name)

else := {"reason": "mfa_required", "guardrail": id} if {
	not second_factor
	id := min(matching[name].mfa)
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

# The union of approvals: the greatest quorum, the least deny quorum and time, and the teams that all of them accept.
strictest(ids) := {
	"guardrails": ids,
	"quorum": max({policy.guardrails[id].approval.quorum | some id in ids}),
	"deny_quorum": min({policy.guardrails[id].approval.deny_quorum | some id in ids}),
	"pending_seconds": min({policy.guardrails[id].approval.pending_seconds | some id in ids}),
	"teams": teams,
	"owning_team": owner in teams,
} if {
	owner := policy.servers[input.server].team
	teams := intersection({voters(id, owner) | some id in ids})
}

voters(id, owner) := {team | some team in policy.guardrails[id].approval.teams} | {owner |
	policy.guardrails[id].approval.owning_team
	owner != ""
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
