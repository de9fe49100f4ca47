package server

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/auth"
	"countersign/client"
	"countersign/internal/nodetest"
	"countersign/registry"
)

// middleman is what stands between a gateway and us: it passes everything on, but for what a test makes it do.
type middleman struct {
	*httptest.Server
	change atomic.Pointer[func(*http.Response) error]
}

func (w *world) middleman(t *testing.T) *middleman {
	t.Helper()
	plane, err := url.Parse(w.url)
	must(t, err)
	m := &middleman{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(plane) },
		ModifyResponse: func(r *http.Response) error {
			if change := m.change.Load(); change != nil {
				return (*change)(r)
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // no answer at all
	}
	m.Server = httptest.NewServer(proxy)
	t.Cleanup(m.Close)
	return m
}

// answersWith makes the middleman answer a path with another body.
func (m *middleman) answersWith(path string, body func(old string) string) {
	change := func(r *http.Response) error {
		if r.Request.URL.Path != path || r.StatusCode != http.StatusOK {
			return nil
		}
		old, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		replaced := body(string(old))
		r.Body = io.NopCloser(strings.NewReader(replaced))
		r.ContentLength = int64(len(replaced))
		r.Header.Del("Content-Length")
		return nil
	}
	m.change.Store(&change)
}

// cut makes the middleman answer nothing.
func (m *middleman) cut() {
	change := func(*http.Response) error { return errors.New("cut off") }
	m.change.Store(&change)
	m.CloseClientConnections()
}

func (m *middleman) honest() { m.change.Store(nil) }

// scripted is examples/javascript/gateway.js, running.
type scripted struct {
	url     string
	state   string
	command *exec.Cmd
}

// script starts the gateway of the example for one that is enrolled here.
func (g *edge) script(t *testing.T, plane, state string, environment ...string) *scripted {
	t.Helper()
	s := &scripted{state: state, command: nodetest.Command(t, "examples/javascript/gateway.js")}
	s.command.Env = append(os.Environ(), "CONTROL_PLANE="+plane, "CLIENT_ID="+g.ClientID, "CLIENT_SECRET="+g.Secret, "STATE="+state, "LISTEN=127.0.0.1:0", "WAIT=5")
	s.command.Env = append(s.command.Env, environment...)
	stderr, err := s.command.StderrPipe()
	must(t, err)
	must(t, s.command.Start())
	t.Cleanup(s.stop)
	lines := bufio.NewScanner(stderr)
	for s.url == "" && lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			s.url = "http://" + address
		}
	}
	go func() {
		for lines.Scan() { // what it says is of use to people only
		}
	}()
	if s.url == "" {
		t.Fatalf("the gateway does not listen: %v", lines.Err())
	}
	return s
}

func (s *scripted) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM)
	_ = s.command.Wait() // it was asked to end, or ended before
}

// scriptedAnswer is what gateway.js says of itself or of a call.
type scriptedAnswer struct {
	Outcome, Reason string
	Revision        int64
	Approval        struct {
		Call       json.RawMessage `json:"call"`
		CallDigest string          `json:"call_digest"`
	}
}

// decide asks about a call of Vera's.
func (s *scripted) decide(t *testing.T, tool, arguments string) scriptedAnswer {
	t.Helper()
	question := `{"server":"` + orders + `","kind":"tool","name":"` + tool + `","principal":{"issuer":"https://idp","subject":"vera"},"arguments":` + arguments + `}`
	resp, err := http.Post(s.url+"/decide", "application/json", strings.NewReader(question))
	must(t, err)
	defer resp.Body.Close()
	var a scriptedAnswer
	must(t, json.NewDecoder(resp.Body).Decode(&a))
	return a
}

// inForce asks what is in force.
func (s *scripted) inForce(t *testing.T) (in struct{ Epoch int }) {
	t.Helper()
	resp, err := http.Get(s.url)
	must(t, err)
	defer resp.Body.Close()
	must(t, json.NewDecoder(resp.Body).Decode(&in))
	return in
}

// patiently asks until what is said is what is wanted.
func patiently[T comparable](t *testing.T, want T, ask func() T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got := ask()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it stays %v, want %v", got, want)
		}
	}
}

// until waits until a call of list_orders is decided for a reason.
func (s *scripted) until(t *testing.T, reason string) {
	t.Helper()
	patiently(t, reason, func() string { return s.decide(t, "list_orders", "{}").Reason })
}

// runs waits until the gateway decides by a revision.
func (s *scripted) runs(t *testing.T, revision int64) {
	t.Helper()
	patiently(t, revision, func() int64 { return s.decide(t, "list_orders", "{}").Revision })
}

// rejected waits until the gateway reports that it refused what it got, and for which reason.
func (w *world) rejected(t *testing.T, reason string) {
	t.Helper()
	patiently(t, true, func() bool {
		said := read[string](w, `select coalesce(max(rejected_reason), '') from gateway_instances where version = 'example'`)
		return strings.Contains(said, reason)
	})
}

func (w *world) revision(g *edge) int64 {
	w.t.Helper()
	w.current(w.t, g.AudienceID)
	return w.delivery.Current(g.AudienceID).Revision
}

