package client

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFeedFollows(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	f, _ := p.follow(t.TempDir(), nil)
	if _, err := f.Current(); err != ErrNoPolicy { //nolint:errorlint // exactly this one
		t.Errorf("before the first policy: %v", err)
	}
	p.publish(1, 1)
	eventually(t, "revision 1", runs(f, 1))
	changed := f.Changed()
	p.publish(1, 2)
	eventually(t, "revision 2", runs(f, 2))
	<-changed
	eventually(t, "the status", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := len(p.statuses)
		return n > 0 && p.statuses[n-1].ActiveRevision == 2 && p.statuses[n-1].Instance == "i1" && len(p.statuses[n-1].Commands) == 1
	})
	if id, err := f.Identity(t.Context()); err != nil || id.GatewayID != "gtw_1" {
		t.Errorf("identity is %+v %v", id, err)
	}
	p.publish(2, 1)
	eventually(t, "a new epoch", runs(f, 1))
}

func TestFeedStartsFromDiskWhenTheControlPlaneIsDown(t *testing.T) {
	t.Parallel()
	p, dir, c := newPlane(t), t.TempDir(), &clock{}
	p.publish(1, 7)
	f, stop := p.follow(dir, c.now)
	eventually(t, "revision 7", runs(f, 7))
	eventually(t, "the copy on disk", func() bool { _, err := os.Stat(filepath.Join(dir, fileLease)); return err == nil })
	stop()
	p.set(func() { p.answer = func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, "down") } })

	f, stop = p.follow(dir, c.now)
	if s, err := f.Current(); err != nil || s.Revision != 7 || s.ETag == "" {
		t.Errorf("after a restart: %+v %v", s, err)
	}
	stop()
	c.advance(150 * time.Second)
	f, stop = p.follow(dir, c.now)
	if !runs(f, 7)() {
		t.Error("the lease of 200 s was over after 150 s")
	}
	c.advance(51 * time.Second)
	if !fails(f, ErrExpired)() {
		t.Error("the lease was begun anew by a restart")
	}
	stop()
	c.advance(-10 * time.Minute)
	f, _ = p.follow(dir, c.now)
	if !fails(f, ErrExpired)() {
		t.Error("a clock that was set back made an old lease young")
	}
	p.set(func() { p.answer = nil })
	eventually(t, "the control plane to renew it", runs(f, 7))
}

func TestCopyOnDiskThatIsNoPolicy(t *testing.T) {
	t.Parallel()
	other := newKey(t)
	tests := map[string]func(jws string) string{
		"truncated":        func(jws string) string { return jws[:len(jws)/2] },
		"empty":            func(string) string { return "" },
		"not a policy":     func(string) string { return "{}" },
		"one letter":       func(jws string) string { return jws[:60] + flip(jws[60:61]) + jws[61:] },
		"without a dot":    func(jws string) string { return strings.ReplaceAll(jws, ".", "") },
		"another key":      func(string) string { return signed(t, document(1, 9, "aud_1"), other, "k1") },
		"another kid":      func(string) string { return signed(t, document(1, 9, "aud_1"), other, "k2") },
		"another audience": nil,
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := newPlane(t), t.TempDir()
			p.publish(1, 7)
			f, stop := p.follow(dir, nil)
			eventually(t, "revision 7", runs(f, 7))
			stop()
			path := filepath.Join(dir, filePolicy)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := signed(t, document(1, 9, "aud_2"), p.key, "k1")
			if spoil != nil {
				bad = spoil(string(raw))
			}
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			p.set(func() { p.answer = func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, "down") } })
			f, _ = p.follow(dir, nil)
			if !fails(f, ErrNoPolicy)() {
				t.Error("it became policy")
			}
			p.set(func() { p.answer = nil })
			eventually(t, "the control plane to mend it", runs(f, 7))
		})
	}
}

func flip(letter string) string {
	if letter == "A" {
		return "B"
	}
	return "A"
}

