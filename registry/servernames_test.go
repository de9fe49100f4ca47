package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestServersAreFoundByTheirNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	orders, _, err := w.Register(w.ctx, w.owner, registration("com.acme/orders", w.team))
	w.must(err)
	_, _, err = w.Register(w.ctx, w.owner, registration("com.acme/stock", w.team))
	w.must(err)
	got, err := w.ServerIDs(w.ctx, w.viewer, []string{"COM.acme/Orders", "com.acme/nobody", ""})
	w.must(err)
	if diff := cmp.Diff(map[string]string{"com.acme/orders": orders.ID}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := w.ServerIDs(w.ctx, identity.Principal{}, nil); !problem.Is(err, problem.Unauthenticated) {
		t.Errorf("a stranger reads the names of servers: %v", err)
	}
}
