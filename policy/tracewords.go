package policy

import (
	"fmt"
	"slices"
	"strings"
)

const momentForm = "2006-01-02 15:04 UTC"

// Words says the step for people to read: "com.acme/orders is active", "is for group support", "only with the approval
// of one person of the owning team". The name of the rule is not part of it.
func (s Step) Words(w Wording) string {
	switch {
	case s.Check != "":
		return s.checkWords()
	case s.Miss != "":
		return s.missWords()
	case s.Grant != nil:
		return s.Grant.Subject.Words() + s.conditionWords()
	}
	return s.Guardrail.Effect.Words(w) + s.requireWords() + s.conditionWords()
}

func (s Step) checkWords() string {
	switch {
	case s.server == nil:
		return "there is no such server"
	case s.Check == "server" && s.Ruling == RulingPass:
		return visible(s.server.Name) + " is active"
	case s.Check == "server":
		return visible(s.server.Name) + " is suspended"
	case s.Tool == nil:
		return visible(s.server.Name) + " has nothing of that name that is pinned"
	case s.Check == "tool":
		return fmt.Sprintf("%s %s is known, %s", s.Tool.Kind, visible(s.Tool.Name), riskWords(s.Tool.Risk))
	case s.Ruling == RulingPass:
		return "what is offered is what is pinned"
	}
	return "what is offered is not what is pinned, so it is held"
}

func (s Step) missWords() string {
	switch s.Miss {
	case MissExcept:
		return "excepts " + s.Guardrail.Except.Words()
	case MissBefore:
		return "begins " + s.Grant.NotBefore.UTC().Format(momentForm)
	case MissAfter:
		return "ended " + s.Grant.NotAfter.UTC().Format(momentForm)
	case MissCondition:
		return strings.TrimPrefix(s.conditionWords(), ", and ")
	case MissTaint:
		return "holds only " + s.Guardrail.Effect.Tainted.Words()
	case MissNobody:
		return "names nobody"
	case MissUser, MissGroup, MissAgent, MissModel:
	}
	if s.Grant != nil {
		return "is for " + s.Grant.Subject.Words()
	}
	return "is for " + s.Guardrail.Subject.Words()
}

func (s Step) conditionWords() string {
	if s.Condition == nil {
		return ""
	}
	return ", and " + s.Condition.Words()
}

func (s Step) requireWords() string {
	if s.Require == nil {
		return ""
	}
	return ", which" + strings.TrimPrefix(s.Require.Words(), visible(s.Require.Expression))
}

// Words says what became of the expression: "args.amount <= 100 is false".
func (e Evaluation) Words() string {
	switch {
	case e.Error != "":
		return fmt.Sprintf("%s cannot be evaluated: %s", visible(e.Expression), visible(e.Error))
	case e.Value:
		return visible(e.Expression) + " is true"
	}
	return visible(e.Expression) + " is false"
}

// need says what an expression that is not true would need: "meet args.amount <= 100, which is false".
func (e Evaluation) need() string {
	if e.Error != "" {
		return fmt.Sprintf("meet %s, which cannot be evaluated: %s", visible(e.Expression), visible(e.Error))
	}
	return "meet " + visible(e.Expression) + ", which is false"
}

// need says what the caller of r needs so that the part of g that misses would match.
func (g *Grant) need(miss Miss, r *Request) string {
	p := r.Principal
	of := func(noun string, names []string) string { return noun + " " + oneOf(names) }
	switch miss {
	case MissUser:
		if p.Subject == "" {
			return "be " + of("user", g.Subject.Users) + "; who this is, is not known"
		}
		return "be " + of("user", g.Subject.Users)
	case MissGroup:
		if p.Groups == nil {
			return "be in " + of("group", g.Subject.Groups) + "; the groups of this caller are not known"
		}
		return "be in " + of("group", g.Subject.Groups)
	case MissAgent:
		return "call through " + of("agent", g.Subject.Agents)
	case MissModel:
		return "run " + of("model", g.Subject.Models) + g.modelNeed(p)
	case MissBefore:
		return "wait until " + g.NotBefore.UTC().Format(momentForm)
	case MissAfter:
		return "have called before " + g.NotAfter.UTC().Format(momentForm) + ", when it ended"
	case MissNobody:
		return "be named by it; it names nobody"
	case MissCondition, MissExcept, MissTaint:
	}
	return ""
}

// modelNeed says who has to vouch for the model.
func (g *Grant) modelNeed(p *Principal) string {
	switch {
	case g.Subject.AllowDeclared:
		return ""
	case p.Model != "" && p.ModelAssurance != Attested:
		return ", attested; that of this caller is not"
	}
	return ", attested"
}

// Words says what the caller needs: "be in group support, and call through agent cursor".
func (n Near) Words() string {
	needs := strings.Join(n.Needs, ", and ")
	if len(n.Elsewhere) == 0 {
		return needs
	}
	const most = 5
	reaches := "it reaches only " + strings.Join(shown(n.Elsewhere[:min(len(n.Elsewhere), most)]), ", ")
	if more := len(n.Elsewhere) - most; more > 0 {
		reaches += fmt.Sprintf(" and %d more", more)
	}
	if needs == "" {
		return reaches
	}
	return needs + "; " + reaches
}

func shown(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = visible(n)
	}
	return out
}

// voters is the approval with the owning team named once.
func (v Verdict) voters() Approval {
	a := *v.Approval
	others := func(owning bool, teams []string) []string {
		if !owning || v.Server == nil {
			return teams
		}
		return slices.DeleteFunc(slices.Clone(teams), func(t string) bool { return t == v.Server.Team })
	}
	a.Teams, a.Alternatives = others(a.OwningTeam, a.Teams), slices.Clone(a.Alternatives)
	for i := range a.Alternatives {
		way := &a.Alternatives[i]
		way.Teams = others(way.OwningTeam, way.Teams)
	}
	if a.Fallback != nil {
		f := *a.Fallback
		f.Teams = others(f.OwningTeam, f.Teams)
		a.Fallback = &f
	}
	if a.BreakGlass != nil {
		b := *a.BreakGlass
		b.Teams = others(b.OwningTeam, b.Teams)
		a.BreakGlass = &b
	}
	return a
}

// Words says the verdict in a sentence, such as "Denied: no grant allows it.", for people to read.
func (v Verdict) Words(w Wording) string {
	switch v.Reason {
	case ReasonAllowed:
		return "Allowed at once."
	case ReasonApprovalRequired:
		return "Held until it has the approval of " + v.voters().Words(w) + "."
	case ReasonUnknownServer:
		return "Denied: there is no such server here."
	case ReasonUnknownTool:
		return "Denied: the server has nothing of that name that is pinned."
	case ReasonSuspended:
		return "Denied: the server is suspended."
	case ReasonDrifted:
		return "Denied: what the server offers is not what is pinned."
	case ReasonDeniedByGuardrail:
		return "Denied by a guardrail."
	case ReasonNoGrant:
		return "Denied: no grant allows it."
	case ReasonMFARequired:
		return "Denied until the caller signs in with a second factor."
	case ReasonStepUpRequired:
		if v.StepUp != nil {
			return "Denied until the caller has " + v.StepUp.Words() + "."
		}
		return "Denied until the caller signs in again."
	case ReasonConditionNotMet:
		return "Denied: there is a grant, but its condition is not true."
	case ReasonRequirementNotMet:
		return "Denied: what a guardrail requires is not true."
	}
	return "Denied."
}
