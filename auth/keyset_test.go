package auth_test

import (
	"errors"
	"slices"
	"testing"

	"countersign/client"
)

func TestRootVouchesForTheKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	signed, version := b.SignedKeys()
	set, root, err := client.OpenKeySet(signed, b.RootKey())
	if err != nil {
		t.Fatal(err)
	}
	if root != b.RootKey() || set.Issuer != console || set.Version != version || set.IssuedAt.IsZero() {
		t.Errorf("root %s, set %+v", root, set)
	}
	policyKid, _ := b.PolicyKey()
	bundleKid, _ := b.BundleKey()
	checkpointKid, _ := b.CheckpointKey()
	for purpose, kid := range map[string]string{"policy": policyKid, "bundle": bundleKid, "checkpoint": checkpointKid} {
		if keys := set.For(purpose).Keys; len(keys) != 1 || keys[0].KeyID != kid {
			t.Errorf("keys for %s: %+v, want %s", purpose, keys, kid)
		}
	}
	if slices.ContainsFunc(set.Keys, func(k client.PublishedKey) bool { return !k.IsPublic() }) || len(set.Keys) != 3 {
		t.Errorf("the set has %d keys, or a private one", len(set.Keys))
	}
	replica, _ := b.replica(t, b.db.NewPool(t))
	if other, _ := replica.SignedKeys(); other != signed {
		t.Error("another replica gives other bytes")
	}
	if _, _, err := client.OpenKeySet(signed, policyKid); !errors.Is(err, client.ErrKeySet) {
		t.Errorf("with another root pinned: %v", err)
	}
}
