package web

func guardrailForm() NewGuardrail {
	return NewGuardrail{
		Name: "Refunds need two people", Who: SubjectForm{Groups: "support-emea\nsupport-amer", Agents: "billing-agent"}, Except: SubjectForm{Groups: "finance-leads"},
		Servers: "com.stripe/payments", Labels: "env=prod", Names: "create_refund\ncancel_*", Reason: "INC-2207",
		Risks:  []Option{{"read_only", "Read-only", false}, {"write", "Write", true}, {"destructive", "Destructive", true}},
		Kinds:  []Option{{"tool", "Tools", false}, {"prompt", "Prompts", false}, {"resource", "Resources", false}},
		Effect: "approval", Quorum: "2", Pending: "30", OwningTeam: true, Teams: []Option{{"t1", "Commerce", false}, {"t2", "Payments", true}},
		Calls: "10", Per: []Option{{"1", "A second", false}, {"60", "A minute", true}, {"3600", "An hour", false}, {"86400", "A day", false}},
		Preview: grantForm().Preview, Previewed: true,
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
	mistaken.Previewed, mistaken.Preview, mistaken.Quorum, mistaken.OwningTeam = false, nil, "two", false
	limited.Effect = "rate_limit"
	nothing.Effect, nothing.Preview, nothing.Teams = "mfa", nil, nil
	fresh = NewGuardrail{Risks: fresh.Risks[:1], Kinds: fresh.Kinds, Effect: "approval", Quorum: "1", OwningTeam: true, Teams: fresh.Teams, Per: fresh.Per}
	return []story{
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
