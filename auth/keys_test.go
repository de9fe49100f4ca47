package auth_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/auth"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
	"countersign/internal/problem"
	"countersign/internal/seal"
)

func TestKeysHaveOnePurposeEach(t *testing.T) {
	t.Parallel()
	b := setup(t)
	policyKid, policyKey := b.PolicyKey()
	checkpointKid, checkpointKey := b.CheckpointKey()
	if policyKid == checkpointKid || policyKey.Equal(checkpointKey) {
		t.Error("two purposes share a key")
	}
	bundleKid, bundleKey := b.BundleKey()
	set := b.JWKS()
	if len(set.Keys) != 2 || set.Keys[0].KeyID != policyKid || set.Keys[1].KeyID != bundleKid || set.Keys[1].Algorithm != "ES256" {
		t.Errorf("JWKS = %+v", set)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || !k.Valid() || k.Use != "sig" {
			t.Errorf("JWKS has %+v", k)
		}
	}
	if !bundleKey.PublicKey.Equal(set.Keys[1].Key) {
		t.Error("the JWKS has another bundle key than the one that signs")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: policyKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte("policy"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set.Keys[0]); err != nil {
		t.Errorf("the JWKS does not verify what PolicyKey signs: %v", err)
	}
	if got := b.text(t, `select count(distinct purpose) || ' of ' || count(*) from keyring`); got != "5 of 5" {
		t.Errorf("keys: %s", got)
	}
	var leaked bool
	if err := b.db.Owner.QueryRow(t.Context(), `select exists (select from keyring where position($1::bytea in private) > 0)`, policyKey.Seed()).Scan(&leaked); err != nil || leaked {
		t.Errorf("the private key is readable in the database: %v, %v", leaked, err)
	}
}

func TestReplicasThatRaceShareTheKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db = pgtest.New(t)
	kids := make([]string, 6)
	var all sync.WaitGroup
	for i := range kids {
		pool := b.db.NewPool(t)
		all.Go(func() {
			a, _ := b.replica(t, pool)
			kids[i], _ = a.PolicyKey()
		})
	}
	all.Wait()
	if slices.Compact(slices.Sorted(slices.Values(kids)))[0] == "" || len(slices.Compact(slices.Sorted(slices.Values(kids)))) != 1 {
		t.Errorf("policy keys = %v", kids)
	}
}

func TestKeysNeedTheirKeyFile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, err := seal.LoadOrCreate(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.New(t.Context(), b.db.Runtime, b.hub, other, b.config, nil); !errors.Is(err, seal.ErrOtherKey) {
		t.Errorf("with another key file: %v", err)
	}
}

func TestKeysThatWereTamperedWith(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"a sealed key of another purpose": `update keyring set private = (select private from keyring where purpose = 'token') where purpose = 'policy'`,
		"another public half":             `update keyring set public = (select public from keyring where purpose = 'token') where purpose = 'policy'`,
		"no key that signs":               `update keyring set state = 'retiring' where purpose = 'policy'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, sql)
			if strings.HasPrefix(name, "no key") {
				if err := b.Refresh(t.Context()); err == nil {
					t.Error("it was taken")
				}
				return
			}
			if _, err := auth.New(t.Context(), b.db.Runtime, b.hub, b.key, b.config, nil); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func TestRetiringKeyStillVerifies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, _ := b.speak(t, b.enrol(t, "edge", gatewayAt))
	before, _ := b.PolicyKey()
	b.exec(t, `update keyring set state = 'retiring'`)
	replica, _ := b.replica(t, b.db.NewPool(t)) // it makes new ones
	after, _ := replica.PolicyKey()
	if before == after || len(replica.JWKS().Keys) != 4 {
		t.Errorf("kid %s then %s, JWKS %+v", before, after, replica.JWKS())
	}
	if _, err := replica.Bearer(t.Context(), token); err != nil {
		t.Errorf("a token from before the rotation: %v", err)
	}
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, _ := b.PolicyKey(); now != after {
		t.Errorf("the other replica signs with %s, want %s", now, after)
	}
	b.exec(t, `update keyring set state = 'retired', private = '' where state = 'retiring'`)
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := b.Bearer(t.Context(), token) // seen before, but its key is gone
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
}

func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	run(t, b.Authority, b.hub)
	replica, hub := b.replica(t, b.db.NewPool(t))
	run(t, replica, hub)

	a := b.arrive(t, devidptest.Browser(t), "ada", "/servers")
	done, err := replica.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	if err != nil {
		t.Fatalf("finishing at another replica: %v", err)
	}
	if _, err := b.Session(t.Context(), done.Cookie); err != nil {
		t.Errorf("the session at the first replica: %v", err)
	}

	made := b.enrol(t, "edge", gatewayAt)
	token, _ := b.speak(t, made)
	who, err := replica.Bearer(t.Context(), token)
	if err != nil {
		t.Fatalf("a token of another replica, for a client just made there: %v", err)
	}
	began := time.Now()
	for !replica.Revoked(who.ID) {
		changed := replica.Changed()
		if !b.Revoked(who.ID) {
			if err := b.RevokeClient(t.Context(), done.Who, made.ID); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("the other replica never heard of the revocation")
		}
	}
	t.Logf("the other replica knew after %v", time.Since(began))
	_, err = replica.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")

	if _, err := replica.SignOut(t.Context(), done.Who, afterward); err != nil {
		t.Fatal(err)
	}
	b.wantSessionOver(t, done.Cookie, "signed out at another replica")
}
