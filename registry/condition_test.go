package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/desired"
	"countersign/internal/problem"
	"countersign/policy"
)

// taking makes the raw definition of a tool that takes these arguments, "amount number" or, if it may be left out,
// "amount? number".
func taking(tool string, arguments ...string) json.RawMessage {
	properties, required := map[string]any{}, []string{}
	for _, a := range arguments {
		name, kind, _ := strings.Cut(a, " ")
		name, optional := strings.CutSuffix(name, "?")
		properties[name] = map[string]any{"type": kind}
		if !optional {
			required = append(required, name)
		}
	}
	schema, _ := json.Marshal(map[string]any{"type": "object", "properties": properties, "required": required})
	return fmt.Appendf(nil, `{"name":%q,"description":"Does it.","inputSchema":%s}`, tool, schema)
}

// shop is a server with three pinned tools.
func (w *world) shop() Server {
	w.t.Helper()
	server := w.register("shop", tools(
		taking("refund", "amount number", "currency string"), taking("charge", "amount integer", "tip? integer"), taking("note", "text string")))
	w.pinAll(server)
	return server
}

func on(names ...string) policy.Resource {
	return policy.Resource{Servers: []string{"com.acme/*"}, Names: names}
}

func TestConditionsAreComparedWithWhatTheyReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop()
	for _, test := range []struct {
		expr     string
		on       policy.Resource
		findings []string // beginnings
		refused  string
	}{
		{"args.amount <= 100", on("refund", "charge"), nil, ""},
		{"args.amount <= 100", on("nothing"), nil, ""},
		{"args.tip <= 100", on("charge"), []string{"com.acme/shop: charge: A call may leave out args.tip"}, ""},
		{"!has(args.tip) || args.tip <= 100", on("charge"), nil, ""},
		{"args.tip <= 100", on("refund", "charge"), []string{"com.acme/shop: refund: There is no args.tip.", "com.acme/shop: charge: A call may leave out args.tip"}, ""},
		{"now.getHours() < 12", on(), nil, ""},
		{"args.amount <= 100", on("refund", "note"), []string{"com.acme/shop: note: "}, ""},
		{"args.amount <= 100", policy.Resource{Servers: []string{"*"}}, []string{"com.acme/shop: note: "}, ""},
		{"args.ammount <= 100", on("refund"), nil, "This does not suit the one tool that the rule reaches. com.acme/shop: refund: "},
		{"args.ammount <= 100", on("refund", "charge"), nil, "This suits none of the 2 tools that the rule reaches. The first: com.acme/shop: charge: "},
		{"args.text < 7", on("note"), nil, "This does not suit"},
		{"args.amount <=", on("refund"), nil, "The condition "},
		{"1 + 1", on("refund"), nil, "The condition "},
		{strings.Repeat(" ", 4096) + "true", on("refund"), nil, "The condition "},
		{"args.amount <= 100 /", policy.Resource{}, nil, "The condition "},
	} {
		got, err := w.ConditionFindings(w.ctx, w.viewer, test.expr, test.on)
		if test.refused != "" {
			if p := wantProblem(t, err, problem.Invalid, "invalid_condition"); !strings.HasPrefix(p.Fields["condition"], test.refused) {
				t.Errorf("%s: refused with %q, want %q", test.expr, p.Fields["condition"], test.refused)
			}
			continue
		}
		w.must(err)
		if !cmp.Equal(test.findings, got, cmp.Comparer(func(want, got string) bool { return strings.HasPrefix(got, want) || strings.HasPrefix(want, got) })) {
			t.Errorf("%s: found %q, want %q", test.expr, got, test.findings)
		}
	}
	_, err := w.ConditionFindings(w.ctx, w.viewer, "true", policy.Resource{})
	wantProblem(t, err, problem.Invalid, "invalid_resource")
	_, err = w.ConditionFindings(w.ctx, w.edge, "true", on())
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

