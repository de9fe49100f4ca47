package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
	"countersign/policy"
)

// newKey makes a key of an agent and puts it into the source.
func (s *stand) newKey(agent string, lasts time.Duration) string {
	s.t.Helper()
	var random [32]byte
	_, _ = rand.Read(random[:])
	key := policy.KeyText(random)
	s.source.Keys = append(s.source.Keys, policy.Key{
		Hash: policy.HashKey(key), Agent: agent, Subject: policy.KeySubject(agent), NotAfter: time.Now().Add(lasts),
	})
	return key
}

// endKey takes a key out of the source.
func (s *stand) endKey(key string) *stand {
	s.source.Keys = slices.DeleteFunc(slices.Clone(s.source.Keys), func(k policy.Key) bool { return k.Hash == policy.HashKey(key) })
	return s
}

// callBy calls a tool with a credential.
func (s *stand) callBy(credential, tool, arguments string, more http.Header) reply {
	s.t.Helper()
	header := modernHeader("tools/call", tool)
	header.Set("Authorization", "Bearer "+credential)
	maps.Copy(header, more)
	return s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+arguments+`,`+modernMeta+`}}`, header)
}

func TestKeysThatAreNoGood(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	good, ended := s.newKey("nightly", time.Hour), s.newKey("nightly", time.Hour)
	expired := s.newKey("nightly", -time.Second)
	s.publish()
	if r := s.callBy(good, "list_orders", "{}", nil); r.status != 200 || r.code != 0 {
		t.Fatalf("a good key: HTTP %d %s", r.status, r.body)
	}
	s.endKey(ended).publish()
	var random [32]byte
	never := policy.KeyText(random)
	last := good[len(good)-1:]
	for _, tt := range []struct {
		name   string
		values []string
		want   string
	}{
		{"ended", []string{"Bearer " + ended}, "it has ended, or never was one"},
		{"never made", []string{"Bearer " + never}, "it has ended, or never was one"},
		{"expired", []string{"Bearer " + expired}, "has expired"},
		{"a wrong checksum", []string{"Bearer " + good[:52] + map[bool]string{true: "1", false: "0"}[last == "0"]}, "cut off or mistyped"},
		{"cut off", []string{"Bearer " + good[:40]}, "cut off or mistyped"},
		{"with more behind", []string{"Bearer " + good + "x"}, "cut off or mistyped"},
		{"two with a comma", []string{"Bearer " + good + "," + good}, "cut off or mistyped"},
		{"in upper case", []string{"Bearer " + strings.ToUpper(good)}, "cannot be read"},
		{"a token that says it is a key", []string{"Bearer csa_" + s.idp.token("ada")}, "cut off or mistyped"},
		{"a key that says it is a token", []string{"Bearer " + good + "." + good + "." + good}, "cut off or mistyped"},
		{"the hash", []string{"Bearer " + policy.HashKey(good).String()}, "cannot be read"},
		{"as Basic", []string{"Basic " + good}, "cannot be read"},
		{"bare", []string{good}, "cannot be read"},
		{"twice", []string{"Bearer " + good, "Bearer " + good}, "cannot be read"},
		{"beside a token", []string{"Bearer " + s.idp.token("ada"), "Bearer " + good}, "cannot be read"},
		{"none", nil, "a bearer token is needed"},
	} {
		r := s.callBy(good, "list_orders", "{}", http.Header{"Authorization": tt.values})
		challenge := r.header.Get("Www-Authenticate")
		if r.status != 401 || !strings.Contains(r.text, tt.want) || !strings.Contains(challenge, "resource_metadata=") {
			t.Errorf("%s: HTTP %d, %s, %q", tt.name, r.status, r.body, challenge)
		}
		if strings.Contains(r.body+challenge, good[4:20]) {
			t.Errorf("%s: the answer repeats the key", tt.name)
		}
	}
	query := s.url() + "?access_token=" + good
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, query, strings.NewReader(callBody))
	req.Header.Set("Content-Type", "application/json")
	if r := s.do(req); r.status != 401 || !strings.Contains(r.text, "a bearer token is needed") {
		t.Errorf("a key in the query: HTTP %d %s", r.status, r.body)
	}
	if n := s.shop.Executions("list_orders"); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// TestWhoPresentsAKey: the agent, with no user, in no group, and with the models of its registration.
