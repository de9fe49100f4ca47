package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/orders"
	"countersign/policy"
)

const resourceURL = "http://gateway.test"

// stand is a gateway between everything it needs, on loopback.
type stand struct {
	t       testing.TB
	plane   *plane
	idp     *idp
	shop    *orders.Server
	up      *httptest.Server
	gateway *Gateway
	front   *httptest.Server
	source  policy.Source
	line    http.RoundTripper // to the control plane; nil: the usual one
	cutOff  bool              // answers may end in their middle, since the test cuts what the gateway passes on

	mu        sync.Mutex
	sent      []sentRequest
	intercept func(w http.ResponseWriter, body string) bool // a server that behaves badly; true: answered
}

// misbehave replaces what the server answers to callers' requests of a method.
func (s *stand) misbehave(method string, answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = func(w http.ResponseWriter, body string) bool {
		if !strings.Contains(body, `"`+method+`"`) {
			return false
		}
		answer(w, nil)
		return true
	}
}

// sentRequest is what reached the upstream.
type sentRequest struct {
	method string
	header http.Header
	body   string
}

// recorded keeps what reaches the upstream from callers: whatever is not the gateway's own look at it.
func (s *stand) recorded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !strings.Contains(string(body), "countersign-gateway") && r.Header.Get("X-Own") == "" {
			s.mu.Lock()
			s.sent = append(s.sent, sentRequest{r.Method, r.Header.Clone(), string(body)})
			intercept := s.intercept
			s.mu.Unlock()
			if intercept != nil && intercept(w, string(body)) {
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// calls returns what reached the upstream of one method of MCP.
func (s *stand) calls(method string) []sentRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []sentRequest
	for _, r := range s.sent {
		if strings.Contains(r.body, `"`+method+`"`) {
			found = append(found, r)
		}
	}
	return found
}

func (s *stand) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// newStand starts a gateway in front of the orders sample. change may adapt the configuration. The policy that
// it serves is published by the caller, or by open.
func newStand(t testing.TB, change func(*Config)) *stand {
	t.Helper()
	return newStandOver(t, nil, change)
}

// newStandOver is newStand with a line of its own to the control plane.
func newStandOver(t testing.TB, line http.RoundTripper, change func(*Config)) *stand {
	t.Helper()
	s := &stand{t: t, line: line, plane: newPlane(t), idp: newIDP(t), shop: orders.New()}
	s.shop.SessionIdle = time.Minute // of those whose end was cut off
	s.up = httptest.NewServer(s.recorded(s.shop.Handler()))
	t.Cleanup(func() {
		s.shop.Close()
		s.up.CloseClientConnections()
		s.up.Close()
	})
	cfg := Config{
		ControlPlane: s.plane.server.URL, ClientID: "cli_1", Listen: "127.0.0.1:0", Resource: resourceURL, StateDir: t.TempDir(),
		Issuers: []Issuer{{Issuer: s.idp.server.URL, Algorithms: []string{"ES256"}}}, AllowPrivateUpstreams: true, Instance: "i1",
	}
	if change != nil {
		change(&cfg)
	}
	s.source = policy.Source{Issuer: "https://control.test", Audience: "aud_test", Epoch: 1, Generation: 1, MaxStaleSeconds: 300}
	return s.start(cfg)
}

// start runs the gateway of the stand.
func (s *stand) start(cfg Config) *stand {
	t := s.t
	t.Helper()
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	control := client.Config{ControlPlane: cfg.ControlPlane, ClientID: cfg.ClientID, ClientSecret: "secret", Instance: cfg.Instance, Log: log}
	if s.line != nil {
		control.HTTP = &http.Client{Transport: s.line}
	}
	c, err := client.New(control)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if s.gateway, err = New(ctx, cfg, c, log); err != nil {
		cancel()
		t.Fatal(err)
	}
	s.front = httptest.NewServer(s.gateway.Handler())
	done := make(chan error, 1)
	go func() { done <- s.gateway.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running: %v", err)
		}
		s.front.CloseClientConnections()
		s.front.Close()
		c.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return s
}

// testLog writes to the log of a test that still runs.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// open publishes a policy: everything that the upstream offers now is pinned, everyone may use it, and what is
// destructive needs an approval.
func (s *stand) open() *stand {
	s.t.Helper()
	s.source.Servers = []policy.Server{s.pinned(s.endpoint())}
	s.source.Grants = []policy.SourceGrant{{
		Grant:    policy.Grant{ID: "grt_1", Name: "all", Subject: policy.Subject{Everyone: true}},
		Resource: policy.Resource{Servers: []string{"*"}, Kinds: []policy.Kind{"tool", "prompt", "resource"}},
	}}
	s.source.Guardrails = []policy.SourceGuardrail{{
		Guardrail: policy.Guardrail{
			ID: "grd_1", Name: "destructive", Subject: policy.Subject{Everyone: true},
			Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
		},
		Resource: policy.Resource{Servers: []string{"*"}, Risks: []policy.Risk{policy.Destructive}},
	}}
	return s.publish()
}

// publish gives out the next revision of the source and waits until the gateway runs it.
func (s *stand) publish() *stand {
	s.t.Helper()
	s.source.Generation++
	s.plane.publish(s.source)
	s.eventually("the policy to be active", func() bool {
		snapshot, err := s.gateway.feed.Current()
		return err == nil && snapshot.Revision == s.source.Generation
	})
	return s
}

func (s *stand) eventually(what string, ok func() bool) {
	s.t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("waited in vain for %s", what)
}

func (s *stand) endpoint() policy.Endpoint {
	return policy.Endpoint{Transport: policy.StreamableHTTP, URL: s.up.URL, Digest: canonical.Sum("test", []byte(s.up.URL))}
}

// pinned makes a server of what its endpoint offers now.
func (s *stand) pinned(e policy.Endpoint) policy.Server {
	s.t.Helper()
	offer, _, err := s.gateway.readOffer(s.t.Context(), orders.Name, e, nil)
	if err != nil {
		s.t.Fatalf("reading offer: %v", err)
	}
	server := policy.Server{ID: "srv_1", Name: orders.Name, State: policy.Active, Team: "tem_1", Endpoint: e, ClientRequests: policy.ClientRequests()}
	add := func(kind policy.Kind, key string, raws []json.RawMessage) {
		for _, raw := range raws {
			name, _ := definitionName(raw, key)
			digest, err := client.DefinitionDigest(raw)
			if err != nil {
				s.t.Fatal(err)
			}
			var d struct {
				Input       json.RawMessage `json:"inputSchema"`
				Output      json.RawMessage `json:"outputSchema"`
				Annotations struct {
					ReadOnly    bool  `json:"readOnlyHint"`
					Destructive *bool `json:"destructiveHint"`
				} `json:"annotations"`
			}
			if err := json.Unmarshal(raw, &d); err != nil {
				s.t.Fatal(err)
			}
			risk := policy.Destructive
			if d.Annotations.ReadOnly || kind != policy.KindTool {
				risk = policy.ReadOnly
			} else if d.Annotations.Destructive != nil && !*d.Annotations.Destructive {
				risk = policy.Write
			}
			server.Tools = append(server.Tools, policy.Tool{
				ID: "tol_" + string(kind) + "_" + name, Kind: kind, Name: name, Definition: digest, Risk: risk,
				InputSchema: compact(d.Input), HasOutputSchema: d.Output != nil,
			})
		}
	}
	add(policy.KindTool, "name", offer.Tools)
	add(policy.KindPrompt, "name", offer.Prompts)
	add(policy.KindResource, "uri", offer.Resources)
	add(policy.KindResource, "uriTemplate", offer.ResourceTemplates)
	return server
}

func compact(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	var out bytes.Buffer
	_ = json.Compact(&out, raw)
	return out.Bytes()
}

func (s *stand) url() string { return s.front.URL + "/mcp/" + orders.Name }

type bearerTransport struct {
	token string
	next  http.RoundTripper
}

// reply is what a raw request got.
type reply struct {
	status int
	header http.Header
	body   string
	result json.RawMessage
	code   int
	text   string // of the error
	data   json.RawMessage
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// scriptMessage is what a scripted server reads of a message.
type scriptMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Cursor string `json:"cursor"`
	} `json:"params"`
}
