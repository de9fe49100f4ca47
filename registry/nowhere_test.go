package registry

import (
	"testing"

	"countersign/client"
	"countersign/internal/problem"
)

// A server may be proposed before anybody knows where it is.
func TestServerWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.insert(`
		insert into servers (name, team_id, created_by) values ('com.acme/nowhere', $1, $2) returning id`, w.team, w.owner.ID)
	s := w.server(id)
	if s.Endpoint.ID != "" || s.State != Proposed {
		t.Errorf("server %+v", s)
	}
	page, err := w.Servers(w.ctx, w.viewer, ServerFilter{Query: "nowhere"})
	w.must(err)
	if len(page.Items) != 1 {
		t.Errorf("listed %v", page.Items)
	}
	if endpoints, err := w.Endpoints(w.ctx, w.viewer, id); err != nil || len(endpoints) != 0 {
		t.Errorf("endpoints %v, %v", endpoints, err)
	}
	_, err = w.RequestDiscovery(w.ctx, w.owner, id)
	wantProblem(t, err, problem.Conflict, "no_endpoint")
	_, err = w.Observe(w.ctx, w.edge, client.Observation{ServerID: id})
	wantProblem(t, err, problem.Conflict, "endpoint_changed")
	if servers := w.snapshot(w.db.Runtime).Servers; len(servers) != 0 {
		t.Errorf("the policy speaks of %v", servers)
	}
	edited, err := w.Edit(w.ctx, w.owner, id, s.Version, Edit{Title: new("Nowhere yet")}, "")
	w.must(err)

	moved, discovery, err := w.Move(w.ctx, w.owner, id, edited.Version, registration("", "").Location)
	w.must(err)
	if moved.Endpoint.URL == "" || discovery.State != Waiting {
		t.Errorf("moved to %+v, discovery %+v", moved.Endpoint, discovery)
	}
	w.must(w.Finish(w.ctx, w.edge, w.leaseOne().ID, tools(tool("list", "Lists."))))
	w.pinAll(moved)
	if got := w.server(id); got.State != Active || got.Pinned != 1 {
		t.Errorf("server %+v", got)
	}
	endpoints, err := w.Endpoints(w.ctx, w.viewer, id)
	w.must(err)
	if len(endpoints) != 1 || endpoints[0].EndedAt != nil {
		t.Errorf("endpoints %v", endpoints)
	}
}

func TestRetiredBeforeItWasAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.insert(`
		insert into servers (name, team_id, created_by) values ('com.acme/nowhere', $1, $2) returning id`, w.team, w.owner.ID)
	s, err := w.SetState(w.ctx, w.owner, id, 1, Retired, "a duplicate")
	w.must(err)
	_, _, err = w.Move(w.ctx, w.owner, id, s.Version, registration("", "").Location)
	wantProblem(t, err, problem.Conflict, "server_retired")
}