func TestWhoPresentsAKey(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	nightly, robot := s.newKey("nightly", time.Hour), s.newKey("robot", time.Hour)
	s.source.Agents = []policy.Agent{{Agent: "nightly", Models: []string{"claude"}}, {Agent: "robot", Models: []string{"claude", "gpt"}}}
	to := func(id string, subject policy.Subject, tool string) policy.SourceGrant {
		return policy.SourceGrant{Grant: policy.Grant{ID: id, Name: id, Subject: subject}, Resource: policy.Resource{Servers: []string{"*"}, Names: []string{tool}}}
	}
	s.source.Grants = []policy.SourceGrant{
		to("g1", policy.Subject{Agents: []string{"nightly", "robot", "agent-1"}, Models: []string{"claude"}}, "list_orders"),
		to("g2", policy.Subject{Users: []string{"https://control.test|agent:nightly"}}, "update_order"),
		to("g3", policy.Subject{Groups: []string{"*"}}, "delete_orders"),
	}
	s.publish()
	model := func(name string) http.Header { return http.Header{"X-Model-Id": {name}} }
	for _, tt := range []struct {
		name, credential, tool string
		header                 http.Header
		granted                bool
	}{
		{"its only model", nightly, "list_orders", nil, true},
		{"its only model, declared", nightly, "list_orders", model("claude"), true},
		{"a model that is not its own", nightly, "list_orders", model("gpt"), false},
		{"which of two it is nobody said", robot, "list_orders", nil, false},
		{"one of two", robot, "list_orders", model("claude"), true},
		{"the other of two", robot, "list_orders", model("gpt"), false},
		{"a token of an agent without models", s.idp.token("ada"), "list_orders", model("claude"), false},
		{"its subject", nightly, "update_order", nil, true},
		{"another's subject", robot, "update_order", nil, false},
		{"any group", nightly, "delete_orders", nil, false},
	} {
		arguments := map[string]string{"update_order": `{"id":"o-1001","status":"shipped"}`, "delete_orders": `{"ids":["o-1001"]}`, "list_orders": "{}"}[tt.tool]
		r := s.callBy(tt.credential, tt.tool, arguments, tt.header)
		if granted := r.status == 200 && r.code == 0; granted != tt.granted {
			t.Errorf("%s: granted %v: %s", tt.name, granted, r.body)
		}
	}
	s.source.Agents = append(s.source.Agents, policy.Agent{Agent: "agent-1", Models: []string{"claude"}})
	s.publish()
	if r := s.callBy(s.idp.token("ada"), "list_orders", "{}", nil); r.code != 0 {
		t.Errorf("a token of an agent that is registered with one model: %s", r.body)
	}
	attested := s.idp.claims("ada")
	attested["model"] = "gpt"
	if r := s.callBy(s.idp.sign(attested, "at+jwt", "idp1"), "list_orders", "{}", nil); r.code == 0 {
		t.Error("the registration overrules the model that a token attests")
	}
}

// TestARevokedKeyNeverPasses calls from many sides while the key ends: whatever begins after the policy without it is in
// force is refused.
func TestARevokedKeyNeverPasses(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	key := s.newKey("nightly", time.Hour)
	s.publish()
	var over atomic.Bool
	var passed, refused atomic.Int32
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for refused.Load() < 20 && t.Context().Err() == nil {
				late := over.Load()
				switch status := s.tryBy(key); {
				case status == http.StatusUnauthorized:
					refused.Add(1)
				case status == 0: // cut off as the key ended
				case late:
					t.Errorf("passed after its end: HTTP %d", status)
					return
				default:
					passed.Add(1)
				}
			}
		})
	}
	s.eventually("calls", func() bool { return passed.Load() > 10 })
	s.endKey(key).publish()
	over.Store(true)
	wait.Wait()
}

// tryBy lists orders by a key and gives the status of the answer, 0 if it did not come whole.
func (s *stand) tryBy(key string) (status int) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url(), strings.NewReader(callBody))
	if err != nil {
		return 0
	}
	req.Header = modernHeader("tools/call", "list_orders")
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := s.front.Client().Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }() // it was read
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0
	}
	return res.StatusCode
}

// streamBy opens the stream of a session by a key and reports when it ends.
func (s *stand) streamBy(key string) (ended <-chan struct{}) {
	s.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + key}}
	opened := s.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, header)
	session := opened.header.Get(headerSession)
	if opened.status != 200 || session == "" {
		s.t.Fatalf("initialize: HTTP %d %s", opened.status, opened.body)
	}
	header[headerSession], header[headerVersion] = []string{session}, []string{"2025-11-25"}
	s.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, header)
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Accept", "text/event-stream")
	res, err := s.front.Client().Do(req)
	if err != nil || res.StatusCode != 200 {
		s.t.Fatalf("the stream: %v %v", res, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(io.Discard, bufio.NewReader(res.Body))
	}()
	return done
}

