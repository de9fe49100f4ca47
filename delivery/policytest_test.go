package delivery

import (
	"slices"
	"testing"
	"time"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

func aTest(name, tool string, expect Expect) NewPolicyTest {
	return NewPolicyTest{
		Name:   name,
		Given:  Given{Principal: GivenPrincipal{User: "tomas", Issuer: "https://idp.test", Groups: []string{"support"}}, Server: "com.acme/orders", Name: tool},
		Expect: expect,
	}
}

func TestPolicyTests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	g := w.enrol(r, "edge", "com.acme/*")
	w.offer(r, g.Gateway, "com.acme/orders")
	grant := w.grant(r, "Tomas", "com.acme/orders")
	before := w.generation()
	lists, err := r.CreatePolicyTest(w.ctx, w.admin, aTest("Tomas lists", "list", Expect{Outcome: ExpectAllow}))
	w.must(err)
	if w.generation() != before+1 || lists.Version != 1 || lists.CreatedByName != "Ines Roth" || lists.Given.Kind != policy.KindTool {
		t.Errorf("created %+v", lists)
	}
	_, err = r.CreatePolicyTest(w.ctx, w.admin, aTest("tomas LISTS", "list", Expect{Outcome: ExpectAllow}))
	wantProblem(t, err, problem.Conflict, "policy_test_taken")
	_, err = r.CreatePolicyTest(w.ctx, w.admin, aTest("", "", Expect{Outcome: "maybe"}))
	if p := wantProblem(t, err, problem.Invalid, "invalid_policy_test"); p.Fields["name"] == "" || p.Fields["given.name"] == "" || p.Fields["expect.outcome"] == "" {
		t.Errorf("the fields are %v", p.Fields)
	}
	drops, err := r.CreatePolicyTest(w.ctx, w.admin, aTest("Tomas drops with two", "drop", Expect{Outcome: ExpectHold, Quorum: 2}))
	w.must(err)
	results, err := r.RunPolicyTests(w.ctx, w.admin, nil)
	w.must(err)
	if len(results) != 2 || results[0].Passed || !results[1].Passed ||
		results[0].Fault != `expected hold (quorum 2), got hold (approval_required, quorum 1), by "Destructive tools need a person of the owning team"` {
		t.Errorf("results %+v", results)
	}
	drops, err = r.ChangePolicyTest(w.ctx, w.admin, drops.ID, drops.Version, aTest("Tomas drops with one", "drop", Expect{Outcome: ExpectHold, Quorum: 1}))
	w.must(err)
	_, err = r.ChangePolicyTest(w.ctx, w.admin, drops.ID, 1, aTest("Stale", "drop", Expect{Outcome: ExpectHold}))
	wantProblem(t, err, problem.Conflict, "policy_test_changed")

	draft := &Draft{EndGrants: []string{grant.ID}}
	results, err = r.RunPolicyTests(w.ctx, w.admin, draft)
	w.must(err)
	if results[1].Fault != "expected allow, got deny (no_grant)" {
		t.Errorf("results %+v", results)
	}
	f, err := r.Foresee(w.ctx, w.admin, *draft)
	w.must(err)
	if len(f.Failing) != 2 {
		t.Errorf("failing %+v", f.Failing)
	}
	w.must(r.EndPolicyTest(w.ctx, w.admin, drops.ID, drops.Version))
	wantProblem(t, r.EndPolicyTest(w.ctx, w.admin, drops.ID, drops.Version), problem.NotFound, "no_such_policy_test")
	if n := w.count(`select count(*) from audit_events where kind like 'policy_test.%'`); n != 4 {
		t.Errorf("%d events", n)
	}
	viewer := identity.Principal{Kind: identity.Person, ID: "per_v", Roles: []identity.Role{identity.Viewer}, SessionID: "s"}
	_, err = r.CreatePolicyTest(w.ctx, viewer, aTest("No", "list", Expect{Outcome: ExpectAllow}))
	wantProblem(t, err, problem.Forbidden, "not_allowed")
}

