package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"countersign/policy"
)

// drawAfter changes a source here and there.
func drawAfter(t *rapid.T, src policy.Source) policy.Source {
	dropped := func() bool { return rapid.IntRange(0, 3).Draw(t, "dropped") == 0 }
	after := src
	after.Servers, after.Grants, after.Guardrails = nil, nil, nil
	for _, s := range src.Servers {
		switch rapid.IntRange(0, 5).Draw(t, "server") {
		case 0:
		case 1, 2:
			after.Servers = append(after.Servers, drawServerOf(t, s.Name))
		default:
			after.Servers = append(after.Servers, s)
		}
	}
	for i, g := range src.Grants {
		if dropped() {
			g = drawGrant(t, fmt.Sprintf("n%d", i))
		}
		after.Grants = append(after.Grants, g)
	}
	for i, g := range src.Guardrails {
		if dropped() {
			g = drawGuardrail(t, fmt.Sprintf("n%d", i))
		}
		after.Guardrails = append(after.Guardrails, g)
	}
	return after
}

// touches reports whether the tools have what r asks for, or a template of it.
func touches(tools []policy.ToolName, r policy.Request) bool {
	return slices.ContainsFunc(tools, func(n policy.ToolName) bool {
		return n.Server == r.Server && n.Kind == r.Kind && (n.Name == r.Name || n.Kind == policy.KindResource && oracleMakes(n.Name, r.Name))
	})
}

// saysOf is what an expression says of r and a tool of doc.
func saysOf(expr string, doc *policy.Document, n policy.ToolName, r policy.Request) saying {
	for _, s := range doc.Servers {
		for _, t := range s.Tools {
			if s.Name == n.Server && t.Kind == n.Kind && t.Name == n.Name {
				return oracleSays(expr, s, t, r)
			}
		}
	}
	return isBroken
}

// given reports whether one of the accesses, which are those of doc, is for r.
func given(all []policy.Access, doc *policy.Document, r policy.Request) bool {
	return slices.ContainsFunc(all, func(a policy.Access) bool {
		return slices.ContainsFunc(a.Tools, func(n policy.ToolName) bool {
			return touches([]policy.ToolName{n}, r) && saysOf(a.Condition, doc, n, r) == isTrue &&
				!slices.ContainsFunc(a.Unless, func(c string) bool { return saysOf(c, doc, n, r) == isTrue })
		}) && oracleSubject(a.Subject, r.Principal, false) &&
			(a.NotBefore == nil || !r.Now.Before(*a.NotBefore)) && (a.NotAfter == nil || r.Now.Before(*a.NotAfter))
	})
}

// barred reports whether one of the restraints, which are those of doc, denies r.
func barred(all []policy.Restraint, doc *policy.Document, r policy.Request) bool {
	return slices.ContainsFunc(all, func(g policy.Restraint) bool {
		return oracleSubject(g.Subject, r.Principal, true) && !oracleSubject(g.Except, r.Principal, false) &&
			slices.ContainsFunc(g.Tools, func(n policy.ToolName) bool {
				required := g.Effect.Require != "" && saysOf(g.Effect.Require, doc, n, r) != isTrue
				return touches([]policy.ToolName{n}, r) && saysOf(g.Condition, doc, n, r) != isFalse &&
					!slices.ContainsFunc(g.Unless, func(c string) bool { return saysOf(c, doc, n, r) != isFalse }) && (g.Effect.Deny || g.Effect.MFA || g.Effect.StepUp != nil || required)
			})
	})
}

func TestDiffTellsWhateverDecideChanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, diffTellsWhateverDecideChanges)
}

func FuzzDiffTellsWhateverDecideChanges(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(diffTellsWhateverDecideChanges))
}

func diffTellsWhateverDecideChanges(t *rapid.T) {
	src := drawSource.Draw(t, "source")
	before := compile(t, src)
	after := compile(t, drawAfter(t, src))
	c := policy.Diff(before.Document(), after.Document())
	for range 40 {
		r := drawRequest.Draw(t, "request")
		was, is := before.Decide(r), after.Decide(r)
		judgedByOthers := r.Kind == policy.KindResource && (touches(c.Appears, r) || touches(c.Vanishes, r))
		switch {
		case was.Outcome == policy.Deny && is.Outcome != policy.Deny && !given(c.Gains, after.Document(), r) && !barred(c.Stops, before.Document(), r) && !judgedByOthers:
			t.Errorf("%s: %s before, %v after, which is not among %+v", describe(r), was.Reason, is.Outcome, c)
		case was.Outcome != policy.Deny && is.Outcome == policy.Deny && !given(c.Loses, before.Document(), r) && !barred(c.Begins, after.Document(), r) && !judgedByOthers:
			t.Errorf("%s: %v before, %s after, which is not among %+v", describe(r), was.Outcome, is.Reason, c)
		}
	}
}

// TestDiffTellsTheTruth has somebody who is exactly what an access says, and nothing else, ask for each of its tools.
func TestDiffTellsTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		before := compile(t, src)
		after := compile(t, drawAfter(t, src))
		c := policy.Diff(before.Document(), after.Document())
		checkWitnesses(t, after, c.Gains)
		checkWitnesses(t, before, c.Loses)
		for _, r := range slices.Concat(c.Begins, c.Stops) {
			if r.Effect.Validate() != nil || r.Subject.Validate() != nil || len(r.Tools) == 0 {
				t.Errorf("%+v is no guardrail", r)
			}
		}
	})
}