func TestRulesWithConditions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop()
	n := NewGrant{Name: "Small refunds", Subject: everyone(), Resource: on("refund"), Condition: "args.amount <= 100"}
	grant, err := w.CreateGrant(w.ctx, w.machine(), n)
	w.must(err)
	rails := []NewGuardrail{
		{Condition: "args.amount > 50", Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}},
		{Effect: policy.Effect{Require: "args.currency == 'EUR'"}},
		{Effect: policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: 50000, Seconds: 3600}}},
		{Effect: policy.Effect{MaxResponseBytes: 200_000}},
	}
	for i := range rails {
		rails[i].Key, rails[i].Name, rails[i].Subject, rails[i].Resource = fmt.Sprintf("r%d", i), "Rail", everyone(), on("refund")
		made, err := w.CreateGuardrail(w.ctx, w.admin, rails[i])
		w.must(err)
		if made.Condition != rails[i].Condition || !cmp.Equal(made.Effect, rails[i].Effect) {
			t.Errorf("made %+v of %+v", made, rails[i])
		}
	}
	s := w.snapshot(w.db.Runtime)
	if len(s.Grants) != 1 || s.Grants[0].Condition != n.Condition {
		t.Errorf("the snapshot has %+v", s.Grants)
	}
	found := map[string]bool{}
	for _, g := range s.Guardrails {
		found[g.Condition+g.Effect.Require] = true
	}
	if !found["args.amount > 50"] || !found["args.currency == 'EUR'"] {
		t.Errorf("the snapshot has %+v", s.Guardrails)
	}
	if got := w.count(`select count(*) from audit_events where kind = 'grant.created' and detail ->> 'condition' = $1`, n.Condition); got != 1 {
		t.Error("the log does not know the condition")
	}

	n.Condition = "args.amount <= 10"
	grant, err = w.ChangeGrant(w.ctx, w.machine(), grant.ID, grant.Version, n)
	w.must(err)
	if s = w.snapshot(w.db.Runtime); s.Grants[0].Condition != n.Condition || grant.Condition != n.Condition {
		t.Errorf("the snapshot has %+v after the change", s.Grants)
	}
	for field, change := range map[string]func(*NewGrant){
		"condition": func(n *NewGrant) { n.Condition = "args.ammount <= 10" },
		"resource":  func(n *NewGrant) { n.Resource = on("note") },
	} {
		bad := n
		change(&bad)
		_, err = w.ChangeGrant(w.ctx, w.admin, grant.ID, grant.Version, bad)
		if p := wantProblem(t, err, problem.Invalid, "invalid_grant"); p.Fields["condition"] == "" {
			t.Errorf("%s: nothing said of the condition: %v", field, p.Fields)
		}
		_, err = w.CreateGrant(w.ctx, w.admin, bad)
		wantProblem(t, err, problem.Invalid, "invalid_grant")
	}
	_, err = w.CreateGuardrail(w.ctx, w.admin, NewGuardrail{Name: "x", Subject: everyone(), Resource: on("refund"), Effect: policy.Effect{Require: "args.currencies == 'EUR'"}})
	if p := wantProblem(t, err, problem.Invalid, "invalid_guardrail"); p.Fields["effect.require"] == "" {
		t.Errorf("nothing said of what is required: %v", p.Fields)
	}
	_, err = w.CreateGuardrail(w.ctx, w.admin, NewGuardrail{Name: "x", Subject: everyone(), Resource: on("refund"), Condition: "args.", Effect: policy.Effect{Require: "1"}})
	if p := wantProblem(t, err, problem.Invalid, "invalid_guardrail"); p.Fields["effect.require"] == "" || p.Fields["condition"] == "" {
		t.Errorf("said of the expressions: %v", p.Fields)
	}
}

// TestRuleWhoseToolsChangedMayBeRenamed keeps what a change does not touch out of its way.
func TestRuleWhoseToolsChangedMayBeRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := NewGrant{Name: "Small refunds", Subject: everyone(), Resource: on("refund"), Condition: "args.total <= 100"}
	grant, err := w.CreateGrant(w.ctx, w.admin, n) // before there is any tool
	w.must(err)
	w.shop()
	n.Name = "Refunds"
	grant, err = w.ChangeGrant(w.ctx, w.admin, grant.ID, grant.Version, n)
	w.must(err)
	n.Resource.Names = []string{"refund", "charge"}
	_, err = w.ChangeGrant(w.ctx, w.admin, grant.ID, grant.Version, n)
	wantProblem(t, err, problem.Invalid, "invalid_grant")
	plan := w.plan(desired.Set{Grants: []desired.Grant{{Key: grant.Key, Name: "Again", For: n.Subject, On: grant.Resource, Condition: n.Condition}}}, PlanOptions{})
	if got := changesOf(plan); got != "change grant "+grant.Key+" [name: Refunds → Again]" {
		t.Error(got)
	}
}