func TestDamagedPinsAreNotPinnedAnew(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, filePins), []byte(`{"issuer":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFeed(FeedConfig{Client: p.client(nil), StateDir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	t.Parallel()
	other := newKey(t)
	tests := []struct {
		name   string
		jws    func(p *plane) string
		reason string
	}{
		{"an older revision, replayed", func(p *plane) string { return signed(t, document(2, 4, "aud_1"), p.key, "k1") }, "older"},
		{"an older epoch", func(p *plane) string { return signed(t, document(1, 99, "aud_1"), p.key, "k1") }, "older"},
		{"another audience", func(p *plane) string { return signed(t, document(2, 9, "aud_2"), p.key, "k1") }, "audience"},
		{"another issuer", func(p *plane) string {
			d := document(2, 9, "aud_1")
			d.Issuer = "https://elsewhere.test"
			return signed(t, d, p.key, "k1")
		}, "issuer"},
		{"another text of the revision that runs", func(p *plane) string {
			d := document(2, 5, "aud_1")
			d.MaxStaleSeconds = 86400
			return signed(t, d, p.key, "k1")
		}, "something else"},
		{"another key", func(*plane) string { return signed(t, document(2, 9, "aud_1"), other, "k1") }, "signature"},
		{"an unknown key", func(*plane) string { return signed(t, document(2, 9, "aud_1"), other, "k2") }, "its key is not known"},
		{"no signature", func(*plane) string { return "{}" }, "signature"},
		{"nothing", func(*plane) string { return "" }, "signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := newPlane(t), &clock{}
			p.publish(2, 5)
			f, _ := p.follow(t.TempDir(), c.now)
			eventually(t, "revision 5", runs(f, 5))
			bad := tt.jws(p)
			p.set(func() {
				p.answer = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("ETag", `"e2.r9.000000000000-jose"`)
					w.Header().Set(HeaderRevision, "9")
					w.Header().Set(HeaderLease, "300")
					_, _ = w.Write([]byte(bad))
				}
				close(p.changed)
				p.changed = make(chan struct{})
			})
			eventually(t, "the rejection to be reported", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				n := len(p.statuses)
				return n > 0 && p.statuses[n-1].Rejected != nil && strings.Contains(p.statuses[n-1].Rejected.Reason, tt.reason) && p.statuses[n-1].ActiveRevision == 5
			})
			if !runs(f, 5)() {
				t.Error("the policy that ran does not run any more")
			}
			c.advance(201 * time.Second)
			if !fails(f, ErrExpired)() {
				t.Error("a policy that was refused renewed the lease")
			}
		})
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	status := func(code int, problemCode string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { problem(w, code, problemCode) }
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"503", status(503, "replica_stale")},
		{"429", status(429, "slow_down")},
		{"401", status(401, "invalid_token")},
		{"403 of another kind", status(403, "not_allowed")},
		{"304 without a lease", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }},
		{"304 of another policy, from a replica that is behind", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"e1.r0.000000000000-jose"`)
			w.Header().Set(HeaderLease, "300")
			w.WriteHeader(304)
		}},
		{"304 of no policy", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(HeaderLease, "300")
			w.WriteHeader(304)
		}},
		{"an empty 200", func(http.ResponseWriter, *http.Request) {}},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := newPlane(t), &clock{}
			p.publish(1, 1)
			f, _ := p.follow(t.TempDir(), c.now)
			eventually(t, "revision 1", runs(f, 1))
			p.set(func() { p.answer = tt.answer })
			time.Sleep(150 * time.Millisecond)
			if !runs(f, 1)() {
				t.Error("the last known good policy was dropped before the end of its lease")
			}
			c.advance(201 * time.Second) // max_stale_seconds, although Policy-Lease said 300
			if !fails(f, ErrExpired)() {
				t.Error("used beyond its lease")
			}
			p.set(func() { p.answer = nil })
			eventually(t, "the renewal", runs(f, 1))
		})
	}
}

func TestRevokedGatewayForgetsItsPolicy(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	p.publish(1, 1)
	f, stop := p.follow(dir, nil)
	eventually(t, "revision 1", runs(f, 1))
	p.set(func() { p.answer = func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, CodeRevoked) } })
	eventually(t, "the revocation", fails(f, ErrRevoked))
	eventually(t, "the copy on disk to be wiped", func() bool {
		_, err := os.Stat(filepath.Join(dir, filePolicy))
		return os.IsNotExist(err)
	})
	stop()
	p.set(func() { p.answer = func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, "down") } })
	f, _ = p.follow(dir, nil)
	if !fails(f, ErrNoPolicy)() {
		t.Error("it remembers its policy")
	}
}

func TestRevokedAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, 1)
	f, _ := p.follow(t.TempDir(), nil)
	eventually(t, "revision 1", runs(f, 1))
	p.handle("POST "+PathToken, func(w http.ResponseWriter, _ *http.Request) { reply(w, 403, TokenError{Error: CodeRevoked}) })
	f.Client.tokens.drop(f.Client.tokens.token.AccessToken)
	eventually(t, "the revocation", fails(f, ErrRevoked))
}

func TestStateIsForItsUserOnly(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	p.publish(1, 1)
	f, stop := p.follow(dir, nil)
	eventually(t, "revision 1", runs(f, 1))
	stop()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", e.Name(), info.Mode())
		}
	}
	var pinned pins
	raw, _ := os.ReadFile(filepath.Join(dir, filePins))
	if err := json.Unmarshal(raw, &pinned); err != nil || pinned.Root != thumbprintOf(t, p.root) || pinned.Version != 1 || pinned.Audience != "aud_1" || len(pinned.Keys.Keys) != 1 {
		t.Errorf("pins are %s", raw)
	}
}
