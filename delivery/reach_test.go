package delivery

import (
	"testing"
	"time"

	"countersign/client"
	"countersign/internal/problem"
	"countersign/registry"
)

// A suspension of a tool is proven gateway by gateway.
func TestReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge, mute := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "mute", "*")
	server := w.offer(r, edge.Gateway, "com.acme/orders")
	page, err := r.registry.Tools(w.ctx, w.admin, registry.ToolFilter{ServerID: server.ID})
	w.must(err)
	report := func(s client.Status) {
		t.Helper()
		s.Instance, s.Epoch = "i1", 1
		_, err := r.ReportStatus(w.ctx, principal(edge.Gateway), s)
		w.must(err)
	}
	before := w.upTo(r, edge.AudienceID, w.generation()).Revision
	report(client.Status{ActiveRevision: before})
	_, generation, err := r.registry.SuspendTool(w.ctx, w.admin, page.Items[0].ID, "")
	w.must(err)
	carries := w.upTo(r, edge.AudienceID, generation).Revision
	w.upTo(r, mute.AudienceID, generation)

	want := func(what string, state InstanceState, reason string) {
		t.Helper()
		all, err := r.Reach(w.ctx, w.admin, generation)
		w.must(err)
		if len(all.Gateways) != 2 || all.Gateways[1].State != Offline {
			t.Fatalf("%s: %+v", what, all)
		}
		e := all.Gateways[0]
		if e.State != state || e.Reason != reason || e.Carries != carries || (e.Took > 0) != (state == Synced) || e.Published <= 0 {
			t.Errorf("%s: %+v, want %s by %d", what, e, state, carries)
		}
		if all.Done() != (state == Synced) {
			t.Errorf("%s: done %v", what, all.Done())
		}
	}
	want("runs the one before", Pending, "It has not said yet that it runs the policy.")
	report(client.Status{ActiveRevision: before, Rejected: &client.Rejection{Revision: carries, Reason: "bad signature"}})
	want("refused", Rejected, "It refused the policy: bad signature")
	report(client.Status{ActiveRevision: before, Rejected: &client.Rejection{Revision: carries + 7, Reason: "bad signature"}})
	want("refused a later one", Rejected, "It refused the policy: bad signature")

	waited := make(chan Effects, 1)
	go func() {
		all, err := r.AwaitReach(w.ctx, principal(edge.Gateway), generation, time.Minute)
		if err != nil {
			t.Error(err)
		}
		waited <- all
	}()
	report(client.Status{ActiveRevision: carries})
	if all := <-waited; len(all.Gateways) != 1 || all.Gateways[0].State != Synced {
		t.Errorf("the gateway sees %+v", all)
	}
	want("runs it", Synced, "")
	_, err = r.Reach(w.ctx, w.admin, generation+100)
	wantProblem(t, err, problem.NotFound, "no_such_generation")
}
