package delivery

import (
	"testing"

	"countersign/client"
	"countersign/internal/problem"
	"countersign/registry"
)

// A suspension is watched gateway by gateway, whatever else is published meanwhile.
func TestEffects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	here, blind := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "blind", "org.other/*")
	server := w.offer(r, here.Gateway, "com.acme/orders")
	before := w.upTo(r, here.AudienceID, w.generation()).Revision
	report := func(g Enrolled, instance string, active int64) {
		t.Helper()
		_, err := r.ReportStatus(w.ctx, principal(g.Gateway), client.Status{Instance: instance, Epoch: 1, ActiveRevision: active})
		w.must(err)
	}
	report(here, "i1", before)
	report(blind, "i1", before)
	read, err := r.registry.Server(w.ctx, w.admin, server.ID)
	w.must(err)
	_, err = r.registry.SetState(w.ctx, w.admin, server.ID, read.Version, registry.Suspended, "leak")
	w.must(err)
	carries := w.upTo(r, here.AudienceID, w.generation()).Revision
	effect := func() Effect {
		t.Helper()
		all, err := r.Effects(w.ctx, w.admin, server.ID)
		w.must(err)
		if len(all.Gateways) != 1 || all.Gateways[0].Gateway.Name != "edge" || all.Since.IsZero() { // the other one cannot see the server
			t.Fatalf("effects %+v", all)
		}
		return all.Gateways[0]
	}
	want := func(what string, state InstanceState, atMost bool) {
		t.Helper()
		e := effect()
		if e.State != state || e.Carries != carries || e.AtMost != atMost || (e.Took > 0) != (state == Synced) {
			t.Errorf("%s: %+v, want %s by %d", what, e, state, carries)
		}
	}
	want("runs the one before", Pending, false)
	report(here, "i2", carries)
	want("one of two runs it", Pending, false)
	report(here, "i1", carries)
	want("both run it", Synced, false)
	w.grant(r, "reading", "com.acme/*")
	later := w.upTo(r, here.AudienceID, w.generation()).Revision
	if later == carries {
		t.Fatal("the grant changed nothing")
	}
	want("something else is published", Synced, false)
	report(here, "i1", later)
	want("one runs what came after", Synced, true)
	_, err = w.db.Runtime.Exec(w.ctx, `update gateway_instances set last_seen_at = clock_timestamp() - interval '6 min'`)
	w.must(err)
	want("silent for longer than the lease", Stale, false)

	_, err = r.Effects(w.ctx, w.admin, "srv_none")
	wantProblem(t, err, problem.NotFound, "no_such_server")
	_, err = r.Effects(w.ctx, principal(here.Gateway), server.ID)
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}
