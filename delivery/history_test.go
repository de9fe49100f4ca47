package delivery

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge, blind := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "blind", "org.other/*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	first := w.upTo(r, edge.AudienceID, w.generation())
	w.grant(r, "elsewhere", "org.nowhere/*") // no audience sees it
	g := w.grant(r, "reading", "com.acme/*")
	last := w.upTo(r, edge.AudienceID, w.generation())
	w.upTo(r, blind.AudienceID, w.generation())

	var seen []RevisionID
	var after string
	for {
		page, err := r.History(w.ctx, w.admin, edge.AudienceID, after, 1)
		w.must(err)
		for _, p := range page.Items {
			seen = append(seen, p.ID())
			if p.AudienceName == "" || p.Bytes == 0 || p.Digest.IsZero() || p.PublishedAt.IsZero() {
				t.Errorf("%+v", p)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(seen) < 2 || seen[0] != (RevisionID{1, last.Revision}) {
		t.Fatalf("revisions %v", seen)
	}
	past, err := r.Past(w.ctx, w.admin, edge.AudienceID, seen[0])
	w.must(err)
	if past.Before != (RevisionID{1, first.Revision}) || len(past.Moves) != 2 || past.MoreMoves != 0 ||
		past.Moves[0].TargetID != g.ID || past.Moves[0].ActorName != w.admin.Name {
		t.Errorf("%+v", past)
	}
	all, err := r.History(w.ctx, w.admin, "", "", 200)
	w.must(err)
	if len(all.Items) <= len(seen) || all.Next != "" {
		t.Errorf("%d revisions of both", len(all.Items))
	}

	c, err := r.Compare(w.ctx, w.admin, edge.AudienceID, past.Before, past.ID())
	w.must(err)
	want := []policy.Sentence{{Kind: policy.ChangeGain, Text: "user tomas may call com.acme/orders: drop, list"}}
	if diff := cmp.Diff(want, c.Sentences); diff != "" {
		t.Error(diff)
	}
	if len(c.Rules) != 1 || c.Rules[0].ID != g.ID || c.Rules[0].Kind != registry.Adds || c.Forgotten {
		t.Errorf("rules %+v", c.Rules)
	}
	back, err := r.Compare(w.ctx, w.admin, edge.AudienceID, past.ID(), past.Before)
	w.must(err)
	if len(back.Sentences) != 1 || back.Sentences[0].Kind != policy.ChangeLose || back.Rules[0].Kind != registry.Ends {
		t.Errorf("back %+v", back)
	}
	_, err = r.Past(w.ctx, w.admin, blind.AudienceID, RevisionID{7, 7})
	wantProblem(t, err, problem.NotFound, "no_such_revision")
	_, err = r.Compare(w.ctx, w.admin, edge.AudienceID, past.ID(), RevisionID{7, 7})
	wantProblem(t, err, problem.NotFound, "no_such_revision")
	_, err = r.History(w.ctx, principal(edge.Gateway), "", "", 1)
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

func TestManyMovesAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	w.upTo(r, edge.AudienceID, w.generation())
	for range mostMoves + 2 {
		w.grant(r, "elsewhere", "org.nowhere/*")
	}
	w.upTo(r, edge.AudienceID, w.generation())
	w.grant(r, "reading", "*")
	last := w.upTo(r, edge.AudienceID, w.generation())
	past, err := r.Past(w.ctx, w.admin, edge.AudienceID, RevisionID{1, last.Revision})
	w.must(err)
	if len(past.Moves) != mostMoves || past.MoreMoves != 3 {
		t.Errorf("%d moves and %d more", len(past.Moves), past.MoreMoves)
	}
}

func TestRevisionIDs(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"e1.r42": true, "e1.r042": false, "e0.r1": false, "42": false, "e1.r42x": false, "": false, "e1.r99999999999999999999": false} {
		if id, ok := ParseRevisionID(s); ok != want || ok && id.String() != s {
			t.Errorf("%q: %v %v", s, id, ok)
		}
	}
}
