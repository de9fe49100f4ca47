package policy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/policy"
)

var equateEmpty = cmpopts.EquateEmpty()

// The oracle decides straight from the source, rule by rule, with no compilation
// and no index. It is slow and plain, and shares no code with the package.

type oracleVerdict struct {
	Outcome  policy.Outcome
	Reason   policy.Reason
	Rules    []string // ids of the guardrails that deny (the first) or hold (all)
	Approval *policy.Approval
	StepUp   *policy.StepUp
	Limits   []string // ids of the guardrails that count the call
	Budgets  []string // and what it costs
	Response int64    // most bytes of a result
}

func oracle(src policy.Source, r policy.Request) oracleVerdict {
	for _, s := range src.Servers {
		if s.Name != r.Server {
			continue
		}
		if s.State != policy.Active {
			return oracleVerdict{Reason: policy.ReasonSuspended}
		}
		for _, t := range s.Tools {
			if t.Kind == r.Kind && t.Name == r.Name {
				return oracleTool(src, s, t, r)
			}
		}
		return oracleTemplates(src, s, r)
	}
	return oracleVerdict{Reason: policy.ReasonUnknownServer}
}

// oracleTemplates takes the strictest verdict on the templates that make the URI.
func oracleTemplates(src policy.Source, s policy.Server, r policy.Request) oracleVerdict {
	verdict := oracleVerdict{Reason: policy.ReasonUnknownTool}
	found := false
	tools := slices.Clone(s.Tools)
	slices.SortFunc(tools, func(a, b policy.Tool) int { return strings.Compare(a.Name, b.Name) })
	for _, t := range tools {
		if r.Kind != policy.KindResource || t.Kind != policy.KindResource || !oracleMakes(t.Name, r.Name) {
			continue
		}
		v := oracleTool(src, s, t, r)
		limits, budgets := oracleBoth(verdict.Limits, v.Limits), oracleBoth(verdict.Budgets, v.Budgets)
		response := oracleLeast(verdict.Response, v.Response)
		switch {
		case !found || v.Outcome < verdict.Outcome || v.Outcome == policy.Deny && oracleSignIns[v.Reason] < oracleSignIns[verdict.Reason]:
			verdict = v
		case v.Outcome == policy.Hold && verdict.Outcome == policy.Hold:
			verdict.Rules = slices.Compact(slices.Sorted(slices.Values(append(verdict.Rules, v.Rules...))))
			verdict.Approval = oracleUnion(oracleDemands(src, verdict.Rules), s.Team)
		case v.Reason == policy.ReasonStepUpRequired && verdict.Reason == policy.ReasonStepUpRequired:
			verdict.StepUp = oracleSignIn([]policy.StepUp{*verdict.StepUp, *v.StepUp})
		}
		if verdict.Outcome != policy.Deny {
			verdict.Limits, verdict.Budgets, verdict.Response = limits, budgets, response
		}
		found = true
	}
	return verdict
}

// oracleSignIns are the reasons to sign in again, which tell less than others the more they come to.
var oracleSignIns = map[policy.Reason]int{policy.ReasonMFARequired: 1, policy.ReasonStepUpRequired: 2}

func oracleBoth(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(a), b...))))
}

func oracleLeast(limits ...int64) int64 {
	limits = slices.DeleteFunc(slices.Clone(limits), func(n int64) bool { return n == 0 })
	if len(limits) == 0 {
		return 0
	}
	return slices.Min(limits)
}

// oracleMakes knows the templates that the tests use.
func oracleMakes(template, uri string) bool {
	if !strings.Contains(template, "{") {
		return false
	}
	pattern := regexp.QuoteMeta(template)
	pattern = strings.NewReplacer(`\{id\}`, `[^/?#]+`, `\{name\}`, `[^/?#]+`, `\{\+path\}`, `(?s:.*)`).Replace(pattern)
	return regexp.MustCompile(`^(` + pattern + `)$`).MatchString(uri)
}

