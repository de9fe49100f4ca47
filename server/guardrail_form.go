package server

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"countersign/delivery"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// guardrailForm is the form of a guardrail as it was sent.
type guardrailForm struct{ ruleForm }

// guardrail is what the form says. Only an exception can rest on a model that is declared: without it a guardrail holds
// whatever is declared.
func (f guardrailForm) guardrail() registry.NewGuardrail {
	n := registry.NewGuardrail{
		Name: f.Get("name"), Subject: f.subject(""), Except: f.subject("except_"), Resource: f.resource(), Condition: f.condition(),
		Effect: f.effect(), Reason: f.Get("reason"),
	}
	n.Subject.Everyone, n.Except.AllowDeclared = f.Get("everyone") != "", f.Get("except_declared") != ""
	return n
}

// effect is what was chosen, in the sessions that were.
func (f guardrailForm) effect() policy.Effect {
	e := f.chosenEffect()
	if labels := lines(f.Get("tainted_labels")); len(labels) > 0 || f.Get("tainted_within") != "" {
		e.Tainted = &policy.Tainted{Labels: labels, Seconds: f.span("tainted_within")}
	}
	return e
}

// chosenEffect is what was chosen; fields of the others do not count.
func (f guardrailForm) chosenEffect() policy.Effect {
	switch f.Get("effect") {
	case "deny":
		return policy.Effect{Deny: true}
	case "mfa":
		return policy.Effect{MFA: true}
	case "rate_limit":
		return policy.Effect{RateLimit: &policy.RateLimit{Calls: f.number("calls"), Seconds: f.number("per")}}
	case "token_budget":
		return policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: f.number("tokens"), Seconds: f.number("tokens_per")}}
	case "response_limit":
		return policy.Effect{MaxResponseBytes: 1024 * int64(f.number("kilobytes"))}
	case "require":
		return policy.Effect{Require: strings.TrimSpace(f.Get("require"))}
	case "approval":
		return policy.Effect{Approval: f.approval()}
	case "step_up":
		return policy.Effect{StepUp: cmp.Or(f.stepUp("fresh_"), &policy.StepUp{})}
	}
	return policy.Effect{}
}

// complete says which part of the chosen effect is missing, where an effect without it would not be that one.
func (f guardrailForm) complete(teams []registry.Team) error {
	invalid := problem.New(problem.Invalid, "invalid_guardrail", "Nothing was changed.")
	switch {
	case f.Get("effect") == "require" && strings.TrimSpace(f.Get("require")) == "":
		invalid.Field("require", "Say what has to be true, as args.amount <= 100.")
	case f.Get("effect") == "response_limit" && f.number("kilobytes") <= 0:
		invalid.Field("kilobytes", "Write how many, from 1.")
	case slices.ContainsFunc(f.Values["approvers"], func(id string) bool {
		return !slices.ContainsFunc(teams, func(t registry.Team) bool { return t.ID == id })
	}):
		invalid.Field("approvers", "There is no such team.")
	default:
		return nil
	}
	return invalid
}

// draft is what saving the form would make of the rules.
func (f guardrailForm) draft(n registry.NewGuardrail) delivery.Draft {
	return delivery.Draft{Guardrails: []policy.SourceGuardrail{{
		Guardrail: policy.Guardrail{
			ID: f.Get("id"), Name: strings.TrimSpace(n.Name), Subject: n.Subject, Except: n.Except, Condition: n.Condition, Effect: n.Effect,
		},
		Resource: n.Resource,
	}}}
}

// periods are the times that limits count in.
func periods(seconds string) []web.Option {
	return chosen(seconds, web.Option{Value: "1", Label: "A second"}, web.Option{Value: "60", Label: "A minute"},
		web.Option{Value: "3600", Label: "An hour"}, web.Option{Value: "86400", Label: "A day"})
}

// periodsWith are the periods and, where the form has another, that one too: a change of something else keeps it.
func periodsWith(seconds string) []web.Option {
	options := periods(seconds)
	n, err := strconv.Atoi(seconds)
	if err == nil && n > 0 && !slices.ContainsFunc(options, func(o web.Option) bool { return o.Selected }) {
		options = append(options, web.Option{Value: seconds, Label: seconds + " seconds", Selected: true})
	}
	return options
}

