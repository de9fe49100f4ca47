package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/client"
	"countersign/policy"
)

// plane speaks the wire format of a control plane, and keeps the promises that a gateway relies on: one policy,
// one approval for each call, one redemption for each confirmation.
type plane struct {
	t      testing.TB
	server *httptest.Server
	key    ed25519.PrivateKey

	mu           sync.Mutex
	jws          string
	etag         string
	changed      chan struct{}
	down         bool
	revoked      bool
	leaseFor     string // seconds
	approvals    map[string]*planeApproval
	observations []client.Observation
	outcomes     []client.Outcome
	calls        []client.CallRecord
	commands     []client.Command
	instances    map[string]bool // that reported their status
	namesake     bool            // another process goes by the name of the gateway's
	asked        func()          // called when an approval is asked for
	jobs         chan client.Job
	finished     chan finishedJob
	cancel       bool
	progress     []client.Step
	asks         int
	evidence     bool // asks without a token of the caller are refused
	loseRedeem   int  // so many answers to redemptions are lost after they took effect
}

type planeApproval struct {
	client.Approval

	ask      client.Ask
	token    string
	redeemed string
}

type finishedJob struct {
	offer   client.Offer
	failure client.Failure
	failed  bool
}

const gatewayID = "gtw_test"

func newPlane(t testing.TB) *plane {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{
		t: t, key: key, leaseFor: "300", changed: make(chan struct{}), approvals: map[string]*planeApproval{}, instances: map[string]bool{},
		jobs: make(chan client.Job, 8), finished: make(chan finishedJob, 8),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, client.TokenReply{AccessToken: "plane-token", TokenType: "Bearer", ExpiresIn: 300})
	})
	mux.HandleFunc("GET /v1/policy", p.getPolicy)
	mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}})
	})
	mux.HandleFunc("PUT /v1/gateways/self/status", func(w http.ResponseWriter, r *http.Request) {
		status := readBody[client.Status](p, r)
		p.mu.Lock()
		p.commands = status.Commands
		p.instances[status.Instance] = true
		shared := p.namesake
		p.mu.Unlock()
		if r.Header.Get(client.HeaderProcess) == "" {
			t.Error("a process does not say which one it is")
		}
		writeJSON(w, 200, client.StatusReply{GatewayID: gatewayID, Name: "test", AudienceID: "aud_test", SharedInstance: shared})
	})
	mux.HandleFunc("POST /v1/discoveries/lease", p.lease)
	mux.HandleFunc("POST /v1/discoveries/{id}/{what}", p.discovery)
	mux.HandleFunc("POST /v1/observations", p.observe)
	mux.HandleFunc("POST /v1/approvals", p.ask)
	mux.HandleFunc("GET /v1/approvals/{id}", p.approval)
	mux.HandleFunc("POST /v1/approvals/{id}/token", p.claim)
	mux.HandleFunc("POST /v1/approvals/{id}/cancel", p.cancelApproval)
	mux.HandleFunc("POST /v1/confirmations/redeem", p.redeem)
	mux.HandleFunc("POST /v1/confirmations/{id}/outcome", p.outcome)
	mux.HandleFunc("POST /v1/calls", p.record)
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		down, revoked := p.down, p.revoked
		p.mu.Unlock()
		switch {
		case down:
			problemReply(w, 503, "down")
		case revoked && r.URL.Path != "/oauth/token":
			problemReply(w, 403, client.CodeRevoked)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.server.Close)
	return p
}

func problemReply(w http.ResponseWriter, status int, code string) {
	body, _ := json.Marshal(client.ProblemReply{Type: "urn:countersign:problem:" + code, Status: status, Code: code, Detail: "Test."})
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// publish compiles a policy and wakes whoever waits for one.
func (p *plane) publish(src policy.Source) {
	p.t.Helper()
	document, _, err := policy.Compile(src, time.Now())
	if err != nil {
		p.t.Fatalf("compiling: %v", err)
	}
	raw, err := document.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := policy.Sign(raw, p.key, "k1")
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jws, p.etag = signed.JWS, policy.ETag(document.Epoch, document.Revision, document.ContentDigest(), "jose")
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *plane) getPolicy(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	jws, etag, changed, lease := p.jws, p.etag, p.changed, p.leaseFor
	p.mu.Unlock()
	if jws == "" {
		problemReply(w, http.StatusServiceUnavailable, "policy_compiling")
		return
	}
	if r.Header.Get("If-None-Match") == etag {
		select {
		case <-changed:
		case <-time.After(2 * time.Second):
		case <-r.Context().Done():
			return
		}
		p.mu.Lock()
		jws, etag, lease = p.jws, p.etag, p.leaseFor // a lease is granted with the answer, not when it was asked for
		p.mu.Unlock()
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Policy-Lease", lease)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", client.TypeJOSE)
	_, _ = w.Write([]byte(jws))
}

func (p *plane) lease(w http.ResponseWriter, r *http.Request) {
	readBody[client.LeaseRequest](p, r)
	select {
	case job := <-p.jobs:
		writeJSON(w, 200, job)
	case <-time.After(2 * time.Second):
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}

func readBody[T any](p *plane, r *http.Request) T {
	var v T
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	switch err := dec.Decode(&v); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		panic(http.ErrAbortHandler) // the line was cut
	case err != nil:
		p.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return v
}

func (p *plane) discovery(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("what") {
	case "progress":
		steps := readBody[client.Progress](p, r).Steps
		p.mu.Lock()
		p.progress = steps
		cancelled := p.cancel
		p.mu.Unlock()
		writeJSON(w, 200, client.ProgressReply{Cancelled: cancelled})
	case "result":
		p.finished <- finishedJob{offer: readBody[client.Offer](p, r)}
		w.WriteHeader(http.StatusNoContent)
	case "failure":
		p.finished <- finishedJob{failure: readBody[client.Failure](p, r), failed: true}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (p *plane) observe(w http.ResponseWriter, r *http.Request) {
	o := readBody[client.Observation](p, r)
	p.mu.Lock()
	p.observations = append(p.observations, o)
	p.mu.Unlock()
	writeJSON(w, 200, client.ObservationReply{Held: []client.HeldTool{}})
}

func (p *plane) record(w http.ResponseWriter, r *http.Request) {
	batch := readBody[client.CallBatch](p, r)
	p.mu.Lock()
	p.calls = append(p.calls, batch.Calls...)
	p.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// offered lists the commands of the last status.
func (p *plane) offered() []client.Command {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commands
}

// only returns the one approval there is.
func (p *plane) only() client.Approval {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.approvals) != 1 {
		p.t.Fatalf("%d approvals, want 1", len(p.approvals))
	}
	for _, a := range p.approvals {
		return a.Approval
	}
	return client.Approval{}
}

func (p *plane) outcomeList() []client.OutcomeStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []client.OutcomeStatus
	for _, o := range p.outcomes {
		all = append(all, o.Status)
	}
	return all
}

func (p *plane) decisions(tool string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, c := range p.calls {
		if c.Tool == tool {
			all = append(all, strings.Join([]string{string(c.Decision), c.Reason}, "/"))
		}
	}
	slices.Sort(all)
	return all
}
