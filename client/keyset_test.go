package client

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestSignedKeySet(t *testing.T) {
	t.Parallel()
	root, key := newKey(t), newKey(t)
	good := keySet(3, map[string]ed25519.PrivateKey{"k1": key})
	set, pinned, err := OpenKeySet(signedKeys(t, root, good), thumbprintOf(t, root))
	if err != nil || pinned != thumbprintOf(t, root) || set.Version != 3 || len(set.For(PurposePolicy).Keys) != 1 {
		t.Fatalf("%+v %s %v", set, pinned, err)
	}
	if _, pinned, err = OpenKeySet(signedKeys(t, root, good), ""); err != nil || pinned != thumbprintOf(t, root) {
		t.Errorf("at first contact: %s %v", pinned, err)
	}
	change := func(c func(*KeySet)) string {
		bad := keySet(3, map[string]ed25519.PrivateKey{"k1": key})
		c(&bad)
		return signedKeys(t, root, bad)
	}
	whole := signedKeys(t, root, good)
	parts := strings.Split(whole, ".")
	for name, jws := range map[string]string{
		"nothing":                "",
		"a plain set":            `{"keys":[]}`,
		"another root":           signedKeys(t, newKey(t), good),
		"a policy":               signedAs(t, root, "countersign-policy", good),
		"no type":                signedAs(t, root, "", good),
		"another payload":        parts[0] + "." + strings.Split(change(func(s *KeySet) { s.Version = 4 }), ".")[1] + "." + parts[2],
		"no signature":           parts[0] + "." + parts[1] + ".",
		"signed by ECDSA":        ecdsaSigned(t, good),
		"no issuer":              change(func(s *KeySet) { s.Issuer = "" }),
		"no version":             change(func(s *KeySet) { s.Version = 0 }),
		"no key":                 change(func(s *KeySet) { s.Keys = nil }),
		"no key for policies":    change(func(s *KeySet) { s.Keys[0].Purpose = "bundle" }),
		"no purpose":             change(func(s *KeySet) { s.Keys[0].Purpose = "" }),
		"no kid":                 change(func(s *KeySet) { s.Keys[0].KeyID = "" }),
		"a key for encryption":   change(func(s *KeySet) { s.Keys[0].Use = "enc" }),
		"two keys of one kid":    change(func(s *KeySet) { s.Keys = append(s.Keys, s.Keys[0]) }),
		"a private key":          change(func(s *KeySet) { s.Keys[0].Key = key }),
		"a member twice":         signedKeys(t, root, json.RawMessage(`{"issuer":"a","issuer":"b","version":1,"keys":[]}`)),
		"something else in JSON": signedKeys(t, root, "hello"),
	} {
		if _, _, err := OpenKeySet(jws, thumbprintOf(t, root)); !errors.Is(err, ErrKeySet) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ecdsaSigned(t *testing.T, payload any) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key},
		(&jose.SignerOptions{}).WithType(KeySetType).WithHeader("jwk", jose.JSONWebKey{Key: key.Public()}))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

// rotate has the control plane sign by another key, which the set of that version names.
func (p *plane) rotate(version, revision int64, kid string, keys map[string]ed25519.PrivateKey) {
	p.t.Helper()
	p.set(func() { p.keySet = signedKeys(p.t, p.root, keySet(version, keys)) })
	p.publishBy(1, revision, keys[kid], kid)
}

// rejects waits until the feed reported why it refuses.
func (p *plane) rejects(reason string) {
	p.t.Helper()
	eventually(p.t, "the rejection: "+reason, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := len(p.statuses)
		return n > 0 && p.statuses[n-1].Rejected != nil && strings.Contains(p.statuses[n-1].Rejected.Reason, reason)
	})
}

func TestKeysRotateUnderTheRoot(t *testing.T) {
	t.Parallel()
	p, dir, second, third := newPlane(t), t.TempDir(), newKey(t), newKey(t)
	p.publish(1, 1)
	f, stop := p.follow(dir, nil)
	eventually(t, "revision 1", runs(f, 1))
	p.rotate(2, 2, "k2", map[string]ed25519.PrivateKey{"k1": p.key, "k2": second})
	eventually(t, "the policy by the second key", runs(f, 2))
	stop()

	f, stop = p.follow(dir, nil) // with what it remembers of the keys
	if !runs(f, 2)() {
		t.Error("the copy on disk does not verify any more")
	}
	p.rotate(3, 3, "k3", map[string]ed25519.PrivateKey{"k3": third})
	eventually(t, "the policy by the third key", runs(f, 3))
	p.publishBy(1, 4, second, "k2") // withdrawn
	p.rejects("its key is not known")
	p.publishBy(1, 4, third, "k3")
	eventually(t, "the next policy", runs(f, 4))
	stop()
}

func TestSetsOfKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set    func(p *plane, second ed25519.PrivateKey) string
		reason string
	}{
		"by another root": {func(p *plane, second ed25519.PrivateKey) string {
			return signedKeys(t, newKey(t), keySet(9, map[string]ed25519.PrivateKey{"k2": second}))
		}, "root"},
		"an older version": {func(p *plane, second ed25519.PrivateKey) string {
			return signedKeys(t, p.root, keySet(1, map[string]ed25519.PrivateKey{"k1": p.key, "k2": second}))
		}, "older"},
		"of another issuer": {func(p *plane, second ed25519.PrivateKey) string {
			set := keySet(9, map[string]ed25519.PrivateKey{"k2": second})
			set.Issuer = "https://elsewhere.test"
			return signedKeys(t, p.root, set)
		}, "issuer"},
		"without a signature": {func(*plane, ed25519.PrivateKey) string { return "" }, "does not sign its set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, second := newPlane(t), newKey(t)
			p.set(func() { p.keySet = signedKeys(t, p.root, keySet(5, map[string]ed25519.PrivateKey{"k1": p.key})) })
			p.publish(1, 1)
			f, _ := p.follow(t.TempDir(), nil)
			eventually(t, "revision 1", runs(f, 1))
			p.set(func() { p.keySet = tt.set(p, second) })
			p.publishBy(1, 2, second, "k2")
			p.rejects(tt.reason)
			if !runs(f, 1)() {
				t.Error("what ran does not run any more")
			}
		})
	}
}

func TestConfiguredRoot(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, 1)
	f, _ := p.followRoot(t.TempDir(), nil, thumbprintOf(t, p.root))
	eventually(t, "the policy of the root's control plane", runs(f, 1))

	stranger, _ := p.followRoot(t.TempDir(), nil, thumbprintOf(t, newKey(t)))
	eventually(t, "the refusal to be reported", func() bool {
		stranger.mu.Lock()
		defer stranger.mu.Unlock()
		return stranger.rejected != nil && strings.Contains(stranger.rejected.Reason, "root")
	})
	if !fails(stranger, ErrNoPolicy)() {
		t.Error("it runs the policy of somebody else")
	}
	p.set(func() { p.keySet = "" })
	plain, _ := p.followRoot(t.TempDir(), nil, thumbprintOf(t, p.root))
	eventually(t, "the refusal to be reported", func() bool {
		plain.mu.Lock()
		defer plain.mu.Unlock()
		return plain.rejected != nil && strings.Contains(plain.rejected.Reason, "does not sign its set")
	})
	if _, err := NewFeed(FeedConfig{Client: p.client(nil), StateDir: t.TempDir(), RootKey: "AAAA"}); err == nil {
		t.Error("a root key that is no thumbprint was taken")
	}
}

// A gateway that pinned keys before there were roots goes on until they change; then its operator says the root.
func TestPinsWithoutARoot(t *testing.T) {
	t.Parallel()
	p, dir, second := newPlane(t), t.TempDir(), newKey(t)
	signed := p.keySet
	p.set(func() { p.keySet = "" })
	p.publish(1, 1)
	f, stop := p.follow(dir, nil)
	eventually(t, "revision 1", runs(f, 1))
	stop()
	if raw, err := os.ReadFile(filepath.Join(dir, filePins)); err != nil || strings.Contains(string(raw), "root") {
		t.Fatalf("pins are %s %v", raw, err)
	}

	p.set(func() { p.keySet = signed })
	f, stop = p.follow(dir, nil)
	p.publish(1, 2)
	eventually(t, "revision 2", runs(f, 2))
	p.rotate(2, 3, "k2", map[string]ed25519.PrivateKey{"k1": p.key, "k2": second})
	p.rejects("configure root_key")
	stop()

	f, _ = p.followRoot(dir, nil, thumbprintOf(t, p.root))
	if !runs(f, 2)() {
		t.Error("the copy on disk does not verify any more")
	}
	eventually(t, "the policy by the second key", runs(f, 3))
	eventually(t, "the root to be pinned", func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, filePins))
		return err == nil && strings.Contains(string(raw), thumbprintOf(t, p.root))
	})
}

// What was withdrawn is not believed for ever, although no policy names a key that is not known.
func TestKeysAreFetchedEveryNowAndThen(t *testing.T) {
	t.Parallel()
	p, c, second := newPlane(t), &clock{}, newKey(t)
	p.publish(1, 1)
	f, _ := p.follow(t.TempDir(), c.now)
	eventually(t, "revision 1", runs(f, 1))
	p.set(func() {
		p.keySet = signedKeys(t, p.root, keySet(2, map[string]ed25519.PrivateKey{"k1": p.key, "k2": second}))
	})
	c.advance(2 * keysFor)
	eventually(t, "the announced key", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.pins.Keys.Keys) == 2 && f.pins.Version == 2
	})
}

func TestWipeIsTriedAgain(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	p.publish(1, 1)
	f, stop := p.follow(dir, nil)
	eventually(t, "revision 1", runs(f, 1))
	stop()
	path := filepath.Join(dir, filePolicy)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	f.revoke() // a folder that is not empty cannot be removed
	if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte("policy"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f.revoke()
	if _, err := os.Stat(path); !os.IsNotExist(err) || !fails(f, ErrRevoked)() {
		t.Errorf("the policy is still there: %v", err)
	}
}

func TestAnswerOfAnotherType(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, 1)
	p.handle("GET "+PathKeys, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>"))
	})
	f, _ := p.follow(t.TempDir(), nil)
	eventually(t, "a first look", func() bool { return p.tokens.Load() > 0 })
	if !fails(f, ErrNoPolicy)() {
		t.Error("keys were pinned from a page")
	}
}