func oracleTool(src policy.Source, s policy.Server, t policy.Tool, r policy.Request) oracleVerdict {
	if t.Held {
		return oracleVerdict{Reason: policy.ReasonDrifted}
	}
	guardrails := slices.Clone(src.Guardrails)
	slices.SortFunc(guardrails, func(a, b policy.SourceGuardrail) int { return strings.Compare(a.ID, b.ID) })
	var holding, factor, stale, lacking, limits, budgets []string
	var responses []int64
	var demands []policy.Approval
	var signIns []policy.StepUp
	for _, g := range guardrails {
		if !oracleCovers(g.Resource, s, t) || !oracleSubject(g.Subject, r.Principal, true) || oracleSubject(g.Except, r.Principal, false) ||
			oracleSays(g.Condition, s, t, r) == isFalse || !oracleTainted(g.Effect.Tainted, r) {
			continue
		}
		switch e := g.Effect; {
		case e.Deny:
			return oracleVerdict{Reason: policy.ReasonDeniedByGuardrail, Rules: []string{g.ID}}
		case e.MFA && !oracleTwoFactors(r.Principal):
			factor = append(factor, g.ID)
		case e.MFA:
			signIns = append(signIns, policy.StepUp{MFA: true})
		case e.StepUp != nil:
			signIns = append(signIns, *e.StepUp)
			if !oracleSignedIn(*e.StepUp, r) {
				stale = append(stale, g.ID)
			}
		case e.RateLimit != nil:
			limits = append(limits, g.ID)
		case e.TokenBudget != nil:
			budgets = append(budgets, g.ID)
		case e.MaxResponseBytes > 0:
			responses = append(responses, e.MaxResponseBytes)
		case e.Require != "" && oracleSays(e.Require, s, t, r) != isTrue:
			lacking = append(lacking, g.ID)
		case e.Approval != nil:
			holding = append(holding, g.ID)
			demands = append(demands, *e.Approval)
		}
	}
	granted, almost := false, false
	for _, g := range src.Grants {
		if oracleGrants(g, s, t, r) {
			almost = true
			granted = granted || oracleSays(g.Condition, s, t, r) == isTrue
		}
	}
	obliged := oracleVerdict{Outcome: policy.Allow, Reason: policy.ReasonAllowed, Limits: limits, Budgets: budgets, Response: oracleLeast(responses...)}
	switch {
	case !granted && almost:
		return oracleVerdict{Reason: policy.ReasonConditionNotMet}
	case !granted:
		return oracleVerdict{Reason: policy.ReasonNoGrant}
	case len(factor) > 0:
		return oracleVerdict{Reason: policy.ReasonMFARequired, Rules: factor[:1]}
	case len(stale) > 0:
		return oracleVerdict{Reason: policy.ReasonStepUpRequired, Rules: stale[:1], StepUp: oracleSignIn(signIns)}
	case len(lacking) > 0:
		return oracleVerdict{Reason: policy.ReasonRequirementNotMet, Rules: lacking[:1]}
	case len(holding) > 0:
		obliged.Outcome, obliged.Reason = policy.Hold, policy.ReasonApprovalRequired
		obliged.Rules, obliged.Approval = holding, oracleUnion(demands, s.Team)
	}
	return obliged
}

// oracleTainted reports whether a guardrail that asks for it has to do with the session of a call.
func oracleTainted(wanted *policy.Tainted, r policy.Request) bool {
	if wanted == nil || r.Principal.Taint == nil {
		return true
	}
	seconds := wanted.Seconds
	if seconds == 0 {
		seconds = 3600
	}
	for label, at := range r.Principal.Taint {
		if r.Now.Before(at.Add(time.Duration(seconds)*time.Second)) && slices.ContainsFunc(wanted.Labels, func(p string) bool { return oracleGlob(p, label) }) {
			return true
		}
	}
	return false
}

// oracleTwoFactors knows the methods that the tests use.
func oracleTwoFactors(p *policy.Principal) bool {
	has := func(methods ...string) bool {
		return slices.ContainsFunc(methods, func(m string) bool { return slices.Contains(p.AMR, m) })
	}
	knows, owns, is := has("pwd", "pin"), has("otp", "swk", "hwk", "sms", "tel"), has("fpt", "face")
	return has("mfa") || knows && owns || knows && is || owns && is
}