func (f guardrailForm) view(teams []registry.Team) web.NewGuardrail {
	version, _ := strconv.ParseInt(f.Get("version"), 10, 64)
	view := web.NewGuardrail{
		ID: f.Get("id"), Version: version, Name: f.Get("name"), Reason: f.Get("reason"), Who: f.subjectView(""), Except: f.subjectView("except_"), Rule: f.ruleView(),
		Effect: f.Get("effect"), Quorum: f.Get("quorum"), DenyQuorum: f.Get("deny_quorum"), Pending: f.Get("pending"),
		OwningTeam: f.Get("owning_team") != "", Calls: f.Get("calls"), Per: periodsWith(f.Get("per")),
		Tokens: f.Get("tokens"), TokensPer: periodsWith(f.Get("tokens_per")), Kilobytes: f.Get("kilobytes"), Require: f.Get("require"),
		TaintedLabels: f.Get("tainted_labels"), TaintedWithin: f.Get("tainted_within"),
	}
	view.Who.Everyone, view.Except.AllowDeclared = f.Get("everyone") != "", f.Get("except_declared") != ""
	view.Teams, view.Approval, view.Fresh = teamTicks(teams, f.Values["approvers"]), f.approvalView(teams), f.stepUpView("fresh_")
	return view
}

// formOfGuardrail is a guardrail as its form shows it.
func formOfGuardrail(g registry.Guardrail) guardrailForm {
	f := guardrailForm{ruleForm{url.Values{
		"id": {g.ID}, "version": {strconv.FormatInt(g.Version, 10)}, "name": {g.Name}, "condition": {g.Condition}, "reason": {g.Reason},
		"per": {"60"}, "tokens_per": {"3600"},
	}}}
	f.setSubject("", g.Subject)
	f.setSubject("except_", g.Except)
	f.setResource(g.Resource)
	f.setEffect(g.Effect)
	if g.Subject.Everyone {
		f.Set("everyone", "yes")
	}
	if g.Except.AllowDeclared {
		f.Set("except_declared", "yes")
	}
	return f
}

func (f guardrailForm) setEffect(e policy.Effect) {
	f.Set("effect", effectName(e))
	if t := e.Tainted; t != nil {
		f.Set("tainted_labels", strings.Join(t.Labels, "\n"))
		f.setSpan("tainted_within", t.Seconds)
	}
	switch {
	case e.Approval != nil:
		f.setApproval(e.Approval)
	case e.StepUp != nil:
		f.setStepUp("fresh_", e.StepUp)
	case e.RateLimit != nil:
		f.setNumber("calls", e.RateLimit.Calls)
		f.setNumber("per", e.RateLimit.Seconds)
	case e.TokenBudget != nil:
		f.setNumber("tokens", e.TokenBudget.Tokens)
		f.setNumber("tokens_per", e.TokenBudget.Seconds)
	case e.MaxResponseBytes > 0:
		f.setNumber("kilobytes", int(max(1, e.MaxResponseBytes/1024)))
	case e.Require != "":
		f.Set("require", e.Require)
	}
}

// effectName is the choice of the form that an effect is.
func effectName(e policy.Effect) string {
	switch {
	case e.Deny:
		return "deny"
	case e.MFA:
		return "mfa"
	case e.StepUp != nil:
		return "step_up"
	case e.RateLimit != nil:
		return "rate_limit"
	case e.TokenBudget != nil:
		return "token_budget"
	case e.MaxResponseBytes > 0:
		return "response_limit"
	case e.Require != "":
		return "require"
	}
	return "approval"
}

// effectField says which fields say what happens to a call.
var effectField = regexp.MustCompile(`^(effect|quorum|deny_quorum|pending|owning_team|approvers|evidence|not_granter|calls|per|tokens|tokens_per|kilobytes|require|tainted_[a-z]+|` +
	`(alt\d|fallback|vote|fresh|scope|glass)_[a-z_]+)$`)

// sameEffect says whether two forms show the same effect.
func (f guardrailForm) sameEffect(other guardrailForm) bool {
	return maps.Equal(f.shownEffect(), other.shownEffect())
}

// shownEffect is what stands in the fields of the effect; browsers write line breaks their own way.
func (f guardrailForm) shownEffect() map[string]string {
	shown := map[string]string{}
	for name, values := range f.Values {
		text := strings.TrimSpace(strings.ReplaceAll(strings.Join(values, "\x00"), "\r\n", "\n"))
		if effectField.MatchString(name) && text != "" {
			shown[name] = text
		}
	}
	return shown
}
