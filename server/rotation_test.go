package server

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"countersign/auth"
	"countersign/client"
	"countersign/policy"
)

// While everything runs: another key signs what is in force anew, and the gateway follows by the root that it pinned.
func TestAnotherPolicyKeyReachesTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, before := w.pulled(t)
	feed := follow(t, w.url, g)
	first := await(t, feed, func(*client.Snapshot) bool { return true })

	next, err := w.auth.Keyring().Rotate(t.Context(), installer, auth.Rotation{Purpose: auth.ForPolicy, Now: true})
	must(t, err)
	w.exec(`update keyring set activates_at = clock_timestamp() where state = 'next'`)
	after := await(t, feed, func(s *client.Snapshot) bool { return s.Revision > first.Revision })
	if after.Index.Document().ContentDigest() != first.Index.Document().ContentDigest() {
		t.Error("the content changed")
	}
	now := g.get(client.PathPolicy).want(t, 200)
	if now.header.Get("ETag") == before.header.Get("ETag") {
		t.Error("the same ETag for another signature")
	}
	signature, err := jose.ParseDetached(now.header.Get(client.HeaderSignature), []byte(now.body), []jose.SignatureAlgorithm{jose.EdDSA})
	must(t, err)
	if kid := signature.Signatures[0].Protected.KeyID; kid != next.ID {
		t.Errorf("signed by %s, want %s", kid, next.ID)
	}
	must(t, policy.Verify([]byte(now.body), now.header.Get(client.HeaderSignature), w.auth.JWKS()))
	must(t, policy.Verify([]byte(before.body), before.header.Get(client.HeaderSignature), w.auth.JWKS())) // of before, in the overlap
}
