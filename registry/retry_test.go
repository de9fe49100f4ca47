package registry

import (
	"testing"

	"countersign/client"
)

// TestDiscoveryIsTriedAgain lets a look fail for a reason that may pass: it waits longer each time, says why, and has
// failed after the third; a reason that stays fails at once.
func TestDiscoveryIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, d, err := w.Register(w.ctx, w.owner, registration("com.acme/slow", w.team))
	w.must(err)
	refused := client.Failure{Error: "The connection was refused.", Retry: true}
	for attempt := 1; attempt <= 2; attempt++ {
		w.must(w.Fail(w.ctx, w.edge, w.leaseOne().ID, refused))
		d, err = w.Discovery(w.ctx, w.viewer, d.ID)
		w.must(err)
		if d.State != Waiting || d.Error != refused.Error || d.Attempts != attempt {
			t.Fatalf("after attempt %d: %s, %q, %d attempts", attempt, d.State, d.Error, d.Attempts)
		}
		if _, ok, err := w.LeaseDiscovery(w.ctx, w.edge, client.LeaseRequest{Instance: "edge-1"}); ok || err != nil {
			t.Fatalf("it is offered again at once: %v", err)
		}
		if n := w.count(`select count(*) from discoveries where not_before > clock_timestamp() + make_interval(secs => $1)`, 4*attempt); n != 1 {
			t.Errorf("after attempt %d it does not wait long enough", attempt)
		}
		_, err = w.db.Owner.Exec(w.ctx, `update discoveries set not_before = clock_timestamp()`)
		w.must(err)
	}
	w.must(w.Fail(w.ctx, w.edge, w.leaseOne().ID, refused))
	if d, err = w.Discovery(w.ctx, w.viewer, d.ID); err != nil || d.State != Failed {
		t.Fatalf("after the third attempt: %s, %v", d.State, err)
	}
	if n := w.events("server.discovery_failed"); n != 1 {
		t.Errorf("%d events, want one for the end", n)
	}
}
