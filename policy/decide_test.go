package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"countersign/policy"
)

// AllocsPerRun counts the whole program's allocations, so this one is not parallel.
func TestDecideAllocatesNothingWhenAllowed(t *testing.T) {
	ix, random := bigIndex(t)
	decided := 0
	for _, r := range bigRequests(random, 2000) {
		if ix.Decide(r).Outcome != policy.Allow {
			continue
		}
		decided++
		if n := testing.AllocsPerRun(5, func() { ix.Decide(r) }); n > 0 {
			t.Fatalf("%s: %v allocations", describe(r), n)
		}
	}
	if decided < 100 {
		t.Errorf("only %d calls are allowed", decided)
	}
}

// As above, where every call is also counted by limits and wants a second factor.
func TestDecideAllocatesNothingForLimits(t *testing.T) {
	src := aSource()
	for i := range 3 {
		src.Guardrails = append(src.Guardrails, guardrailOn(fmt.Sprintf("r9%d", i), policy.Subject{Everyone: true},
			policy.Effect{RateLimit: &policy.RateLimit{Calls: i + 1, Seconds: 60}}))
	}
	src.Guardrails = append(src.Guardrails, guardrailOn("r99", policy.Subject{Everyone: true}, policy.Effect{MFA: true}))
	src.Grants = []policy.SourceGrant{grantTo("g1", policy.Subject{Everyone: true}, []string{"*"}, nil)}
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	ix := must(policy.NewIndex(doc))(t)
	r := policy.Request{Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon, Principal: &policy.Principal{Issuer: idp, Subject: "ann", AMR: []string{"pwd", "otp"}}}
	if v := ix.Decide(r); v.Outcome != policy.Allow || len(v.Limits) != 3 {
		t.Fatalf("decided %v %s, limits %v", v.Outcome, v.Reason, v.Limits)
	}
	if n := testing.AllocsPerRun(100, func() { ix.Decide(r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecideWithoutAPrincipal(t *testing.T) {
	t.Parallel()
	src := aSource()
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	ix := must(policy.NewIndex(doc))(t)
	r := policy.Request{Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon}
	if v := ix.Decide(r); v.Outcome != policy.Deny || v.Reason != policy.ReasonNoGrant {
		t.Errorf("decided %v %s", v.Outcome, v.Reason)
	}
	for _, step := range ix.Trace(r).Steps {
		if step.Rule != "" || step.Ruling != policy.RulingPass {
			t.Errorf("traced %+v", step)
		}
	}
	for tool := range ix.Visible("a/x", policy.KindTool, nil, noon) {
		t.Errorf("%s is visible", tool.Name)
	}
}

func TestZeroVerdictDenies(t *testing.T) {
	t.Parallel()
	if v := (policy.Verdict{}); v.Outcome != policy.Deny || v.Outcome.String() != "deny" || policy.Outcome(7).String() != "deny" {
		t.Errorf("the zero verdict is %v", v.Outcome)
	}
}

func TestTraceNamesWhatMissed(t *testing.T) {
	t.Parallel()
	src := aSource()
	before, after := noon.Add(1), noon
	grants := map[string]policy.Grant{
		"user": {Subject: policy.Subject{Users: []string{"ben"}}}, "group": {Subject: policy.Subject{Users: []string{"ann"}, Groups: []string{"ops"}}},
		"agent": {Subject: policy.Subject{Agents: []string{"code"}}}, "model": {Subject: policy.Subject{Models: []string{"claude"}}},
		"not_yet": {Subject: policy.Subject{Everyone: true}, NotBefore: &before}, "over": {Subject: policy.Subject{Everyone: true}, NotAfter: &after},
		"": {Subject: policy.Subject{Users: []string{"a*"}}},
	}
	src.Grants = nil
	for miss, g := range grants {
		g.ID, g.Name = "miss "+miss, "grant"
		src.Grants = append(src.Grants, policy.SourceGrant{Grant: g, Resource: policy.Resource{Servers: []string{"*"}}})
	}
	src.Guardrails[0].Resource.Risks = nil
	src.Guardrails[0].ID, src.Guardrails[0].Except = "miss exempt", policy.Subject{Users: []string{"ann"}}
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	ann := &policy.Principal{Issuer: idp, Subject: "ann", Agent: "cursor", Model: "claude", ModelAssurance: policy.Declared}
	steps := must(policy.NewIndex(doc))(t).Trace(policy.Request{Server: "a/x", Kind: policy.KindTool, Name: "read", Principal: ann, Now: noon}).Steps
	if len(steps) != 3+len(grants)+1 {
		t.Errorf("%d steps, want three checks and %d rules", len(steps), len(grants)+1)
	}
	for _, step := range steps[3:] {
		if want := strings.TrimPrefix(step.ID, "miss "); string(step.Miss) != want || step.Matched() != (want == "") {
			t.Errorf("%+v, want a miss of %q", step, want)
		}
	}
}

// TestManyGroups has more groups that the policy names than fit on the stack.
func TestManyGroups(t *testing.T) {
	t.Parallel()
	src := aSource()
	src.Grants = nil
	ann := &policy.Principal{Issuer: idp, Subject: "ann"}
	for i := range 100 {
		group := fmt.Sprintf("group-%02d", i)
		ann.Groups = append(ann.Groups, group)
		names := []string{"other"}
		if i == 99 {
			names = []string{"read"}
		}
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant:    policy.Grant{ID: group, Name: group, Subject: policy.Subject{Groups: []string{group}}},
			Resource: policy.Resource{Servers: []string{"*"}, Names: append(names, "write")},
		})
	}
	src.Guardrails = nil
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	r := policy.Request{Server: "a/x", Kind: policy.KindTool, Name: "read", Principal: ann, Now: noon}
	if v := must(policy.NewIndex(doc))(t).Decide(r); v.Outcome != policy.Allow {
		t.Errorf("decided %v %s", v.Outcome, v.Reason)
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"a", "a", true},
		{"a", "A", false},
		{"a", "ab", false},
		{"a*", "a", true},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a*c", "ac", true},
		{"a*c", "abcbc", true},
		{"a*c", "abcb", false},
		{"**", "x", true},
		{"a**b", "ab", true},
		{"*a*b*", "xaxbx", true},
		{"*a*b*", "xbxa", false},
		{"é*", "éa", true},
		{"?", "a", false},
		{"[a]", "a", false},
		{`\*`, "*", false},
		{`\*`, `\x`, true},
		{"a.c", "abc", false},
	} {
		if got := policy.Glob(c.pattern, c.s); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestGlobIsNotSlow(t *testing.T) {
	t.Parallel()
	pattern := strings.Repeat("a*", 200) + "b"
	if policy.Glob(pattern, strings.Repeat("a", 20_000)) {
		t.Error("matched")
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b", "axb")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 100 || len(s) > 1000 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		if got, want := policy.Glob(pattern, s), oracleGlob(pattern, s); got != want {
			t.Fatalf("Glob(%q, %q) = %v, the oracle says %v", pattern, s, got, want)
		}
	})
}
