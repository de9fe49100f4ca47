package server

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// guardrailForm is the form of a guardrail as it was sent.
type guardrailForm struct{ url.Values }

func (f guardrailForm) guardrail() registry.NewGuardrail {
	return registry.NewGuardrail{
		Name: f.Get("name"), Subject: f.subject(""), Except: f.subject("except_"), Resource: f.resource(), Effect: f.effect(), Reason: f.Get("reason"),
	}
}

// subject is whom a guardrail holds for, or with a prefix whom it does not. Only an exception can rest on a model that
// is declared: without it a guardrail holds whatever is declared.
func (f guardrailForm) subject(prefix string) policy.Subject {
	return policy.Subject{
		Everyone: prefix == "" && f.Get("everyone") != "", AllowDeclared: prefix != "" && f.Get("except_declared") != "",
		Users: lines(f.Get(prefix + "users")), Groups: lines(f.Get(prefix + "groups")),
		Agents: lines(f.Get(prefix + "agents")), Models: lines(f.Get(prefix + "models")),
	}
}

func (f guardrailForm) resource() policy.Resource {
	resource := resourceOf(f.Values)
	resource.Labels = lines(f.Get("labels"))
	return resource
}

// effect is what was chosen; fields of the others do not count.
func (f guardrailForm) effect() policy.Effect {
	switch f.Get("effect") {
	case "deny":
		return policy.Effect{Deny: true}
	case "mfa":
		return policy.Effect{MFA: true}
	case "rate_limit":
		return policy.Effect{RateLimit: &policy.RateLimit{Calls: f.number("calls"), Seconds: f.number("per")}}
	case "approval":
		return policy.Effect{Approval: &policy.Approval{
			Quorum: f.number("quorum"), DenyQuorum: f.number("deny_quorum"), PendingSeconds: 60 * f.number("pending"),
			OwningTeam: f.Get("owning_team") != "", Teams: f.Values["approvers"],
		}}
	}
	return policy.Effect{}
}

// number is what stands in a field, 0 when it is empty, and a number that nothing accepts when it is none.
func (f guardrailForm) number(name string) int {
	text := strings.TrimSpace(f.Get(name))
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n > 1e7 {
		return -1
	}
	return int(n)
}

// knows fails when the form names a team that is not there: nobody could approve.
func (f guardrailForm) knows(teams []registry.Team) error {
	for _, id := range f.Values["approvers"] {
		if !slices.ContainsFunc(teams, func(t registry.Team) bool { return t.ID == id }) {
			return problem.New(problem.Invalid, "invalid_guardrail", "The guardrail was not created. Nothing was changed.").
				Field("approvers", "There is no such team.")
		}
	}
	return nil
}

func (f guardrailForm) view(teams []registry.Team) web.NewGuardrail {
	who := func(prefix string) web.SubjectForm {
		return web.SubjectForm{Users: f.Get(prefix + "users"), Groups: f.Get(prefix + "groups"), Agents: f.Get(prefix + "agents"), Models: f.Get(prefix + "models")}
	}
	view := web.NewGuardrail{
		Name: f.Get("name"), Reason: f.Get("reason"), Who: who(""), Except: who("except_"),
		Servers: f.Get("servers"), Labels: f.Get("labels"), Names: f.Get("names"), Risks: riskTicks(f.Values), Kinds: kindTicks(f.Values),
		Effect: f.Get("effect"), Quorum: f.Get("quorum"), DenyQuorum: f.Get("deny_quorum"), Pending: f.Get("pending"),
		OwningTeam: f.Get("owning_team") != "", Calls: f.Get("calls"),
		Per: chosen(f.Get("per"), web.Option{Value: "1", Label: "A second"}, web.Option{Value: "60", Label: "A minute"},
			web.Option{Value: "3600", Label: "An hour"}, web.Option{Value: "86400", Label: "A day"}),
	}
	view.Who.Everyone, view.Except.AllowDeclared = f.Get("everyone") != "", f.Get("except_declared") != ""
	for _, team := range teams {
		view.Teams = append(view.Teams, web.Option{Value: team.ID, Label: team.Name, Selected: slices.Contains(f.Values["approvers"], team.ID)})
	}
	return view
}

// guardrailFields says under which field of the form an error of the policy belongs.
var guardrailFields = map[string]string{
	"effect.approval.quorum": "quorum", "effect.approval.deny_quorum": "deny_quorum", "effect.approval.pending_seconds": "pending",
	"effect.approval.teams": "approvers", "effect.rate_limit.calls": "calls", "effect.rate_limit.seconds": "per",
	"subject.everyone": "subject", "resource": "servers",
}

var lineOf = regexp.MustCompile(`^(.*)\[(\d+)\]$`)

// guardrailErrors puts each error under its field, in words for the one who looks at the form.
func guardrailErrors(err error) (errs web.Errors, status int, ok bool) {
	found, status, ok := formErrors(err, nil)
	if !ok {
		return nil, status, false
	}
	errs = web.Errors{}
	for path, message := range found {
		_, inner, _ := strings.Cut(path, ".")
		message = strings.TrimPrefix(message, inner+" ")
		if at := lineOf.FindStringSubmatch(path); at != nil {
			line, _ := strconv.Atoi(at[2])
			path, message = at[1], "Line "+strconv.Itoa(line+1)+" "+message
		}
		field, renamed := guardrailFields[path]
		if !renamed {
			field = path[strings.LastIndexByte(path, '.')+1:]
		}
		errs[field] = guardrailWords(field, message)
	}
	return errs, status, true
}

// guardrailWords says in the words of the form what the policy says in its own.
func guardrailWords(field, message string) string {
	switch {
	case field == "servers" && strings.HasPrefix(message, "or labels"):
		return "Name servers or labels; * is all."
	case field == "approvers" && strings.HasPrefix(message, "or owning_team"):
		return "Tick a team that decides: nobody could approve."
	case field == "subject" && strings.HasPrefix(message, "cannot be said"):
		return "Either everyone or those you name, not both."
	case field == "subject":
		return "Say who; tick everyone if you mean it."
	case field == "effect":
		return "Choose what happens to the call."
	}
	if message == "" {
		return message
	}
	return strings.ToUpper(message[:1]) + message[1:]
}
