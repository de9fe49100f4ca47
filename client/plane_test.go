package client

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/canonical"
	"countersign/policy"
)

// plane is as much of a control plane as package client talks to.
type plane struct {
	t      *testing.T
	server *httptest.Server
	key    ed25519.PrivateKey // k1, which signs the policies that publish makes
	root   ed25519.PrivateKey
	tokens atomic.Int32

	mu       sync.Mutex
	answer   http.HandlerFunc // of GET /v1/policy; nil: the policy
	handlers map[string]http.HandlerFunc
	jws      string
	etag     string
	lease    string
	keySet   string // as the root signed it; "": a control plane without a root
	statuses []Status
	changed  chan struct{}
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, key: newKey(t), root: newKey(t), lease: "300", changed: make(chan struct{}), handlers: map[string]http.HandlerFunc{}}
	p.keySet = signedKeys(t, p.root, keySet(1, map[string]ed25519.PrivateKey{"k1": p.key}))
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	return p
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (p *plane) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	h, answer, keys := p.handlers[r.Method+" "+r.URL.Path], p.answer, p.keySet
	p.mu.Unlock()
	switch {
	case h != nil:
		h(w, r)
	case r.URL.Path == PathToken:
		if id, secret, ok := r.BasicAuth(); !ok || id != "cli_1" || secret != "s3cret" {
			reply(w, 401, TokenError{Error: "invalid_client"})
			return
		}
		p.tokens.Add(1)
		reply(w, 200, TokenReply{AccessToken: "token-" + strconv.Itoa(int(p.tokens.Load())), TokenType: "Bearer", ExpiresIn: 300})
	case r.URL.Path == PathKeys && keys != "":
		w.Header().Set("Content-Type", TypeJOSE)
		_, _ = w.Write([]byte(keys))
	case r.URL.Path == PathKeys:
		reply(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}})
	case r.URL.Path == PathStatus:
		var s Status
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			p.t.Error(err)
		}
		p.mu.Lock()
		p.statuses = append(p.statuses, s)
		p.mu.Unlock()
		reply(w, 200, StatusReply{GatewayID: "gtw_1"})
	case r.URL.Path == PathPolicy && answer != nil:
		answer(w, r)
	case r.URL.Path == PathPolicy:
		p.policy(w, r)
	default:
		problem(w, 404, "not_found")
	}
}

func (p *plane) policy(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	jws, etag, lease, changed := p.jws, p.etag, p.lease, p.changed
	p.mu.Unlock()
	if r.Header.Get("If-None-Match") == etag && etag != "" {
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
		p.mu.Lock()
		jws, etag, lease = p.jws, p.etag, p.lease
		p.mu.Unlock()
	}
	if jws == "" {
		problem(w, 503, "policy_compiling")
		return
	}
	w.Header().Set("ETag", etag)
	if lease != "" {
		w.Header().Set(HeaderLease, lease)
	}
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write([]byte(jws))
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(ProblemReply{Code: code, Status: status, Detail: "Test."})
}

// set changes p under its lock.
func (p *plane) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// handle replaces what a path answers.
func (p *plane) handle(pattern string, h http.HandlerFunc) { p.set(func() { p.handlers[pattern] = h }) }

// document is a small policy.
func document(epoch, revision int64, audience string) policy.Document {
	return policy.Document{
		Format: policy.Format, Issuer: "https://control.test", Audience: audience, Epoch: epoch, Revision: revision,
		IssuedAt: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), MaxStaleSeconds: 200,
		Servers: []policy.Server{}, Grants: []policy.Grant{}, Guardrails: []policy.Guardrail{},
	}
}

func signed(t *testing.T, d policy.Document, key ed25519.PrivateKey, kid string) string {
	t.Helper()
	raw, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Sign(raw, key, kid)
	if err != nil {
		t.Fatal(err)
	}
	return s.JWS
}

// keySet is a set of keys for policies, by kid.
func keySet(version int64, keys map[string]ed25519.PrivateKey) KeySet {
	set := KeySet{Issuer: "https://control.test", IssuedAt: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Version: version}
	for kid, key := range keys {
		set.Keys = append(set.Keys, PublishedKey{PurposePolicy, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Algorithm: "EdDSA", Use: "sig"}})
	}
	return set
}

// signedKeys signs as the control plane's root does.
func signedKeys(t *testing.T, root ed25519.PrivateKey, payload any) string {
	t.Helper()
	return signedAs(t, root, KeySetType, payload)
}

func signedAs(t *testing.T, root ed25519.PrivateKey, typ jose.ContentType, payload any) string {
	t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: root},
		(&jose.SignerOptions{}).WithType(typ).WithHeader("jwk", jose.JSONWebKey{Key: root.Public()}))
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

func thumbprintOf(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	thumbprint, err := Thumbprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return thumbprint
}

// publish serves a revision.
func (p *plane) publish(epoch, revision int64) {
	p.t.Helper()
	p.publishBy(epoch, revision, p.key, "k1")
}

// publishBy serves a revision that another key signed.
func (p *plane) publishBy(epoch, revision int64, key ed25519.PrivateKey, kid string) {
	p.t.Helper()
	d := document(epoch, revision, "aud_1")
	p.serveJWS(signed(p.t, d, key, kid), policy.ETag(epoch, revision, d.ContentDigest(), "jose"))
}

func (p *plane) serveJWS(jws, etag string) {
	p.set(func() {
		p.jws, p.etag = jws, etag
		close(p.changed)
		p.changed = make(chan struct{})
	})
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func (p *plane) client(now func() time.Time) *Client {
	p.t.Helper()
	c, err := New(Config{ControlPlane: p.server.URL, ClientID: "cli_1", ClientSecret: "s3cret", Instance: "i1", Version: "v1", Now: now})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

// follow runs a feed until the test ends, or stop is called.
func (p *plane) follow(dir string, now func() time.Time) (f *Feed, stop func()) {
	p.t.Helper()
	return p.followRoot(dir, now, "")
}

// followRoot is follow with a root key that is configured.
func (p *plane) followRoot(dir string, now func() time.Time, root string) (f *Feed, stop func()) {
	p.t.Helper()
	f, err := NewFeed(FeedConfig{
		Client: p.client(now), StateDir: dir, RootKey: root, Wait: time.Second, Retry: 5 * time.Millisecond, Report: 50 * time.Millisecond,
		Commands: []Command{{Name: "files", Digest: canonical.Sum("test", nil)}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				p.t.Errorf("following: %v", err)
			}
		})
	}
	p.t.Cleanup(stop)
	return f, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func runs(f *Feed, revision int64) func() bool {
	return func() bool {
		s, err := f.Current()
		return err == nil && s.Revision == revision
	}
}

func fails(f *Feed, want error) func() bool {
	return func() bool {
		_, err := f.Current()
		return errors.Is(err, want)
	}
}