// TestJavaScriptGatewayFollows takes examples/javascript through the life of a policy.
func TestJavaScriptGatewayFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	js := g.script(t, w.url, t.TempDir())
	js.until(t, "allowed")
	js.runs(t, w.revision(g))

	held := js.decide(t, "delete_orders", `{"order":7}`)
	if held.Outcome != "hold" {
		t.Fatalf("delete_orders: %+v", held)
	}
	asked := `{"call":` + string(held.Approval.Call) + `,"call_digest":"` + held.Approval.CallDigest + `","principal":{"issuer":"https://idp","subject":"vera"}}`
	g.call(http.MethodPost, client.PathApprovals, asked).want(t, http.StatusCreated)
	if a := js.decide(t, "delete_orders", `{"order":7,"Order":8}`); a.Outcome != "deny" || a.Reason != "case_variant_key" {
		t.Errorf("ambiguous arguments: %+v", a)
	}

	w.edit(t, "One more") // a parked request wakes
	js.runs(t, w.revision(g))

	_, err := w.delivery.Revoke(t.Context(), installer, g.ID, "stolen")
	must(t, err)
	js.until(t, "gateway_revoked")
	patiently(t, true, func() bool {
		_, err := os.Stat(filepath.Join(js.state, "policy.jose"))
		return errors.Is(err, os.ErrNotExist)
	})
}

// TestJavaScriptGatewayKeepsUp changes the key that signs, and then the epoch.
func TestJavaScriptGatewayKeepsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	js := g.script(t, w.url, t.TempDir(), "ROOT_KEY="+w.auth.RootKey())
	js.runs(t, w.revision(g))
	before, _ := w.auth.PolicyKey()

	_, err := w.auth.Keyring().Rotate(t.Context(), installer, auth.Rotation{Purpose: auth.ForPolicy, Now: true})
	must(t, err)
	w.exec(`update keyring set activates_at = clock_timestamp() where state = 'next'`)
	patiently(t, true, func() bool { kid, _ := w.auth.PolicyKey(); return kid != before })
	w.edit(t, "Signed by another key")
	js.runs(t, w.revision(g))
	var pins struct {
		Root string
		Keys []struct{ Kid string }
	}
	text, err := os.ReadFile(filepath.Join(js.state, "pins.json"))
	must(t, err)
	must(t, json.Unmarshal(text, &pins))
	if pins.Root != w.auth.RootKey() || len(pins.Keys) != 2 {
		t.Errorf("pinned %+v", pins)
	}

	_, err = registry.BumpEpoch(t.Context(), w.db, installer, "restored from a copy")
	must(t, err)
	patiently(t, 2, func() int { return js.inForce(t).Epoch })

	fooled := g.script(t, w.url, t.TempDir(), "ROOT_KEY="+before) // another root than ours
	w.rejected(t, "not by the pinned root")
	if a := fooled.decide(t, "list_orders", "{}"); a.Reason != "no_policy" {
		t.Errorf("a policy whose keys another root vouches for: %+v", a)
	}
}

// TestJavaScriptGatewayIsNotFooled puts somebody in between who changes what is said.
func TestJavaScriptGatewayIsNotFooled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, first := w.pulled(t)
	between := w.middleman(t)
	js := g.script(t, between.URL, t.TempDir())
	js.runs(t, w.revision(g))
	before := w.revision(g)
	older := g.get(client.PathPolicy, "Accept", joseType).want(t, http.StatusOK).body

	between.answersWith(client.PathPolicy, func(jws string) string {
		parts := strings.Split(jws, ".")
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		parts[1] = base64.RawURLEncoding.EncodeToString(bytes.Replace(payload, []byte(`"read_only"`), []byte(`"write"`), 1))
		return strings.Join(parts, ".")
	})
	w.edit(t, "Two")
	w.rejected(t, "the signature is wrong")

	between.answersWith(client.PathPolicy, func(string) string { return resigned(t, []byte(first.body)) })
	w.edit(t, "Three")
	w.rejected(t, "no Ed25519 key")
	if a := js.decide(t, "list_orders", "{}"); a.Outcome != "allow" || a.Revision != before {
		t.Errorf("what was refused takes effect: %+v", a)
	}

	between.honest()
	js.runs(t, w.revision(g))
	between.answersWith(client.PathPolicy, func(string) string { return older })
	w.edit(t, "Four")
	w.rejected(t, "older than what runs")
	between.honest()
	js.runs(t, w.revision(g))
}

// resigned is a document signed by somebody else.
func resigned(t *testing.T, document []byte) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	options := (&jose.SignerOptions{}).WithType("countersign-policy").WithHeader("kid", "mine")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, options)
	must(t, err)
	signed, err := signer.Sign(document)
	must(t, err)
	jws, err := signed.CompactSerialize()
	must(t, err)
	return jws
}

// TestJavaScriptGatewayRunsOut cuts it off: it goes on by what it has, also after a restart, and then denies.
func TestJavaScriptGatewayRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	between := w.middleman(t)
	state := t.TempDir()
	js := g.script(t, between.URL, state)
	js.until(t, "allowed")
	js.stop()

	between.cut()
	js = g.script(t, between.URL, state)
	if a := js.decide(t, "list_orders", "{}"); a.Outcome != "allow" {
		t.Fatalf("started from disk, cut off: %+v", a)
	}
	js.stop()

	lease := filepath.Join(state, "lease.json")
	text, err := os.ReadFile(lease)
	must(t, err)
	var saved map[string]any
	must(t, json.Unmarshal(text, &saved))
	saved["seconds"] = 1
	text, err = json.Marshal(saved)
	must(t, err)
	must(t, os.WriteFile(lease, text, 0o600))
	js = g.script(t, between.URL, state)
	js.until(t, "policy_expired")

	between.honest()
	js.until(t, "allowed")
	if a := g.script(t, "http://127.0.0.1:1", t.TempDir()).decide(t, "list_orders", "{}"); a.Outcome != "deny" || a.Reason != "no_policy" {
		t.Errorf("a cold start without a control plane: %+v", a)
	}
}
