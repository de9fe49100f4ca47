package delivery

import (
	"crypto/sha256"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
	"countersign/registry"
)

// warnings are the codes and rules of an audience's, once it is compiled up to now.
func (w *world) warnings(r *replica, audienceID string) []string {
	w.t.Helper()
	w.upTo(r, audienceID, w.generation())
	a, err := r.Audience(w.ctx, w.admin, audienceID)
	w.must(err)
	said := []string{}
	for _, warning := range a.Warnings {
		if warning.Message == "" {
			w.t.Errorf("%+v says nothing", warning)
		}
		said = append(said, warning.Code+" "+warning.Rule)
	}
	return said
}

func (w *world) guardrail(r *replica, name string, e policy.Effect, servers ...string) registry.Guardrail {
	w.t.Helper()
	g, err := r.registry.CreateGuardrail(w.ctx, w.admin, registry.NewGuardrail{
		Name: name, Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: servers}, Effect: e,
	})
	w.must(err)
	return g
}

func TestAGrantThatIsDeniedToEveryone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	server := w.offer(r, edge.Gateway, "com.acme/orders")
	grant := w.grant(r, "reading", "com.acme/*")
	deny := w.guardrail(r, "closed", policy.Effect{Deny: true}, "com.acme/orders")
	if diff := cmp.Diff([]string{WarnGrantUnreachable + " " + grant.ID}, w.warnings(r, edge.AudienceID)); diff != "" {
		t.Error(diff)
	}
	_, err := r.registry.EndGuardrail(w.ctx, w.admin, deny.ID, deny.Version, "open again")
	w.must(err)
	page, err := r.registry.Tools(w.ctx, w.admin, registry.ToolFilter{ServerID: server.ID})
	w.must(err)
	for _, tool := range page.Items { // a suspension is meant to deny
		_, _, err := r.registry.SuspendTool(w.ctx, w.admin, tool.ID, "")
		w.must(err)
	}
	if diff := cmp.Diff([]string{}, w.warnings(r, edge.AudienceID)); diff != "" {
		t.Error(diff)
	}
}

func TestAnApprovalThatTooFewCanGive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	team, err := r.registry.CreateTeam(w.ctx, w.admin, registry.NewTeam{Name: "Two", PersonIDs: []string{w.admin.ID}})
	w.must(err)
	_, err = w.db.Runtime.Exec(w.ctx, `update guardrails set ended_at = now()`) // the one of the installation asks others
	w.must(err)
	rail := w.guardrail(r, "two of them", policy.Effect{Approval: &policy.Approval{Quorum: 2, Teams: []string{team.ID}}}, "*")
	if diff := cmp.Diff([]string{policy.WarnUnapprovable + " " + rail.ID}, w.warnings(r, edge.AudienceID)); diff != "" {
		t.Error(diff)
	}
	_, err = w.db.Runtime.Exec(w.ctx, `update teams set idp_groups = '{many}' where id = $1`, team.ID)
	w.must(err)
	w.grant(r, "a change", "*")
	if diff := cmp.Diff([]string{}, w.warnings(r, edge.AudienceID)); diff != "" {
		t.Error(diff)
	}
}

