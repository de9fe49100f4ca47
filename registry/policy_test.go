package registry

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/problem"
	"countersign/policy"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.generation()
	made, err := w.CreateGrant(w.ctx, w.admin, NewGrant{
		Name: " Support ", Subject: policy.Subject{Groups: []string{"support-*"}, Models: []string{"claude-*"}, AllowDeclared: true},
		Resource: policy.Resource{Servers: []string{"com.acme/*"}, Risks: []policy.Risk{policy.ReadOnly}},
		NotAfter: soon(time.Hour), Reason: "Ticket 7",
	})
	w.must(err)
	if made.Name != "Support" || made.State != GrantInForce || made.CreatedByName != "INES" || !made.Subject.AllowDeclared ||
		!cmp.Equal(made.Resource.Risks, []policy.Risk{policy.ReadOnly}) || made.NotAfter == nil || w.generation() != before+1 {
		t.Errorf("made %+v", made)
	}
	bad := func(what string, change func(*NewGrant), fields ...string) {
		t.Helper()
		n := NewGrant{Name: "x", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}}
		change(&n)
		_, err := w.CreateGrant(w.ctx, w.admin, n)
		p := wantProblem(t, err, problem.Invalid, "invalid_grant")
		for _, f := range fields {
			if p.Fields[f] == "" {
				t.Errorf("%s: nothing said of %s: %v", what, f, p.Fields)
			}
		}
	}
	bad("nothing", func(n *NewGrant) { *n = NewGrant{} }, "name", "subject", "resource.servers")
	bad("nobody", func(n *NewGrant) { n.Subject = policy.Subject{} }, "subject")
	bad("everyone and some", func(n *NewGrant) { n.Subject.Groups = []string{"x"} }, "subject.everyone")
	bad("empty pattern", func(n *NewGrant) { n.Subject = policy.Subject{Users: []string{""}} }, "subject.users[0]")
	bad("a risk of its own", func(n *NewGrant) { n.Resource.Risks = []policy.Risk{"harmless"} }, "resource.risks[0]")
	bad("ends first", func(n *NewGrant) { n.NotBefore, n.NotAfter = soon(2*time.Hour), soon(time.Hour) }, "not_after")
	bad("an instant", func(n *NewGrant) { n.NotBefore = soon(time.Hour); n.NotAfter = n.NotBefore }, "not_after")
	bad("year 1", func(n *NewGrant) { n.NotBefore = &time.Time{} }, "not_before")
	bad("hidden", func(n *NewGrant) { n.Name, n.Reason = "x\u200b", "\u202e" }, "name", "reason")
	_, err = w.CreateGrant(w.ctx, w.owner, NewGrant{Name: "x", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}})
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	if w.generation() != before+1 {
		t.Error("a refused grant moved the generation")
	}

	_, err = w.EndGrant(w.ctx, w.admin, made.ID, made.Version+1, "")
	wantProblem(t, err, problem.Conflict, "grant_changed")
	_, err = w.EndGrant(w.ctx, w.owner, made.ID, made.Version, "")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.EndGrant(w.ctx, w.admin, "grt_nobody", 1, "")
	wantProblem(t, err, problem.NotFound, "no_such_grant")
	ended, err := w.EndGrant(w.ctx, w.admin, made.ID, made.Version, "over")
	w.must(err)
	if ended.State != GrantEnded || ended.EndedByName != "INES" || w.generation() != before+2 {
		t.Errorf("ended %+v", ended)
	}
	_, err = w.EndGrant(w.ctx, w.admin, made.ID, ended.Version, "")
	wantProblem(t, err, problem.Conflict, "grant_changed")
	if w.events("grant.created") != 1 || w.events("grant.ended") != 1 {
		t.Error("events")
	}
}

