package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"countersign/policy"
)

// Expressions that anybody may be given to evaluate, on arguments that anybody may send: each ends, and where it does not
// come to an answer, a grant is not met and a guardrail holds.
func TestExpressionsThatExplode(t *testing.T) {
	t.Parallel()
	list := func(element string, n int) string { return "[" + strings.Repeat(element+",", n-1) + element + "]" }
	numbers := `{"a":` + list("1", 60_000) + `,"b":` + list("1", 60_000) + `}`
	text := `{"s":"` + strings.Repeat("a", 200_000) + `","a":` + list("1", 20_000) + `}`
	deep := `{"a":` + strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60) + `}`
	for _, c := range []struct{ expr, arguments string }{
		{"args.a.all(x, x <= 100)", numbers},
		{"args.a.filter(x, x > 0).map(x, x + 1).exists(x, x == 7)", numbers},
		{"args.a.map(x, args.a).size() > 0", numbers},
		{"args.a.map(x, {'a': x}) == args.b", numbers},
		{"(args.a" + strings.Repeat(" + args.a", 40) + ").exists(x, x > 1)", numbers},
		{"args.s" + strings.Repeat(" + args.s", 40) + " != ''", text},
		{"args.a.all(x, args.s.startsWith(args.s))", text},
		{"args.a" + strings.Repeat(".a", 61) + " == 1", deep},
		{"args" + strings.Repeat("['a']", 62) + " == 1", deep},
	} {
		src := aSource()
		src.Grants = []policy.SourceGrant{grantTo("g1", policy.Subject{Everyone: true}, []string{"*"}, nil)}
		src.Grants[0].Condition, src.Guardrails = c.expr, nil
		if err := policy.CheckCondition("condition", c.expr); err != nil {
			continue // refused as well
		}
		r := policy.Request{
			Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon, Arguments: json.RawMessage(c.arguments),
			Principal: &policy.Principal{Issuer: idp, Subject: "ann"},
		}
		if v := indexOf(t, src).Decide(r); v.Reason != policy.ReasonConditionNotMet {
			t.Errorf("%.60s: %s", c.expr, v.Reason)
		}
		src.Guardrails = []policy.SourceGuardrail{guardrailOn("r1", policy.Subject{Everyone: true}, policy.Effect{Deny: true})}
		src.Guardrails[0].Condition = c.expr
		if v := indexOf(t, src).Decide(r); v.Reason != policy.ReasonDeniedByGuardrail {
			t.Errorf("%.60s: %s", c.expr, v.Reason)
		}
	}
}

// A decision has a budget of its own: many rules, each within what one may cost, do not add up.
func TestManyExpressionsDoNotAddUp(t *testing.T) {
	t.Parallel()
	src := aSource()
	src.Grants, src.Guardrails = nil, nil
	for i := range 200 {
		g := grantTo(fmt.Sprintf("g%03d", i), policy.Subject{Everyone: true}, []string{"*"}, nil)
		g.Condition = fmt.Sprintf("args.a.exists(x, x == %d)", i+2)
		src.Grants = append(src.Grants, g)
	}
	src.Grants[199].Condition = "args.a[0] == 1"
	r := policy.Request{
		Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon, Principal: &policy.Principal{Issuer: idp, Subject: "ann"},
		Arguments: json.RawMessage(`{"a":[1` + strings.Repeat(",1", 30_000) + `]}`),
	}
	if v := indexOf(t, src).Decide(r); v.Reason != policy.ReasonConditionNotMet {
		t.Errorf("decided %s", v.Reason)
	}
	r.Arguments = json.RawMessage(`{"a":[1]}`)
	if v := indexOf(t, src).Decide(r); v.Reason != policy.ReasonAllowed {
		t.Errorf("decided %s", v.Reason)
	}
}

func TestHugeRulesAreRefused(t *testing.T) {
	t.Parallel()
	stars, long := strings.Repeat("*", 10_000), strings.Repeat("true || ", 1<<17)+"true"
	for what, err := range map[string]error{
		"a subject of stars":     second(policy.ParseSubject([]byte(`{"users":["` + stars + `"]}`))),
		"a resource of stars":    second(policy.ParseResource([]byte(`{"servers":["` + stars + `"]}`))),
		"a requirement of 1 MiB": second(policy.ParseEffect([]byte(`{"require":"` + long[:1<<20-40] + `"}`))),
		"a condition of 1 MiB":   policy.CheckCondition("condition", long),
		"a grant of 1 MiB":       grantWith(long),
	} {
		if _, ok := errors.AsType[*policy.Error](err); !ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	if policy.Glob(stars+"b", strings.Repeat("a", 100_000)) || !policy.Glob(stars, strings.Repeat("a", 100_000)) {
		t.Error("a pattern of stars matches what it does not, or not what it does")
	}
}

func second[T any](_ T, err error) error { return err }

func grantWith(condition string) error {
	src := aSource()
	src.Grants[0].Condition = condition
	_, _, err := policy.Compile(src, noon)
	return err
}

// 100,000 grants, a tenth of them with one of a thousand conditions. It looks at the memory of the whole program, so it is
// not parallel.
func TestManyGrants(t *testing.T) {
	src := aSource()
	src.Grants = nil
	for i := range 100_000 {
		g := grantTo(fmt.Sprintf("g%06d", i), policy.Subject{Users: []string{fmt.Sprintf("user-%05d", i)}}, []string{"a/*"}, []string{"read"})
		if i%10 == 0 {
			g.Condition = fmt.Sprintf("args.amount <= %d", i/10%1000)
		}
		src.Grants = append(src.Grants, g)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ix := indexOf(t, src)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 200<<20 {
		t.Errorf("the index holds %d MiB", held>>20)
	}
	for user, want := range map[string]policy.Reason{
		"user-99999": policy.ReasonAllowed, "user-99990": policy.ReasonAllowed, "user-00010": policy.ReasonConditionNotMet, "ann": policy.ReasonNoGrant,
	} {
		v := ix.Decide(policy.Request{
			Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon, Principal: &policy.Principal{Issuer: idp, Subject: user},
			Arguments: json.RawMessage(`{"amount":5}`),
		})
		if v.Reason != want {
			t.Errorf("%s: %s, want %s", user, v.Reason, want)
		}
	}
}
