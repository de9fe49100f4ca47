package web

import "time"

func guardrailForm() NewGuardrail {
	rule := RuleForm{
		Servers: "com.stripe/payments", Labels: "env=prod", Names: "create_refund\ncancel_*", Condition: "args.amount > 100",
		Risks: []Option{{"read_only", "Read-only", false}, {"write", "Write", true}, {"destructive", "Destructive", true}}, Kinds: ruleForm().Kinds,
	}
	return NewGuardrail{
		Name: "Refunds need two people", Who: SubjectForm{Groups: "support-emea\nsupport-amer", Agents: "billing-agent"}, Except: SubjectForm{Groups: "finance-leads"},
		Rule: rule, Reason: "INC-2207", Effect: "approval", Quorum: "2", Pending: "30", OwningTeam: true, Teams: []Option{{"t1", "Commerce", false}, {"t2", "Payments", true}},
		Calls: "10", Per: periods("60"), Tokens: "50000", TokensPer: periods("3600"), Kilobytes: "64", Require: "args.amount <= 100", Foresight: foreseenChange(),
		Approval: emptyApprovalForm(), Fresh: StepUpForm{Prefix: "fresh_"},
	}
}

func periods(chosen string) []Option {
	return []Option{{"1", "A second", chosen == "1"}, {"60", "A minute", chosen == "60"}, {"3600", "An hour", chosen == "3600"}, {"86400", "A day", chosen == "86400"}}
}

func emptyApprovalForm() ApprovalForm {
	return ApprovalForm{
		Alternatives: []ApproversForm{{Prefix: "alt0_"}}, Fallback: ApproversForm{Prefix: "fallback_"}, Emergency: ApproversForm{Prefix: "glass_"},
		Voter: StepUpForm{Prefix: "vote_"},
	}
}

// wholeApprovalForm has everything filled in that is folded away.
func wholeApprovalForm(teams []Option) ApprovalForm {
	return ApprovalForm{
		Open: true, Alternatives: []ApproversForm{{"alt0_", "2", true, teams}, {"alt1_", "", false, teams}},
		Fallback: ApproversForm{"fallback_", "1", false, teams}, FallbackAfter: "90m", Evidence: true, NotGranter: true,
		Voter: StepUpForm{"vote_", "5m", true, "phr"}, ScopeUses: "5", ScopeWithin: "1h", ScopeFree: "path\nmode",
		Emergency: ApproversForm{"glass_", "", true, teams}, Review: "4h",
	}
}

// guardrailStories are the form of a guardrail, and the end of one that was not taken.
func guardrailStories() []story {
	p := page("Guardrails", "/guardrails")
	stopped, gone, reader := guardrails(), guardrails(), guardrails()
	stopped.Errors, stopped.Reason, stopped.Guardrails[1].Asked = Errors{"reason": "Say why, for the one who asks later."}, "x", true
	gone.Errors = Errors{"": "Somebody changed or ended this guardrail while you looked at it. Nothing was changed by you."}
	reader.May = false
	mistaken, limited, nothing, fresh := guardrailForm(), guardrailForm(), guardrailForm(), guardrailForm()
	mistaken.Errors = Errors{"subject": "Say who; tick everyone if you mean it.", "names": "Line 2 holds a control character.", "quorum": "Must be from 1 to 20.", "approvers": "Tick a team that decides: nobody could approve.", "except": "The exception cannot be used."}
	mistaken.Foresight, mistaken.Quorum, mistaken.OwningTeam = Foresight{}, "two", false
	limited.Effect = "rate_limit"
	nothing.Effect, nothing.Foresight, nothing.Teams = "mfa", Foresight{Foreseen: true}, nil
	required, budget, response := guardrailForm(), guardrailForm(), guardrailForm()
	required.Effect, required.ID, required.Version, required.Except = "require", "r3", 4, SubjectForm{}
	budget.Effect, response.Effect = "token_budget", "response_limit"
	ended := guardrails()
	ended.Ended, ended.Guardrails[0].EndedAt, ended.Guardrails[0].EndedBy = true, before(5*time.Hour), "Mei Tan"
	fresh = NewGuardrail{Approval: emptyApprovalForm(), Fresh: fresh.Fresh, Rule: RuleForm{Risks: fresh.Rule.Risks[:1], Kinds: fresh.Rule.Kinds}, Effect: "approval", Quorum: "1", OwningTeam: true, Teams: fresh.Teams, Per: fresh.Per}
	ways, again := guardrailForm(), guardrailForm()
	ways.Approval = wholeApprovalForm(ways.Teams)
	ways.Errors = Errors{"alt0_teams": "Tick a team: nobody could approve.", "fallback_after": "Write a time, as 5m or 90s, that is shorter than the request may wait."}
	again.TaintedLabels, again.TaintedWithin, again.Rule.ToolLabels = "untrusted\npartner", "2h", "egress"
	again.Effect, again.Fresh = "step_up", StepUpForm{Prefix: "fresh_", MaxAge: "5m", MFA: true, ACR: "phr, phrh"}
	return []story{
		{"guardrail form ways", NewGuardrailPage(p, ways)},
		{"guardrail form again", NewGuardrailPage(p, again)},
		{"guardrails ended", GuardrailsPage(p, ended)},
		{"guardrail form require", NewGuardrailPage(p, required)},
		{"guardrail form budget", NewGuardrailPage(p, budget)},
		{"guardrail form response", NewGuardrailPage(p, response)},
		{"guardrails reader", GuardrailsPage(p, reader)},
		{"guardrails stopped", GuardrailsPage(p, stopped)},
		{"guardrails changed", GuardrailsPage(p, gone)},
		{"guardrail-form", NewGuardrailPage(p, guardrailForm())},
		{"guardrail form fresh", NewGuardrailPage(p, fresh)},
		{"guardrail form limit", NewGuardrailPage(p, limited)},
		{"guardrail form nothing", NewGuardrailPage(p, nothing)},
		{"guardrail form mistake", NewGuardrailPage(p, mistaken)},
	}
}

func hostileGuardrails(p Page) []story {
	form, list := spoiled(guardrailForm()), spoiled(guardrails())
	form.Errors = Errors{"": hostile("")}
	for _, field := range guardrailFields {
		form.Errors[field] = hostile(field)
	}
	list.Errors, list.Guardrails[0].Asked = Errors{"": hostile(""), "reason": hostile("reason")}, true
	return []story{{"guardrails stopped", GuardrailsPage(p, list)}, {"guardrail-form", NewGuardrailPage(p, form)}}
}