func TestGrantsList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	make := func(name string, from, until *time.Time) Grant {
		t.Helper()
		g, err := w.CreateGrant(w.ctx, w.admin, NewGrant{
			Name: name, Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}, NotBefore: from, NotAfter: until,
		})
		w.must(err)
		return g
	}
	for i := range 5 {
		make(fmt.Sprintf("g%d", i), nil, nil)
	}
	later, over := make("later", soon(time.Hour), nil), make("over", nil, soon(-time.Hour))
	if later.State != GrantLater || over.State != GrantOver {
		t.Errorf("states %s, %s", later.State, over.State)
	}
	_, err := w.EndGrant(w.ctx, w.admin, later.ID, later.Version, "")
	w.must(err)
	for _, test := range []struct {
		filter GrantFilter
		want   []string
	}{
		{GrantFilter{Limit: 2}, []string{"over", "g4", "g3", "g2", "g1", "g0"}},
		{GrantFilter{Ended: "only"}, []string{"later"}},
		{GrantFilter{Ended: "all", Query: "E"}, []string{"over", "later"}},
	} {
		var got []string
		for {
			page, err := w.Grants(w.ctx, w.viewer, test.filter)
			w.must(err)
			for _, g := range page.Items {
				got = append(got, g.Name)
			}
			if test.filter.After = page.Next; page.Next == "" {
				break
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
	_, err = w.Grants(w.ctx, w.edge, GrantFilter{})
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

func TestGuardrails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all, err := w.Guardrails(w.ctx, w.viewer, false)
	w.must(err)
	if len(all) != 1 || !all[0].Subject.Everyone || all[0].Effect.Approval.Quorum != 1 || !all[0].Effect.Approval.OwningTeam ||
		all[0].CreatedByName != "installation" {
		t.Fatalf("the first guardrail is %+v", all)
	}
	n := NewGuardrail{
		Name: "No refunds at night", Subject: everyone(), Except: policy.Subject{Groups: []string{"on-call"}},
		Resource: policy.Resource{Servers: []string{"com.acme/*"}}, Effect: policy.Effect{Deny: true},
	}
	made, err := w.CreateGuardrail(w.ctx, w.admin, n)
	w.must(err)
	if !made.Effect.Deny || !cmp.Equal(made.Except.Groups, []string{"on-call"}) {
		t.Errorf("made %+v", made)
	}
	n.Except, n.Effect = everyone(), policy.Effect{}
	_, err = w.CreateGuardrail(w.ctx, w.admin, n)
	if p := wantProblem(t, err, problem.Invalid, "invalid_guardrail"); p.Fields["except"] == "" || p.Fields["effect"] == "" {
		t.Errorf("fields %v", p.Fields)
	}
	_, err = w.EndGuardrail(w.ctx, w.admin, made.ID, made.Version, " ")
	wantProblem(t, err, problem.Invalid, "invalid_reason")
	machine := w.admin
	machine.SessionID = ""
	_, err = w.EndGuardrail(w.ctx, machine, made.ID, made.Version, "why not")
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	_, err = w.EndGuardrail(w.ctx, w.admin, made.ID, 7, "why not")
	wantProblem(t, err, problem.Conflict, "guardrail_changed")
	before := w.generation()
	ended, err := w.EndGuardrail(w.ctx, w.admin, made.ID, made.Version, "It is day.")
	if err != nil || ended.EndedAt == nil || w.generation() != before+1 {
		t.Errorf("ended %+v, %v", ended, err)
	}
	all, err = w.Guardrails(w.ctx, w.viewer, true)
	if err != nil || len(all) != 2 {
		t.Errorf("all %v, %v", all, err)
	}
	_, err = w.Guardrail(w.ctx, w.viewer, "grd_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_guardrail")
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.", `"readOnlyHint":true`), tool("drop", "Drops.")))
	w.register("proposed", tools(tool("list", "Lists.")))
	list := w.tools(s.ID)["list"]
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{list.Served.ID, policy.ReadOnly}}, ""))
	_, err := w.CreateGrant(w.ctx, w.admin, NewGrant{
		Name: "all", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}, NotAfter: soon(time.Hour),
	})
	w.must(err)
	ended, err := w.CreateGrant(w.ctx, w.admin, NewGrant{Name: "ended", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}})
	w.must(err)
	_, err = w.EndGrant(w.ctx, w.admin, ended.ID, ended.Version, "")
	w.must(err)

	got := w.snapshot(w.db.Runtime)
	if got.Generation != w.generation() || got.Epoch != 1 || len(got.Servers) != 1 || len(got.Grants) != 1 || len(got.Guardrails) != 1 {
		t.Fatalf("snapshot %+v", got)
	}
	server := got.Servers[0]
	if server.Name != "com.acme/orders" || server.State != policy.Active || server.Team != w.team || server.Endpoint != s.Endpoint.policy() || len(server.Tools) != 1 {
		t.Errorf("server %+v", server)
	}
	want := policy.Tool{
		ID: list.ID, Kind: policy.KindTool, Name: "list", Definition: list.Served.Digest, Risk: policy.ReadOnly,
		InputSchema: []byte(`{"properties":{"id":{"maximum":9007199254740993,"type":"integer"}},"type":"object"}`),
	}
	if diff := cmp.Diff(want, server.Tools[0]); diff != "" {
		t.Error(diff)
	}
	for range 2 { // the second time from the cache
		if diff := cmp.Diff(got, w.snapshot(w.db.Runtime)); diff != "" {
			t.Error(diff)
		}
	}
	w.observe(s.ID, true, tool("list", "Lists more."))
	if held := w.snapshot(w.db.Runtime).Servers[0].Tools[0]; !held.Held || held.Definition != list.Served.Digest {
		t.Errorf("held %+v", held)
	}
	_, err = w.SetState(w.ctx, w.owner, s.ID, w.server(s.ID).Version, Suspended, "")
	w.must(err)
	if state := w.snapshot(w.db.Runtime).Servers[0].State; state != policy.Suspended {
		t.Errorf("state %s", state)
	}
	_, err = w.SetState(w.ctx, w.owner, s.ID, w.server(s.ID).Version, Retired, "")
	w.must(err)
	if n := len(w.snapshot(w.db.Runtime).Servers); n != 0 {
		t.Errorf("%d servers", n)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"orders", "billing"} {
		w.pinAll(w.register(name, tools(tool("list", "Lists.", `"readOnlyHint":true`), tool("drop", "Drops."))))
	}
	w.register("unpinned", tools(tool("list", "Lists.")))
	preview := func(r policy.Resource) (got []string) {
		t.Helper()
		reached, err := w.Preview(w.ctx, w.viewer, r)
		w.must(err)
		for _, r := range reached {
			got = append(got, r.ServerName+" "+r.Name)
		}
		return got
	}
	for _, test := range []struct {
		resource policy.Resource
		want     []string
	}{
		{policy.Resource{Servers: []string{"COM.acme/o*"}}, []string{"com.acme/orders drop", "com.acme/orders list"}},
		{policy.Resource{Labels: []string{"env=prod"}, Risks: []policy.Risk{policy.ReadOnly}}, []string{"com.acme/billing list", "com.acme/orders list"}},
		{policy.Resource{Servers: []string{"*"}, Names: []string{"dr*"}}, []string{"com.acme/billing drop", "com.acme/orders drop"}},
		{policy.Resource{Servers: []string{"*"}, Kinds: []policy.Kind{policy.KindPrompt}}, nil},
	} {
		if diff := cmp.Diff(test.want, preview(test.resource)); diff != "" {
			t.Errorf("%+v: %s", test.resource, diff)
		}
	}
	_, err := w.Preview(w.ctx, w.viewer, policy.Resource{})
	if p := wantProblem(t, err, problem.Invalid, "invalid_resource"); p.Fields["resource.servers"] == "" {
		t.Errorf("fields %v", p.Fields)
	}
}
