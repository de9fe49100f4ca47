package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// TestResult is what became of one test.
type TestResult struct {
	ID       string // "" of one that is not stored
	Name     string
	Passed   bool
	Expect   Expect
	Got      Expect // the whole verdict
	Deciding string // name of the rule that settled it, if one did
	Fault    string // in words, "" if it passed: "expected hold, got deny (no_grant)"
}

// RunPolicyTests runs all open tests against the rules as they are now, or with a draft in them. It changes nothing. It
// needs identity.ReadPolicy. Problem: Invalid invalid_draft.
func (d *Delivery) RunPolicyTests(ctx context.Context, who identity.Principal, draft *Draft) ([]TestResult, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	s, rules, err := d.drafted(ctx, draft)
	if err != nil {
		return nil, err
	}
	return s.trial.run(rules, s.at)
}

// TryPolicyTests runs tests that are not stored, such as those of a file. It changes nothing. It needs
// identity.ReadPolicy. Problems: Invalid invalid_draft; Invalid invalid_policy_test, with fields such as
// "tests[2].given.server".
func (d *Delivery) TryPolicyTests(ctx context.Context, who identity.Principal, given []NewPolicyTest, draft *Draft) ([]TestResult, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	invalid := problem.New(problem.Invalid, "invalid_policy_test", "Not every one of these is a policy test. None was run.")
	if len(given) > maxTests {
		return nil, invalid.Field("tests", fmt.Sprintf("There are %d; up to %d are run at once.", len(given), maxTests))
	}
	tests := make([]PolicyTest, len(given))
	for i, n := range given {
		if err := n.clean(); err != nil {
			for field, message := range problem.From(err).Fields {
				invalid.Field(fmt.Sprintf("tests[%d].%s", i, field), message)
			}
		}
		tests[i] = PolicyTest{Name: n.Name, Given: n.Given, Expect: n.Expect}
	}
	if len(invalid.Fields) > 0 {
		return nil, invalid
	}
	s, rules, err := d.drafted(ctx, draft)
	if err != nil {
		return nil, err
	}
	s.trial.tests = tests
	return s.trial.run(rules, s.at)
}

// drafted gives what stands, and the rules of that with a draft in them.
func (d *Delivery) drafted(ctx context.Context, draft *Draft) (s standing, rules registry.Snapshot, err error) {
	if s, err = d.stands(ctx); err != nil {
		return s, rules, err
	}
	if draft == nil {
		return s, s.Snapshot, nil
	}
	rules, err = draft.on(s.Snapshot)
	return s, rules, err
}

func (t PolicyTest) run(ix *policy.Index, at time.Time) TestResult {
	request := t.Given.Request()
	if request.Now.IsZero() {
		request.Now = at
	}
	trace := ix.Trace(request)
	r := TestResult{ID: t.ID, Name: t.Name, Expect: t.Expect, Got: verdictOf(ix, trace.Verdict)}
	if trace.Deciding != nil {
		r.Deciding = trace.Deciding.Name
	}
	r.Fault = t.Expect.refutedBy(r.Got)
	r.Passed = r.Fault == ""
	if !r.Passed && r.Deciding != "" {
		r.Fault += fmt.Sprintf(", by %q", r.Deciding)
	}
	return r
}

// Request is the call, with Now as it is given: zero for the present.
func (g Given) Request() policy.Request {
	p := g.Principal
	principal := policy.Principal{
		Issuer: p.Issuer, Subject: p.User, Groups: p.Groups, Agent: p.Agent, Model: p.Model, ModelAssurance: p.Assurance, AMR: p.AMR,
		Taint: policy.TaintOf(p.Tainted),
	}
	if p.AuthTime != nil {
		principal.AuthTime = *p.AuthTime
	}
	var at time.Time
	if g.At != nil {
		at = *g.At
	}
	arguments := g.Arguments
	if len(arguments) == 0 && g.Kind == policy.KindResource {
		arguments, _ = json.Marshal(map[string]string{"uri": g.Name}) // a string can be written
	}
	return policy.Request{Server: g.Server, Kind: g.Kind, Name: g.Name, Principal: &principal, Arguments: arguments, Now: at}
}

// verdictOf is a verdict as a test would expect it.
func verdictOf(ix *policy.Index, v policy.Verdict) Expect {
	e := Expect{Outcome: ExpectedOutcome(v.Outcome.String()), Reason: v.Reason}
	if v.Approval != nil {
		e.Quorum = v.Approval.Quorum
	}
	e.Limits = counting(ix.Document(), v)
	return e
}

// counting names the guardrails that count a call, sorted.
func counting(d *policy.Document, v policy.Verdict) []string {
	var names []string
	for _, g := range slices.Concat(v.Limits, v.Budgets) {
		names = append(names, d.Guardrails[g].Name)
	}
	slices.Sort(names)
	return names
}

// refutedBy says in what a verdict is not what e wants, "" if it is.
func (e Expect) refutedBy(got Expect) string {
	var wants []string
	wrong := got.Outcome != e.Outcome
	say := func(differs bool, format string, args ...any) {
		wants = append(wants, fmt.Sprintf(format, args...))
		wrong = wrong || differs
	}
	if e.Reason != "" {
		say(got.Reason != e.Reason, "%s", e.Reason)
	}
	if e.Quorum > 0 {
		say(got.Quorum != e.Quorum, "quorum %d", e.Quorum)
	}
	if e.Limits != nil {
		want := slices.Compact(slices.Sorted(slices.Values(e.Limits)))
		say(!slices.Equal(want, slices.Compact(slices.Clone(got.Limits))), "counted by %s", quoted(want))
	}
	if !wrong {
		return ""
	}
	expected := string(e.Outcome)
	if len(wants) > 0 {
		expected += " (" + strings.Join(wants, ", ") + ")"
	}
	return "expected " + expected + ", got " + got.words(e)
}

// words says a verdict, with what e speaks of.
func (e Expect) words(of Expect) string {
	parts := []string{string(e.Reason)}
	if of.Quorum > 0 && e.Outcome == ExpectHold {
		parts = append(parts, fmt.Sprintf("quorum %d", e.Quorum))
	}
	if of.Limits != nil && e.Outcome != ExpectDeny {
		parts = append(parts, "counted by "+quoted(e.Limits))
	}
	return string(e.Outcome) + " (" + strings.Join(parts, ", ") + ")"
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(out, " and ")
}
