package auth_test

import (
	"sync"
	"testing"
	"time"

	"countersign/auth"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

var operator = identity.Principal{Kind: identity.System, ID: "operator", Name: "the operator"}

// due lets the time of a key come.
func (b *bundle) due(t *testing.T, purpose auth.Purpose) {
	t.Helper()
	b.exec(t, `update keyring set activates_at = clock_timestamp() where purpose = $1 and state = 'next'`, purpose)
}

// over lets the overlap of a key end.
func (b *bundle) over(t *testing.T, purpose auth.Purpose) {
	t.Helper()
	b.exec(t, `update keyring set retires_at = clock_timestamp() where purpose = $1 and state = 'retiring'`, purpose)
}

// moveOn does what Run does every few seconds.
func (b *bundle) moveOn(t *testing.T) client.KeySet {
	t.Helper()
	if err := auth.Advance(b.Authority, t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	signed, _ := b.SignedKeys()
	set, _, err := client.OpenKeySet(signed, b.RootKey())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (b *bundle) keyState(t *testing.T, kid string) auth.KeyState {
	t.Helper()
	return auth.KeyState(b.text(t, `select state from keyring where id = $1`, kid))
}

func TestKeyIsAnnouncedThenSignsThenRetires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root := b.RootKey()
	old, _ := b.PolicyKey()
	before := b.moveOn(t)
	next, err := b.Keyring().Rotate(t.Context(), operator, auth.Rotation{Purpose: auth.ForPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if next.State != auth.KeyNext || next.ActivatesAt == nil || time.Until(*next.ActivatesAt) < time.Hour {
		t.Errorf("announced: %+v", next)
	}
	announced := b.moveOn(t)
	if now, _ := b.PolicyKey(); now != old || len(announced.For("policy").Keys) != 2 || announced.Version <= before.Version {
		t.Errorf("%s signs; announced %+v after version %d", now, announced, before.Version)
	}
	if plain := b.JWKS(); len(plain.Key(next.ID)) != 1 {
		t.Error("the plain set does not announce it")
	}

	b.due(t, auth.ForPolicy)
	active := b.moveOn(t)
	if now, _ := b.PolicyKey(); now != next.ID || len(active.For("policy").Keys) != 2 || active.Version <= announced.Version {
		t.Errorf("%s signs, want %s; %+v", now, next.ID, active)
	}
	if b.keyState(t, old) != auth.KeyRetiring {
		t.Errorf("the old key is %s", b.keyState(t, old))
	}

	b.over(t, auth.ForPolicy)
	gone := b.moveOn(t)
	if len(gone.For("policy").Keys) != 1 || gone.Version <= active.Version || b.keyState(t, old) != auth.KeyRetired {
		t.Errorf("after the overlap: %+v, the old key is %s", gone, b.keyState(t, old))
	}
	if b.text(t, `select length(private)::text from keyring where id = $1`, old) != "0" {
		t.Error("the private half is still there")
	}
	if b.RootKey() != root {
		t.Error("the root changed")
	}
	if got := b.text(t, `select string_agg(kind, ' ' order by id) from audit_events where kind like 'key.%'`); got != "key.announced key.activated key.retired" {
		t.Errorf("audited: %s", got)
	}
	b.moveOn(t)
	if unchanged := b.moveOn(t); unchanged.Version != gone.Version {
		t.Error("the set moves by itself")
	}
}

func TestEveryPurposeRotates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, _ := b.speak(t, b.enrol(t, "edge", gatewayAt))
	for _, p := range []auth.Purpose{auth.ForPolicy, auth.ForToken, auth.ForCheckpoint, auth.ForBundle} {
		next, err := b.Keyring().Rotate(t.Context(), operator, auth.Rotation{Purpose: p, Now: true})
		if err != nil {
			t.Fatal(err)
		}
		if wait := time.Until(*next.ActivatesAt); wait < 10*time.Second || wait > time.Minute {
			t.Errorf("%s: now is in %v, want as long as replicas may not have read it", p, wait)
		}
		b.due(t, p)
	}
	b.moveOn(t)
	keys, err := b.Keyring().Keys(t.Context(), operator)
	if err != nil {
		t.Fatal(err)
	}
	states := map[auth.KeyState]int{}
	for _, k := range keys {
		states[k.State]++
	}
	if keys[0].Purpose != auth.ForRoot || states[auth.KeyActive] != 5 || states[auth.KeyRetiring] != 4 || len(keys) != 9 {
		t.Errorf("keys: %+v", keys)
	}
	if _, err := b.Bearer(t.Context(), token); err != nil {
		t.Errorf("a token from before: %v", err)
	}
	if kid, key := b.BundleKey(); kid == "" || key == nil {
		t.Error("no bundle key")
	}
	b.over(t, auth.ForToken)
	b.moveOn(t)
	_, err = b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
}

func TestRotationsThatAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin, other := b.signIn(t, "ada").Who, b.signIn(t, "tomas").Who
	machine := identity.Principal{Kind: identity.Client, ID: "cli_1", Roles: []identity.Role{identity.Admin}}
	ring := b.Keyring()
	if _, err := ring.Rotate(t.Context(), admin, auth.Rotation{Purpose: auth.ForToken, Announce: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		who     identity.Principal
		purpose auth.Purpose
		kind    problem.Kind
		code    string
	}{
		"by a machine":          {machine, auth.ForPolicy, problem.Forbidden, "interactive_only"},
		"by no admin":           {other, auth.ForPolicy, problem.Forbidden, "not_allowed"},
		"of the root":           {admin, auth.ForRoot, problem.Invalid, "root_stays"},
		"of something else":     {admin, "session", problem.Invalid, "no_such_purpose"},
		"announced a while ago": {admin, auth.ForToken, problem.Conflict, "key_announced"},
	} {
		_, err := ring.Rotate(t.Context(), tt.who, auth.Rotation{Purpose: tt.purpose})
		t.Log(name)
		wantProblem(t, err, tt.kind, tt.code)
	}
	_, err := ring.Keys(t.Context(), identity.Principal{})
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")
	sooner, err := ring.Rotate(t.Context(), admin, auth.Rotation{Purpose: auth.ForToken, Now: true})
	if err != nil || time.Until(*sooner.ActivatesAt) > time.Minute {
		t.Errorf("brought forward: %+v, %v", sooner, err)
	}
	if n := b.text(t, `select count(*)::text from keyring where purpose = 'token'`); n != "2" {
		t.Errorf("%s token keys", n)
	}
}

func TestKeyThatLeaked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old, _ := b.PolicyKey()
	wantProblem(t, b.Keyring().Retire(t.Context(), operator, old, "leaked"), problem.Conflict, "key_in_use")
	wantProblem(t, b.Keyring().Retire(t.Context(), operator, "nothing", "leaked"), problem.NotFound, "no_such_key")
	if _, err := b.Keyring().Rotate(t.Context(), operator, auth.Rotation{Purpose: auth.ForPolicy, Now: true}); err != nil {
		t.Fatal(err)
	}
	b.due(t, auth.ForPolicy)
	b.moveOn(t)

	// A policy in force is still signed by it.
	b.exec(t, `insert into audiences (id, name, revision) values ('aud_1', 'a', 7)`)
	b.exec(t, `insert into revisions (audience_id, epoch, revision, digest, content, document, gzipped, kid, signature, jws)
		select 'aud_1', epoch, 7, sha256('a'), sha256('b'), '{}', '', $1, '', '' from registry_head`, old)
	b.over(t, auth.ForPolicy)
	b.moveOn(t)
	if b.keyState(t, old) != auth.KeyRetiring {
		t.Fatalf("it is %s while a policy in force is signed by it", b.keyState(t, old))
	}
	wantProblem(t, b.Keyring().Retire(t.Context(), operator, old, "leaked"), problem.Conflict, "key_in_use")
	b.exec(t, `update audiences set revision = 8`) // signed anew
	if err := b.Keyring().Retire(t.Context(), operator, old, "leaked"); err != nil {
		t.Fatal(err)
	}
	if set := b.moveOn(t); len(set.For("policy").Keys) != 1 {
		t.Errorf("still believed: %+v", set)
	}
}

// Replicas that race to move keys on do it once.
func TestKeysMoveOnOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var all sync.WaitGroup
	conflicts := make(chan error, 8)
	for range 8 {
		all.Go(func() {
			_, err := b.Keyring().Rotate(t.Context(), operator, auth.Rotation{Purpose: auth.ForPolicy})
			conflicts <- err
		})
	}
	all.Wait()
	close(conflicts)
	made := 0
	for err := range conflicts {
		if err == nil {
			made++
			continue
		}
		wantProblem(t, err, problem.Conflict, "key_announced")
	}
	if made != 1 {
		t.Errorf("%d keys were announced", made)
	}
	b.due(t, auth.ForPolicy)
	for range 6 {
		all.Go(func() {
			if err := auth.Advance(b.Authority, t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := b.text(t, `select count(*)::text from audit_events where kind = 'key.activated'`); n != "1" {
		t.Errorf("activated %s times", n)
	}
}

func TestReplicaNoticesARotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	run(t, b.Authority, b.hub)
	replica, hub := b.replica(t, b.db.NewPool(t))
	run(t, replica, hub)
	beside := auth.NewKeyring(b.db.NewPool(t), b.key) // as the command does
	next, err := beside.Rotate(t.Context(), operator, auth.Rotation{Purpose: auth.ForPolicy, Now: true})
	if err != nil {
		t.Fatal(err)
	}
	b.due(t, auth.ForPolicy)
	for _, a := range []*auth.Authority{b.Authority, replica} {
		for now, _ := a.PolicyKey(); now != next.ID; now, _ = a.PolicyKey() {
			select {
			case <-t.Context().Done():
				t.Fatal("it never noticed")
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}