func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	revoked, kept, short := s.newKey("nightly", time.Hour), s.newKey("nightly", time.Hour), s.newKey("nightly", 4*time.Second)
	s.publish()
	ended, stays, expires := s.streamBy(revoked), s.streamBy(kept), s.streamBy(short)
	s.endKey(revoked).publish()
	for name, stream := range map[string]<-chan struct{}{"revoked": ended, "expired": expires} {
		select {
		case <-stream:
		case <-time.After(20 * time.Second):
			t.Errorf("the stream of a key that %s goes on", name)
		}
	}
	select {
	case <-stays:
		t.Error("the stream of another key ended too")
	default:
	}
	s.gateway.keys.mu.Lock()
	defer s.gateway.keys.mu.Unlock()
	if n := len(s.gateway.keys.under); n != 1 {
		t.Errorf("requests of %d keys are under way, want those of 1", n)
	}
}

func TestHeldCallByAKey(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Issuers = nil }).open()
	key := s.newKey("nightly", time.Hour)
	s.publish()
	deletes := func() reply { return s.callBy(key, "delete_orders", `{"ids":["o-1001"]}`, nil) }
	if r := deletes(); !strings.Contains(r.body, "countersign/approval") {
		t.Fatalf("held: %s", r.body)
	}
	approval := s.plane.only()
	s.plane.mu.Lock()
	asked := s.plane.approvals[approval.ID].ask
	s.plane.mu.Unlock()
	want := policy.Principal{Issuer: "https://control.test", Subject: "agent:nightly", Groups: []string{}, Agent: "nightly", ModelAssurance: policy.Unknown, Taint: policy.Taint{}}
	if diff := cmp.Diff(want, asked.Principal); diff != "" || asked.Evidence != "" {
		t.Errorf("asked with %q for (-want +got):\n%s", asked.Evidence, diff)
	}
	s.plane.decide(approval.ID, client.ApprovalApproved, "")
	if r := deletes(); s.shop.Executions("delete_orders") != 1 {
		t.Errorf("approved: %s", r.body)
	}
	s.plane.mu.Lock()
	s.plane.evidence = true
	s.plane.mu.Unlock()
	if r := s.callBy(key, "delete_orders", `{"ids":["o-1002"]}`, nil); !strings.Contains(r.body, "proven by a token of their identity provider") {
		t.Errorf("without evidence: %s", r.body)
	}
	s.guarded("grd_mfa", policy.Effect{MFA: true}, "list_orders").publish()
	if r := s.callBy(key, "list_orders", "{}", nil); r.status != 200 || !strings.Contains(r.body, "a key of an agent signs nobody in") {
		t.Errorf("a second factor: HTTP %d %s", r.status, r.body)
	}
	if m := s.get(wellKnown); strings.Contains(m.body, "authorization_servers") || !strings.Contains(m.body, `"resource":"`+resourceURL+`"`) {
		t.Errorf("metadata without issuers: %s", m.body)
	}
}

// TestAKeyThatEndsWhileItsCallIsHeld: an approval that comes too late executes nothing.
func TestAKeyThatEndsWhileItsCallIsHeld(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.HoldWait = 30 * time.Second }).open()
	key := s.newKey("nightly", time.Hour)
	s.publish()
	answered := make(chan int, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url(),
			strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_orders","arguments":{"ids":["o-1001"]},`+modernMeta+`}}`))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = modernHeader("tools/call", "delete_orders")
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		status := 0
		if res, err := s.front.Client().Do(req); err == nil {
			status = res.StatusCode
			_ = res.Body.Close()
		}
		answered <- status
	}()
	s.eventually("the ask", func() bool {
		s.plane.mu.Lock()
		defer s.plane.mu.Unlock()
		return len(s.plane.approvals) == 1
	})
	s.endKey(key).publish()
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	<-answered
	if n := s.shop.Executions("delete_orders"); n != 0 {
		t.Errorf("executed %d times for a key that had ended", n)
	}
}

func TestSessionsOfAKeyAreItsAgents(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	key := s.newKey("nightly", time.Hour)
	s.publish()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	session, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.url(), MaxRetries: -1, HTTPClient: &http.Client{Transport: bearerTransport{key, transport}},
	}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	if res := call(t, session, "list_orders", "{}"); res.IsError {
		t.Errorf("got %s", textOf(res))
	}
	stolen := http.Header{headerSession: {session.ID()}, headerVersion: {"2025-11-25"}}
	if r := s.post(callBody, stolen); r.status != 404 {
		t.Errorf("a token goes on with the session of a key: HTTP %d %s", r.status, r.body)
	}
}
