package delivery

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"countersign/policy"
)

// What is in force is signed anew when another key signs: the same content, as a new revision.
func TestAnotherKeySignsWhatIsInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "*")
	other := w.enrol(r, "other", "*")
	_, second, err := ed25519.GenerateKey(nil)
	w.must(err)
	kid, key := "k1", signingKey
	r.cfg.PolicyKey = func(context.Context) (string, ed25519.PrivateKey, error) { return kid, key, nil }
	l := &leader{Delivery: r.Delivery, failed: map[string]int64{}, all: true}
	step := func() {
		t.Helper()
		w.must(l.step(t.Context()))
		w.must(r.catchUp(t.Context()))
	}
	step()
	first := r.Current(g.AudienceID)
	w.must(l.step(t.Context()))
	_, err = w.db.Owner.Exec(t.Context(), `update registry_head set generation = generation + 1`) // a change that says nothing to them
	w.must(err)
	step()
	if again := r.Current(g.AudienceID); again.Revision != first.Revision || again.CompiledGeneration == first.CompiledGeneration {
		t.Fatal("published without a reason")
	}

	kid, key = "k2", second
	step() // the generation moves
	step()
	for _, audience := range []string{g.AudienceID, other.AudienceID} {
		s := r.Current(audience)
		if s.Kid != "k2" || s.Revision <= first.Revision || s.CompiledGeneration < s.Revision {
			t.Fatalf("revision %d is signed by %s", s.Revision, s.Kid)
		}
		keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: second.Public(), KeyID: "k2", Algorithm: "EdDSA", Use: "sig"}}}
		if raw, err := policy.Open(s.JWS, keys); err != nil || !bytes.Equal(raw, s.Document) {
			t.Errorf("it does not verify: %v", err)
		}
	}
	rekeyed := r.Current(g.AudienceID)
	if rekeyed.Index.Document().ContentDigest() != first.Index.Document().ContentDigest() {
		t.Error("the content changed")
	}
	due, err := l.due(t.Context())
	w.must(err)
	if due {
		t.Error("it never rests")
	}
}