func TestAnApprovalThatOneOfItsWaysCanGive(t *testing.T) {
	t.Parallel()
	k := knowledge{teams: map[string]team{
		"one": {ID: "one", Name: "One", Members: []string{"ann"}}, "two": {ID: "two", Name: "Two", Members: []string{"ann", "ben"}},
	}}
	two := func(teams ...string) policy.Approvers { return policy.Approvers{Quorum: 2, Teams: teams} }
	fallback := &policy.Fallback{AfterSeconds: 60, Quorum: 2, OwningTeam: true}
	for what, c := range map[string]struct {
		approval policy.Approval
		want     string
	}{
		"too few":            {policy.Approval{Quorum: 2, Teams: []string{"one"}}, "it takes 2, and One has 1"},
		"an alternative":     {policy.Approval{Quorum: 2, Teams: []string{"one"}, Alternatives: []policy.Approvers{two("one"), two("two")}}, ""},
		"too few everywhere": {policy.Approval{Quorum: 3, Teams: []string{"two"}, Alternatives: []policy.Approvers{two("one")}}, "it takes 3, and Two has 2; it takes 2, and One has 1"},
		"a fallback":         {policy.Approval{Quorum: 2, Teams: []string{"one"}, Fallback: fallback}, ""},
		"only an emergency":  {policy.Approval{Quorum: 2, Teams: []string{"one"}, BreakGlass: &policy.BreakGlass{Teams: []string{"one"}}}, "it takes 2, and One has 1"},
	} {
		if got := k.tooFew(&c.approval, "two"); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestGroupsThatNobodyHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	g, err := r.registry.CreateGrant(w.ctx, w.admin, registry.NewGrant{
		Name: "misspelt", Subject: policy.Subject{Groups: []string{"suport", "dev*", "support"}}, Resource: policy.Resource{Servers: []string{"*"}},
	})
	w.must(err)
	if diff := cmp.Diff([]string{}, w.warnings(r, edge.AudienceID)); diff != "" {
		t.Errorf("while nobody has any group: %s", diff)
	}
	_, err = w.db.Runtime.Exec(w.ctx, `update people set groups = '{support}'`)
	w.must(err)
	w.grant(r, "a change", "*")
	want := []string{WarnUnknownGroup + " " + g.ID, WarnUnknownGroup + " "} // the owning team's group is orders
	if diff := cmp.Diff(want, w.warnings(r, edge.AudienceID)); diff != "" {
		t.Error(diff)
	}
	f, err := r.Foresee(w.ctx, w.admin, Draft{Grants: []policy.SourceGrant{draftGrant(policy.Subject{Groups: []string{"sales"}}, "*")}})
	w.must(err)
	if len(f.Warnings) != 1 || f.Warnings[0].Code != WarnUnknownGroup || len(f.Settled) != 0 {
		t.Errorf("foreseen %+v, settled %+v", f.Warnings, f.Settled)
	}
}

// A rule for servers that other gateways see is no mistake.
func TestARuleForOthersIsNoWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge, blind := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "blind", "org.other/*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	w.grant(r, "reading", "com.acme/*")
	lost := w.grant(r, "nothing anywhere", "net.nowhere/*")
	for _, audience := range []string{edge.AudienceID, blind.AudienceID} {
		if diff := cmp.Diff([]string{policy.WarnReachesNothing + " " + lost.ID}, w.warnings(r, audience)); diff != "" {
			t.Error(diff)
		}
	}
}

// What cannot be published for one audience keeps nothing from another, is said once, and is forgotten when mended.
func TestAnErrorOfOneAudienceStaysThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.NewPool(t))
	edge, other := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "other", "org.other/*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	l := leader{Delivery: r.Delivery, failed: map[string]int64{}, all: true}
	w.must(l.step(w.ctx))
	before := w.count(`select revision from audiences where id = $1`, edge.AudienceID)
	_, err := w.db.Runtime.Exec(w.ctx, `update servers set labels = '{""}'`) // no label is empty
	w.must(err)
	for range 3 {
		w.grant(r, "a change", "*")
		w.must(l.step(w.ctx))
	}
	broken, err := r.Audience(w.ctx, w.admin, edge.AudienceID)
	w.must(err)
	fine, err := r.Audience(w.ctx, w.admin, other.AudienceID)
	w.must(err)
	if broken.CompileError == "" || broken.Revision != before || !broken.Behind() || fine.CompileError != "" || fine.Behind() {
		t.Errorf("broken %+v, fine %+v", broken, fine)
	}
	if n := w.count(`select count(*) from audit_events where kind = 'policy.compile_failed'`); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	_, err = w.db.Runtime.Exec(w.ctx, `update servers set labels = '{}'`)
	w.must(err)
	w.grant(r, "mended", "*")
	w.must(l.step(w.ctx))
	if broken, err = r.Audience(w.ctx, w.admin, edge.AudienceID); err != nil || broken.CompileError != "" || broken.Behind() {
		t.Errorf("%v: %+v", err, broken)
	}
}

func TestAConditionThatNoToolFits(t *testing.T) {
	t.Parallel()
	takes := func(name, argument string) policy.Tool {
		schema := `{"type":"object","properties":{"` + argument + `":{"type":"number"}}}`
		return policy.Tool{
			ID: name, Kind: policy.KindTool, Name: name, Definition: sha256.Sum256([]byte(schema)),
			InputSchema: []byte(schema), Grants: []int{0, 1, 2}, Guardrails: []int{0, 1},
		}
	}
	d := policy.Document{
		Servers: []policy.Server{{Name: "com.acme/orders", Tools: []policy.Tool{takes("refund", "amount"), takes("count", "limit")}}},
		Grants: []policy.Grant{
			{ID: "g1", Condition: `args.amount <= 100`}, {ID: "g2", Condition: `args.amuont <= 100`}, {ID: "g3"},
		},
		Guardrails: []policy.Guardrail{
			{ID: "r1", Effect: policy.Effect{Require: `args.currency == "EUR"`}}, {ID: "r2", Condition: `principal.subject == "tomas"`},
		},
	}
	k := knowledge{suits: (&fits{}).suits}
	for range 2 { // what is remembered says the same
		var said []string
		for _, warning := range doubts(&d, nil, k) {
			said = append(said, warning.Code+" "+warning.Rule)
		}
		if diff := cmp.Diff([]string{WarnUnfitCondition + " g2", WarnUnfitCondition + " r1"}, said); diff != "" {
			t.Error(diff)
		}
	}
}
