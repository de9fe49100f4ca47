package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestClientRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.")))
	if len(s.Requests) != 0 {
		t.Errorf("a new server may ask for %v", s.Requests)
	}
	machine := w.machine()
	edit := func(who identity.Principal, s Server, requests ...policy.ClientRequest) (Server, error) {
		if requests == nil {
			requests = []policy.ClientRequest{}
		}
		return w.Edit(w.ctx, who, s.ID, s.Version, Edit{Requests: &requests}, "")
	}
	_, err := edit(machine, s, policy.Roots)
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	_, err = edit(w.owner, s, "tasks")
	if p := wantProblem(t, err, problem.Invalid, "invalid_server"); p.Fields["client_requests"] == "" {
		t.Errorf("fields %v", p.Fields)
	}
	before := w.generation()
	s, err = edit(w.owner, s, policy.Sampling, policy.Elicitation, policy.Sampling)
	w.must(err)
	if want := []policy.ClientRequest{policy.Elicitation, policy.Sampling}; !cmp.Equal(s.Requests, want) || w.generation() != before+1 {
		t.Errorf("it may ask for %v, generation %d after %d", s.Requests, w.generation(), before)
	}
	w.pinAll(s)
	if servers := w.snapshot(w.pool).Servers; len(servers) != 1 || !cmp.Equal(servers[0].ClientRequests, s.Requests) {
		t.Errorf("the policy has %+v", servers)
	}
	s, err = edit(machine, w.server(s.ID), policy.Elicitation) // to take is everybody's who may change it
	w.must(err)
	if !cmp.Equal(s.Requests, []policy.ClientRequest{policy.Elicitation}) {
		t.Errorf("it may ask for %v", s.Requests)
	}
	set := w.export()
	if !cmp.Equal(set.Servers[0].ClientRequests, []string{"elicitation"}) {
		t.Errorf("exported %+v", set.Servers)
	}
	set.Servers[0].ClientRequests = []string{"roots"}
	_, err = w.apply(machine, set, PlanOptions{})
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	set.Servers[0].ClientRequests = nil // as it is
	if p := w.plan(set, PlanOptions{}); len(p.Changes) != 0 {
		t.Errorf("planned %+v", p.Changes)
	}
	set.Servers[0].ClientRequests = []string{"none"}
	_, err = w.apply(machine, set, PlanOptions{})
	w.must(err)
	if s = w.server(s.ID); len(s.Requests) != 0 {
		t.Errorf("it may ask for %v", s.Requests)
	}
	_, _, err = w.Register(w.ctx, machine, Registration{
		Name: "com.acme/other", TeamID: w.team, Requests: []policy.ClientRequest{policy.Roots}, Location: Location{Transport: StreamableHTTP, URL: "https://other.test/mcp"},
	})
	wantProblem(t, err, problem.Forbidden, "interactive_only")
}