const conditional = `
grants:
	- key: small
		name: Small refunds
		for:
			everyone: true
		on:
			servers: [com.acme/shop]
			names: [refund]
		condition: args.amount <= 100
guardrails:
	- key: large
		name: Large ones
		for:
			everyone: true
		on:
			servers: [com.acme/shop]
		condition: args.amount > 50
		approval:
			owning_team: true
	- key: euros
		name: Euros
		for:
			everyone: true
		on:
			servers: [com.acme/shop]
			names: [refund]
		require: args.currency == 'EUR'
	- key: tokens
		name: Tokens
		for:
			everyone: true
		on:
			servers: [com.acme/shop]
		token_budget: 50000/hour
	- key: size
		name: Size
		for:
			everyone: true
		on:
			servers: [com.acme/shop]
		max_response_bytes: 200000
`

func TestFilesWithConditions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop()
	set := read(t, conditional)
	plan, err := w.apply(w.machine(), set, PlanOptions{})
	w.must(err)
	if len(plan.Changes) != 5 || !strings.Contains(plan.Changes[0].Consequence+plan.Changes[2].Consequence, "com.acme/shop: note: ") {
		t.Errorf("planned %+v", plan.Changes)
	}
	if again := w.plan(set, PlanOptions{}); !again.Empty() {
		t.Errorf("still to do: %s", changesOf(again))
	}
	exported := w.export()
	exported.Guardrails = slices.DeleteFunc(exported.Guardrails, func(g desired.Guardrail) bool { return strings.HasPrefix(g.Key, "grd_") })
	text, err := desired.Write(desired.Set{Grants: exported.Grants, Guardrails: exported.Guardrails})
	w.must(err)
	for _, line := range []string{`condition: "args.amount <= 100"`, `condition: "args.amount > 50"`, `require: "args.currency == 'EUR'"`, "token_budget: 50000/h", "max_response_bytes: 200000"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("exported without %s:\n%s", line, text)
		}
	}

	change := func(old, new string) desired.Set { return read(t, strings.Replace(conditional, old, new, 1)) }
	plan, err = w.apply(w.machine(), change("<= 100", "<= 99"), PlanOptions{})
	w.must(err)
	if got := changesOf(plan); got != "change grant small [condition: args.amount <= 100 → args.amount <= 99]" {
		t.Error(got)
	}
	for _, c := range [][2]string{{"> 50", "> 10"}, {"'EUR'", "'USD'"}, {"50000", "40000"}, {"200000", "100000"}} {
		_, err = w.apply(w.machine(), change(c[0], c[1]), PlanOptions{})
		wantProblem(t, err, problem.Forbidden, "needs_person")
	}
	for path, c := range map[string][2]string{
		"grants[small].condition":     {"args.amount <= 100", "args.ammount <= 100"},
		"guardrails[euros].require":   {"args.currency", "args.curency"},
		"guardrails[large].condition": {"args.amount > 50", "args.ammount > 50"},
	} {
		_, err := w.Plan(w.ctx, w.viewer, change(c[0], c[1]), PlanOptions{})
		if p := wantProblem(t, err, problem.Invalid, "invalid_set"); p.Fields[path] == "" || len(p.Fields) != 1 {
			t.Errorf("%s: %v", path, p.Fields)
		}
	}
}

func TestManyFindingsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var offer []json.RawMessage
	for i := range mostFindings + 5 {
		offer = append(offer, taking(fmt.Sprintf("tool_%02d", i), "text string"))
	}
	w.pinAll(w.register("shop", tools(append(offer, taking("refund", "amount number"))...)))
	got, err := w.ConditionFindings(w.ctx, w.viewer, "args.amount <= 100", on())
	w.must(err)
	if len(got) != mostFindings+1 || got[mostFindings] != "And 5 more." {
		t.Errorf("found %q", got)
	}
}
