package delivery

import (
	"testing"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

func TestGatewayThatKnowsMoreThanTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "*").Gateway
	report := func(epoch, revision int64) {
		t.Helper()
		_, err := r.ReportStatus(w.ctx, principal(g), client.Status{Instance: "i1", Epoch: epoch, ActiveRevision: revision})
		w.must(err)
	}
	ahead := func() []Ahead {
		t.Helper()
		found, err := r.Ahead(w.ctx, w.admin)
		w.must(err)
		return found
	}
	report(1, w.generation())
	if found := ahead(); len(found) != 0 {
		t.Errorf("up to date, and ahead: %+v", found)
	}
	report(1, w.generation()+7)
	if found := ahead(); len(found) != 1 || found[0].GatewayName != "edge" || found[0].Revision != found[0].Generation+7 || found[0].HeadEpoch != 1 {
		t.Errorf("a later revision: %+v", found)
	}
	report(2, 1)
	if found := ahead(); len(found) != 1 || found[0].Epoch != 2 {
		t.Errorf("a later epoch: %+v", found)
	}
	_, err := w.db.Owner.Exec(w.ctx, `update registry_head set epoch = 3`)
	w.must(err)
	if found := ahead(); len(found) != 0 {
		t.Errorf("after the epoch was moved: %+v", found)
	}
	_, err = r.Ahead(w.ctx, identity.Principal{})
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")
}