func checkWitnesses(t *rapid.T, ix *policy.Index, all []policy.Access) {
	for _, a := range all {
		if a.Condition != "" && !strings.Contains(a.Condition, "args") { // who it is true of is not told by it
			continue
		}
		if err := a.Subject.Validate(); err != nil || len(a.Tools) == 0 || !slices.IsSortedFunc(a.Tools, compareNames) {
			t.Errorf("%+v is not whole: %v", a, err)
		}
		for _, n := range a.Tools {
			r := policy.Request{Server: n.Server, Kind: n.Kind, Name: n.Name, Principal: witness(a.Subject), Now: noon}
			switch {
			case a.NotBefore != nil:
				r.Now = *a.NotBefore
			case a.NotAfter != nil:
				r.Now = a.NotAfter.Add(-time.Nanosecond)
			}
			v := ix.Decide(r)
			if !ix.Granted(r) || v.Reason == policy.ReasonDrifted || v.Reason == policy.ReasonSuspended || v.Reason == policy.ReasonUnknownTool {
				t.Errorf("%s: %s, in spite of %+v", describe(r), v.Reason, a)
			}
		}
	}
}

func compareNames(a, b policy.ToolName) int {
	return strings.Compare(a.Server+" "+string(a.Kind)+" "+a.Name, b.Server+" "+string(b.Kind)+" "+b.Name)
}

// witness is a caller of whom all is known that s asks for.
func witness(s policy.Subject) *policy.Principal {
	p := &policy.Principal{Issuer: "https://new.example", Subject: "zz"}
	first := func(patterns []string) string {
		if len(patterns) == 0 {
			return ""
		}
		return strings.ReplaceAll(patterns[len(patterns)-1], "*", "zz")
	}
	if len(s.Users) > 0 {
		p.Subject = first(s.Users)
		if issuer, subject, bar := strings.Cut(p.Subject, "|"); bar && strings.Contains(issuer, "://") {
			p.Issuer, p.Subject = issuer, subject
		}
	}
	if len(s.Groups) > 0 {
		p.Groups = []string{first(s.Groups)}
	}
	p.Agent, p.Model, p.ModelAssurance = first(s.Agents), first(s.Models), policy.Attested
	return p
}

func TestDiffOfEqualPoliciesIsEmpty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		other := shuffled(src, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
		for i := range other.Grants { // ids and names say nothing
			other.Grants[i].ID = fmt.Sprintf("new-%d", i)
		}
		if c := policy.Diff(compile(t, src).Document(), compile(t, other).Document()); !c.Empty() || len(c.Words(policy.Wording{})) > 0 {
			t.Errorf("differs: %+v", c)
		}
	})
}

func TestDiffBackwardsIsTheOpposite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		before, after := compile(t, src).Document(), compile(t, drawAfter(t, src)).Document()
		there, back := policy.Diff(before, after), policy.Diff(after, before)
		if diff := cmp.Diff([]any{there.Gains, there.Appears, there.AppearServers}, []any{back.Loses, back.Vanishes, back.VanishServers}); diff != "" {
			t.Errorf("there and back:\n%s", diff)
		}
		if again := policy.Diff(before, after); !cmp.Equal(there, again) {
			t.Errorf("not the same twice:\n%s", cmp.Diff(there, again))
		}
	})
}

func TestDiffOfAnAddedGrantLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		more := src
		more.Grants = append(slices.Clone(src.Grants), drawGrant(t, "g1a"))
		c := policy.Diff(compile(t, src).Document(), compile(t, more).Document())
		if c.Gains = nil; !c.Empty() {
			t.Errorf("a grant does more than give: %+v", c)
		}
	})
}

func TestDiffOfAnAddedGuardrailGivesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		more := src
		more.Guardrails = append(slices.Clone(src.Guardrails), drawGuardrail(t, "r1a"))
		c := policy.Diff(compile(t, src).Document(), compile(t, more).Document())
		if c.Begins = nil; !c.Empty() {
			t.Errorf("a guardrail does more than restrain: %+v", c)
		}
	})
}

func TestDiffFromNothing(t *testing.T) {
	t.Parallel()
	doc := aDocument(t)
	there, back := policy.Diff(nil, &doc), policy.Diff(&doc, nil)
	if len(there.Appears) == 0 || len(there.AppearServers) != 2 || len(there.Loses)+len(there.Stops)+len(there.Vanishes) > 0 {
		t.Errorf("from nothing: %+v", there)
	}
	if len(back.Vanishes) != len(there.Appears) || len(back.Gains)+len(back.Begins)+len(back.Appears) > 0 {
		t.Errorf("to nothing: %+v", back)
	}
	if c := policy.Diff(nil, nil); !c.Empty() {
		t.Errorf("nothing differs: %+v", c)
	}
}

func BenchmarkDiff(b *testing.B) {
	random := rand.New(rand.NewPCG(7, 7))
	src := bigSource(random)
	before, _, err := policy.Compile(src, noon)
	if err != nil {
		b.Fatal(err)
	}
	src.Grants[17].Subject = policy.Subject{Everyone: true}
	after, _, err := policy.Compile(src, noon)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		policy.Diff(&before, &after)
	}
}