func oracleGrants(g policy.SourceGrant, s policy.Server, t policy.Tool, r policy.Request) bool {
	return oracleCovers(g.Resource, s, t) && oracleSubject(g.Subject, r.Principal, false) &&
		(g.NotBefore == nil || r.Now.Compare(*g.NotBefore) >= 0) && (g.NotAfter == nil || r.Now.Compare(*g.NotAfter) < 0)
}

func oracleCovers(r policy.Resource, s policy.Server, t policy.Tool) bool {
	some := func(patterns []string, names ...string) bool {
		for _, p := range patterns {
			for _, n := range names {
				if oracleGlob(p, n) {
					return true
				}
			}
		}
		return len(patterns) == 0
	}
	lower := func(patterns []string) []string { return strings.Fields(strings.ToLower(strings.Join(patterns, " "))) }
	kinds := r.Kinds
	if len(kinds) == 0 {
		kinds = []policy.Kind{policy.KindTool}
	}
	return some(lower(r.Servers), strings.ToLower(s.Name)) && some(r.Labels, s.Labels...) && some(r.Names, t.Name) && some(r.ToolLabels, t.Labels...) &&
		slices.Contains(kinds, t.Kind) && (len(r.Risks) == 0 || slices.Contains(r.Risks, t.Risk))
}

// oracleSubject decides for a guardrail if unknown, else for a grant or an
// exception.
func oracleSubject(s policy.Subject, p *policy.Principal, unknown bool) bool {
	if s.Everyone {
		return true
	}
	if len(s.Users)+len(s.Groups)+len(s.Agents)+len(s.Models) == 0 {
		return false
	}
	one := func(patterns []string, known bool, match func(pattern string) bool) bool {
		if len(patterns) == 0 {
			return true
		}
		if !known {
			return unknown
		}
		return slices.ContainsFunc(patterns, match)
	}
	vouched := p.ModelAssurance == policy.Attested || (!unknown && s.AllowDeclared && p.ModelAssurance == policy.Declared)
	return one(s.Users, p.Subject != "", func(pattern string) bool {
		if issuer, _, bar := strings.Cut(pattern, "|"); bar && strings.Contains(issuer, "://") {
			_, subject, _ := strings.Cut(pattern, "|")
			return oracleGlob(issuer, p.Issuer) && oracleGlob(subject, p.Subject)
		}
		return oracleGlob(pattern, p.Subject)
	}) && one(s.Groups, p.Groups != nil, func(pattern string) bool {
		return slices.ContainsFunc(p.Groups, func(g string) bool { return g != "" && oracleGlob(pattern, g) })
	}) && one(s.Agents, p.Agent != "", func(pattern string) bool { return oracleGlob(pattern, p.Agent) }) &&
		one(s.Models, p.Model != "" && vouched, func(pattern string) bool { return oracleGlob(pattern, p.Model) })
}

func oracleGlob(pattern, s string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
	return regexp.MustCompile(`^(?s:` + quoted + `)$`).MatchString(s)
}

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
}

// compareWithOracle checks one decision, and what Trace says of it.
func compareWithOracle(t tb, src policy.Source, ix *policy.Index, r policy.Request) {
	t.Helper()
	want := oracle(src, r)
	v := ix.Decide(r)
	got := oracleVerdict{
		Outcome: v.Outcome, Reason: v.Reason, Approval: v.Approval, StepUp: v.StepUp,
		Limits: guardrailIDs(ix, v.Limits), Budgets: guardrailIDs(ix, v.Budgets), Response: v.MaxResponseBytes,
	}
	for _, g := range v.Guardrails {
		got.Rules = append(got.Rules, ix.Document().Guardrails[g].ID)
	}
	if v.Outcome == policy.Deny && v.Guardrail >= 0 {
		got.Rules = []string{ix.Document().Guardrails[v.Guardrail].ID}
	}
	if diff := cmp.Diff(want, got, equateEmpty); diff != "" {
		t.Errorf("%s: the oracle differs (-oracle +index)\n%s", describe(r), diff)
	}
	compareWithTrace(t, ix, r, v)
}

func describe(r policy.Request) string {
	return fmt.Sprintf("%s %s %q by %+v at %s", r.Server, r.Kind, r.Name, *r.Principal, r.Now)
}
