package policy_test

import (
	"errors"
	"strings"
	"testing"

	"countersign/policy"
)

func TestCheckCondition(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{
		"true",
		"args.amount <= 100",
		"args.approved",
		`has(args.to) && args.to.endsWith("@acme.com")`,
		`"ops" in principal.groups && principal.auth_time > now - duration("15m")`,
		`principal.model_assurance == "attested" && principal.model.startsWith("claude")`,
		`server.team == "t_orders" || "pci" in server.labels`,
		`tool.risk == "read_only"`,
		`args.items.all(i, i.price <= 100)`,
		`args.items.all(i, i.tags.all(t, t in ["a", "b"]))`,
		`args.items.map(i, i.price).exists(p, p > 5)`,
		`args.name.matches("^[a-z]+$")`,
		`now.getHours("Europe/Berlin") >= 8 && now.getDayOfWeek("+02:00") < 6`,
		`timestamp(args.until) < now + duration("24h")`,
		`size(args.body) <= 10000`,
		`args.query.lowerAscii`, // a member, for all that is known
	} {
		if err := policy.CheckCondition("condition", expr); err != nil {
			t.Errorf("%s: refused: %v", expr, err)
		}
	}
}

func TestCheckConditionRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expr, problem string }{
		{"", "is empty"},
		{"args.a ==\n1", "control character"},
		{"args.a == \x00", "control character"},
		{"args.a == '\xff'", "not UTF-8"},
		{strings.Repeat("true && ", 512) + "true", "longer than 4096 bytes"},
		{strings.Repeat("x", 1<<20), "longer than 4096 bytes"},
		{"args.amount <=", "at character"},
		{"arguments.amount <= 100", "undeclared reference to 'arguments'"},
		{"principal.grups.size() > 0", "undefined field 'grups'"},
		{"principal.groups == 'ops'", "no matching overload"},
		{"size(args)", "is of type int"},
		{"'yes'", "is of type string"},
		{"args", "is of type map(string, dyn)"},
		{"args.s.lowerAscii() == 'x'", "undeclared reference"},
		{"args.s.matches(args.pattern)", "pattern that is not written out"},
		{"args.s.matches('(')", "invalid matches argument"},
		{"args.s.matches('((a{100}){10}){10}')", "invalid matches argument"},
		{"args.s.matches('(a{900})')", "program size"},
		{"now.getHours(args.zone) > 8", "time zone"},
		{"now.getHours('Europe/Brelin') > 8", "time zone"},
		{"now.getHours('Local') > 8", "time zone"},
		{"timestamp('2026-13-01T00:00:00Z') < now", "invalid timestamp"},
		{"google.protobuf.Int64Value{value: 1} == args.x", "object of a type"},
		{"args.a.all(x, args.b.all(y, x == y))", "too long to evaluate"},
		{"args.a.all(x, args.b == args.c)", "too long to evaluate"},
		{"args.a.map(x, args.a).map(y, y) == args.b", "too long to evaluate"},
		{"args.a.all(x, x.b.all(y, y.c.all(z, z.d.all(w, w))))", "too long to evaluate"},
		{strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), "at character"},
		{strings.Repeat("[", 200) + strings.Repeat("]", 200) + " == []", ""},
	} {
		err := policy.CheckCondition("effect.require", c.expr)
		refused, ok := errors.AsType[*policy.Error](err)
		switch {
		case !ok:
			t.Errorf("%.80q: not refused: %v", c.expr, err)
		case refused.Field != "effect.require" || !strings.Contains(refused.Msg, c.problem) || len(refused.Msg) > 300:
			t.Errorf("%.80q: refused for %q, %q", c.expr, refused.Field, refused.Msg)
		}
	}
}

// A condition that no longer compiles is found wherever a document comes in, and where it is.
func TestConditionsOfADocument(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field  string
		change func(*policy.Document)
	}{
		{"grants[0].condition", func(d *policy.Document) { d.Grants[0].Condition = "args.amount <=" }},
		{"guardrails[0].condition", func(d *policy.Document) { d.Guardrails[0].Condition = "nobody.knows" }},
		{"guardrails[0].effect.require", func(d *policy.Document) { d.Guardrails[0].Effect = policy.Effect{Require: "7"} }},
	} {
		doc := aDocument(t)
		c.change(&doc)
		_, index := policy.NewIndex(doc)
		_, decode := policy.Decode(must(doc.Marshal())(t))
		for what, err := range map[string]error{"indexing": index, "decoding": decode} {
			if refused, ok := errors.AsType[*policy.Error](err); !ok || refused.Field != c.field {
				t.Errorf("%s: %v, want one of %s", what, err, c.field)
			}
		}
	}
	src := aSource()
	src.Grants[0].Condition = "'yes'"
	if _, _, err := policy.Compile(src, noon); err == nil || !strings.Contains(err.Error(), "condition is of type string") {
		t.Errorf("compiling: %v", err)
	}
}

func BenchmarkDecideUnderACondition(b *testing.B) {
	src := aSource()
	src.Grants, src.Guardrails = []policy.SourceGrant{grantTo("g1", policy.Subject{Everyone: true}, []string{"*"}, nil)}, nil
	src.Grants[0].Condition = `args.amount <= 100 && args.currency in ["EUR", "USD"]`
	ix := indexOf(b, src)
	r := policy.Request{
		Server: "a/x", Kind: policy.KindTool, Name: "read", Now: noon, Principal: &policy.Principal{Issuer: idp, Subject: "ann"},
		Arguments: []byte(`{"amount":99.5,"currency":"EUR","note":"thanks"}`),
	}
	b.ReportAllocs()
	for b.Loop() {
		if ix.Decide(r).Outcome != policy.Allow {
			b.Fatal("not allowed")
		}
	}
}
