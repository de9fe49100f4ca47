package registry

import (
	"encoding/json"
	"sync"
	"testing"

	"countersign/client"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestANewEndpointUnpinsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1"), tool("drop", "v1")))
	w.pinAll(s)
	w.observe(s.ID, true, tool("drop", "v2"))
	s = w.server(s.ID)
	there := Location{Transport: StreamableHTTP, URL: "https://elsewhere.acme.example/mcp"}
	_, _, err := w.Move(w.ctx, w.owner, s.ID, s.Version, s.Endpoint.Location)
	wantProblem(t, err, problem.Conflict, "endpoint_same")
	_, _, err = w.Move(w.ctx, w.owner, s.ID, s.Version-1, there)
	wantProblem(t, err, problem.Conflict, "server_changed")
	_, _, err = w.Move(w.ctx, w.owner, s.ID, s.Version, Location{Transport: StreamableHTTP, URL: "x"})
	wantProblem(t, err, problem.Invalid, "invalid_server")
	_, _, err = w.Move(w.ctx, w.viewer, s.ID, s.Version, there)
	wantProblem(t, err, problem.Forbidden, "not_allowed")

	before := w.generation()
	moved, discovery, err := w.Move(w.ctx, w.owner, s.ID, s.Version, there)
	w.must(err)
	if moved.Pinned != 0 || moved.Held != 0 || moved.Endpoint.URL != there.URL || moved.Version != s.Version+1 || w.generation() != before+1 {
		t.Errorf("moved %+v", moved)
	}
	if endpoints, err := w.Endpoints(w.ctx, w.viewer, s.ID); err != nil || len(endpoints) != 2 || endpoints[1].EndedAt == nil {
		t.Errorf("endpoints %+v, %v", endpoints, err)
	}
	// A gateway that has not heard of it yet reports on the old place.
	_, err = w.Observe(w.ctx, w.edge, client.Observation{ServerID: s.ID, EndpointDigest: s.Endpoint.Digest, Tools: []json.RawMessage{tool("list", "v1")}})
	wantProblem(t, err, problem.Conflict, "endpoint_changed")
	job := w.leaseOne()
	if job.ID != discovery.ID || job.Endpoint.URL != there.URL {
		t.Errorf("job %+v", job)
	}
	w.must(w.Finish(w.ctx, w.edge, job.ID, tools(tool("list", "v1"))))
	list := w.tools(s.ID)["list"]
	if list.Pinned != nil || list.Served == nil || list.Served.State != Pending {
		t.Errorf("the old approval holds at the new place: %+v", list)
	}
	if tools := w.snapshot(w.db.Runtime).Servers[0].Tools; len(tools) != 0 {
		t.Errorf("still callable: %+v", tools)
	}
}

func TestAMoveUnderADiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, _, err := w.Register(w.ctx, w.owner, registration("com.acme/orders", w.team))
	w.must(err)
	job := w.leaseOne()
	_, _, err = w.Move(w.ctx, w.owner, s.ID, s.Version, Location{Transport: StreamableHTTP, URL: "https://elsewhere.acme.example/mcp"})
	w.must(err)
	wantProblem(t, w.Finish(w.ctx, w.edge, job.ID, tools(tool("list", "v1"))), problem.Conflict, "discovery_not_yours")
	if len(w.tools(s.ID)) != 0 {
		t.Error("what was found at the old place was used")
	}
}

// Pins, observations, moves and suspensions of one server take the same lock first, so they neither deadlock nor
// leave a state that a compile would misread.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1"), tool("drop", "v1")))
	w.pinAll(s)
	var wg sync.WaitGroup
	busy := func(act func(i int) error) {
		wg.Go(func() {
			for i := range 10 {
				if err := act(i); err != nil && problem.From(err).Kind == problem.Internal {
					t.Error(err)
				}
			}
		})
	}
	for _, version := range []string{"v1", "v2", "v3"} {
		busy(func(int) error {
			now, err := w.Server(w.ctx, w.viewer, s.ID)
			if err != nil {
				return err
			}
			_, err = w.Observe(w.ctx, w.edge, client.Observation{
				ServerID: s.ID, EndpointDigest: now.Endpoint.Digest, Tools: []json.RawMessage{tool("list", version), tool("drop", "v1")},
			})
			return err
		})
	}
	busy(func(int) error {
		page, err := w.Tools(w.ctx, w.viewer, ToolFilter{ServerID: s.ID})
		if err != nil {
			return err
		}
		for _, tool := range page.Items {
			if tool.Served != nil {
				if err := w.Pin(w.ctx, w.owner, s.ID, []Pin{{tool.Served.ID, policy.Destructive}}, "x"); err != nil {
					return err
				}
			}
		}
		return nil
	})
	busy(func(i int) error {
		now, err := w.Server(w.ctx, w.viewer, s.ID)
		if err != nil {
			return err
		}
		_, err = w.SetState(w.ctx, w.owner, s.ID, now.Version, map[bool]State{true: Suspended, false: Active}[now.State == Active], "")
		return err
	})
	busy(func(i int) error {
		now, err := w.Server(w.ctx, w.viewer, s.ID)
		if err != nil || i%4 != 0 {
			return err
		}
		to := registration("x", "").Location
		to.URL += map[bool]string{true: "/2"}[now.Endpoint.URL == to.URL]
		_, _, err = w.Move(w.ctx, w.owner, s.ID, now.Version, to)
		return err
	})
	busy(func(int) error {
		for _, server := range w.snapshot(w.db.Runtime).Servers {
			for _, tool := range server.Tools {
				if tool.Definition.IsZero() {
					t.Error("a pinned tool without a definition")
				}
			}
		}
		return nil
	})
	wg.Wait()
	wrong := w.count(`
		select count(*) from tools t join definitions d on d.id = t.pinned_id
		where t.held_at is null and t.observed_digest is not null and t.observed_digest <> d.digest`)
	if wrong != 0 {
		t.Errorf("%d tools serve something else than what is pinned, and are not held", wrong)
	}
}
