package policy_test

import (
	"encoding/json"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"countersign/policy"
)

// tighten makes one change to a source that must not let anybody have more, and says which.
func tighten(t *rapid.T, src policy.Source) (policy.Source, string) {
	src.Grants, src.Guardrails = slices.Clone(src.Grants), slices.Clone(src.Guardrails)
	change := rapid.IntRange(0, 4).Draw(t, "change")
	switch {
	case change == 0 && len(src.Grants) > 0:
		i := rapid.IntRange(0, len(src.Grants)-1).Draw(t, "grant")
		src.Grants = slices.Delete(src.Grants, i, i+1)
		return src, "a grant less"
	case change == 1:
		for i := range src.Grants {
			if g := &src.Grants[i]; g.Condition == "" {
				g.Condition = drawExpression.Draw(t, "condition")
				return src, "a condition on a grant"
			}
		}
	case change == 2:
		for i := range src.Guardrails {
			if g := &src.Guardrails[i]; g.Condition != "" {
				g.Condition = ""
				return src, "a guardrail without its condition"
			}
		}
	case change == 3:
		for i := range src.Guardrails {
			if g := &src.Guardrails[i]; !g.Effect.Deny {
				g.Effect = policy.Effect{Deny: true}
				return src, "a guardrail that denies"
			}
		}
	}
	src.Guardrails = append(src.Guardrails, drawGuardrail(t, "r1a"))
	return src, "a guardrail more"
}

// neverLooser also puts arguments that nobody wrote a rule for: nothing they hold makes a decision panic.
func neverLooser(t *rapid.T) {
	src := drawSource.Draw(t, "source")
	tighter, change := tighten(t, src)
	before, after := compile(t, src), compile(t, tighter)
	for range 20 {
		r := drawRequest.Draw(t, "request")
		if rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
			r.Arguments = json.RawMessage(rapid.String().Draw(t, "arguments"))
		}
		if b, a := before.Decide(r), after.Decide(r); a.Outcome > b.Outcome {
			t.Errorf("%s with %s: %v %s before, %v with %s", describe(r), r.Arguments, b.Outcome, b.Reason, a.Outcome, change)
		}
		if b, a := before.Listing(r).Listed(), after.Listing(r).Listed(); a && !b {
			t.Errorf("%s: listed only with %s", describe(r), change)
		}
		if v := before.Decide(r); v.Outcome != policy.Deny && !before.Listing(r).Listed() {
			t.Errorf("%s with %s: %v, and not listed", describe(r), r.Arguments, v.Outcome)
		}
		if v := before.Decide(r); v.Outcome != policy.Deny && !before.Granted(r) {
			t.Errorf("%s with %s: %v, and not granted", describe(r), r.Arguments, v.Outcome)
		}
	}
}

func TestNeverLooser(t *testing.T) {
	t.Parallel()
	rapid.Check(t, neverLooser)
}

func FuzzNeverLooser(f *testing.F) { f.Fuzz(rapid.MakeFuzz(neverLooser)) }

// FuzzCondition compiles and evaluates any text, on any arguments. A grant and a guardrail that denies never both do
// nothing under one condition: what is not true of the one is not false of the other.
func FuzzCondition(f *testing.F) {
	for _, expr := range []string{
		"args.amount <= 100", "args.a.all(x, x.b > args.c || x.d.exists(y, y == 'z'))", "args", "has(args.a.b)", `args["a"][0] in [1, 2.5, "x", null]`,
		`args.s.matches("^(a|b)*$")`, `timestamp(args.t) > now - duration("5m")`, `now.getHours("Europe/Berlin") > 5`, "-9223372036854775808 / args.n > 0",
		"args.map(k, args[k]).filter(v, v != null).size() > 0 ? args.a : args.b", "[args, [args]] == [args, [args]]", "{args.a: 1}[args.b] == 1",
		"b'\\xff' + bytes(args.s) != b''", "uint(args.n) - 1u > 0u", "dyn(args).x.y.z", "type(args.a) == int", "'\u202e' == args.s", "principal.groups[args.n] == 'dev'",
	} {
		for _, arguments := range []string{`{"amount":1,"n":-1,"s":"x","a":[{"b":1}]}`, `{"a":{"b":[]},"b":true,"n":18446744073709551615}`, `[`} {
			f.Add(expr, arguments)
		}
	}
	f.Fuzz(func(t *testing.T, expr, arguments string) {
		if policy.CheckCondition("condition", expr) != nil {
			return
		}
		src := aSource()
		everyone := policy.Subject{Everyone: true}
		src.Grants = []policy.SourceGrant{grantTo("g1", everyone, []string{"*"}, nil)}
		src.Guardrails = []policy.SourceGuardrail{guardrailOn("r1", everyone, policy.Effect{Deny: true})}
		src.Guardrails[0].Condition = expr
		guarded := indexOf(t, src)
		src.Grants[0].Condition, src.Guardrails = expr, nil
		granted := indexOf(t, src)
		r := policy.Request{
			Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon, Arguments: json.RawMessage(arguments),
			Principal: &policy.Principal{Issuer: idp, Subject: "ann", Groups: []string{"dev"}},
		}
		grants, denies := granted.Decide(r).Outcome == policy.Allow, guarded.Decide(r).Outcome == policy.Deny
		if grants && !denies {
			t.Errorf("%s of %s: true of a grant, and not of a guardrail", expr, arguments)
		}
		if again := granted.Decide(r).Outcome == policy.Allow; again != grants {
			t.Errorf("%s of %s: %v, then %v", expr, arguments, grants, again)
		}
		policy.ConditionFindings(expr, policy.Tool{Name: "read", InputSchema: json.RawMessage(arguments)})
		policy.ConditionNotes(expr, policy.Tool{Name: "read", InputSchema: json.RawMessage(refundSchema)})
	})
}

func indexOf(t testing.TB, src policy.Source) *policy.Index {
	t.Helper()
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	return must(policy.NewIndex(doc))(t)
}