// TestAFailingTestKeepsWhatIsInForce: no rule is published while a test fails, every audience says which, and it goes on
// when the rules are mended or the test is. What is suspended meanwhile is suspended.
func TestAFailingTestKeepsWhatIsInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	g, other := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "other", "com.other/*")
	server := w.offer(r, g.Gateway, "com.acme/orders")
	w.grant(r, "Tomas", "com.acme/orders")
	test, err := r.CreatePolicyTest(w.ctx, w.admin, aTest("Tomas lists", "list", Expect{Outcome: ExpectAllow}))
	w.must(err)
	inForce := w.upTo(r, g.AudienceID, w.generation())

	deny, err := r.registry.CreateGuardrail(w.ctx, w.admin, registry.NewGuardrail{
		Name: "Closed", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{"*"}}, Effect: policy.Effect{Deny: true}, Reason: "test",
	})
	w.must(err)
	const want = `policy test "Tomas lists": expected allow, got deny (denied_by_guardrail), by "Closed"`
	for _, id := range []string{g.AudienceID, other.AudienceID} {
		w.failsWith(r, id, want)
	}
	if s := r.Current(g.AudienceID); s.Revision != inForce.Revision {
		t.Errorf("revision %d was replaced by %d", inForce.Revision, s.Revision)
	}
	withheld := w.generation()
	if reached, err := r.Reach(w.ctx, w.admin, withheld); err != nil || reached.Gateways[0].Carries != 0 {
		t.Errorf("a rule that is withheld reaches %+v, %v", reached.Gateways, err)
	}
	tools, err := r.registry.Tools(w.ctx, w.admin, registry.ToolFilter{ServerID: server.ID})
	w.must(err)
	list := tools.Items[slices.IndexFunc(tools.Items, func(t registry.Tool) bool { return t.Name == "list" })]
	suspension, generation, err := r.registry.SuspendTool(w.ctx, w.admin, list.ID, "incident")
	w.must(err)
	suspended := w.upTo(r, g.AudienceID, generation)
	asked := aTest("", "list", Expect{}).Given.Request()
	asked.Kind, asked.Now = policy.KindTool, time.Now()
	if v := suspended.Index.Decide(asked); v.Guardrail < 0 || suspended.Index.Document().Guardrails[v.Guardrail].ID != suspension.ID {
		t.Errorf("a suspension waits for the tests: %+v", v)
	}
	if reached, err := r.Reach(w.ctx, w.admin, generation); err != nil || reached.Gateways[0].Carries != generation {
		t.Errorf("the suspension reaches %+v, %v", reached.Gateways, err)
	}
	if reached, err := r.Reach(w.ctx, w.admin, withheld); err != nil || reached.Gateways[0].Carries != 0 {
		t.Errorf("a rule that is withheld reaches %+v, %v", reached.Gateways, err)
	}
	_, err = r.registry.EndGuardrail(w.ctx, w.admin, suspension.ID, suspension.Version, "over")
	w.must(err)
	if s := w.upTo(r, g.AudienceID, w.generation()); s.Index.Decide(asked).Outcome != policy.Allow {
		t.Error("a suspension that was lifted goes on")
	}
	if n := w.count(`select count(*) from audit_events where kind = 'policy.compile_failed'`); n != 2 {
		t.Errorf("said %d times", n)
	}
	test, err = r.ChangePolicyTest(w.ctx, w.admin, test.ID, test.Version, aTest("Nobody lists", "list", Expect{Outcome: ExpectDeny}))
	w.must(err)
	if s := w.upTo(r, g.AudienceID, w.generation()); s.Revision <= inForce.Revision {
		t.Errorf("still revision %d", s.Revision)
	}
	_, err = r.registry.EndGuardrail(w.ctx, w.admin, deny.ID, deny.Version, "mended")
	w.must(err)
	w.failsWith(r, g.AudienceID, `policy test "Nobody lists": expected deny, got allow (allowed), by "Tomas"`)
	w.must(r.EndPolicyTest(w.ctx, w.admin, test.ID, test.Version))
	w.upTo(r, g.AudienceID, w.generation())
	w.failsWith(r, g.AudienceID, "")
}

// failsWith waits until the audience says why it is behind.
func (w *world) failsWith(r *replica, audienceID, want string) {
	w.t.Helper()
	said := ""
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		a, err := r.Audience(w.ctx, w.admin, audienceID)
		w.must(err)
		if said = a.CompileError; said == want {
			return
		}
	}
	w.t.Fatalf("the audience says %q, want %q", said, want)
}

// TestIncidentsFailNoTest: tests judge rules, so a suspended server and a held tool do not make them fail.
func TestIncidentsFailNoTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	g := w.enrol(r, "edge", "com.acme/*")
	server := w.offer(r, g.Gateway, "com.acme/orders")
	w.grant(r, "Tomas", "com.acme/orders")
	_, err := r.CreatePolicyTest(w.ctx, w.admin, aTest("Tomas lists", "list", Expect{Outcome: ExpectAllow}))
	w.must(err)
	server, err = r.registry.Server(w.ctx, w.admin, server.ID)
	w.must(err)
	_, err = r.registry.SetState(w.ctx, w.admin, server.ID, server.Version, registry.Suspended, "incident")
	w.must(err)
	tools, err := r.registry.Tools(w.ctx, w.admin, registry.ToolFilter{ServerID: server.ID})
	w.must(err)
	for _, tool := range tools.Items {
		if _, _, err := r.registry.SuspendTool(w.ctx, w.admin, tool.ID, "incident"); err != nil {
			t.Fatal(err)
		}
	}
	s := w.upTo(r, g.AudienceID, w.generation())
	if v := s.Index.Decide(aTest("", "list", Expect{}).Given.Request()); v.Reason != policy.ReasonSuspended {
		t.Errorf("in force is %s", v.Reason)
	}
	results, err := r.RunPolicyTests(w.ctx, w.admin, nil)
	w.must(err)
	if len(results) != 1 || !results[0].Passed {
		t.Errorf("results %+v", results)
	}
}
