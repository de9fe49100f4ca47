package gateway

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"countersign/internal/secret"
)

// collector receives spans as OTLP over HTTP has them.
type collector struct {
	*httptest.Server

	mu      sync.Mutex
	spans   []*spans.Span
	headers http.Header
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		raw, err := io.ReadAll(body)
		var sent spans.TracesData
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(raw, &sent) != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headers = r.Header
		for _, of := range sent.GetResourceSpans() {
			for _, in := range of.GetScopeSpans() {
				c.spans = append(c.spans, in.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// named gives the spans of a name.
func (c *collector) named(name string) (found []*spans.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

func said(s *spans.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.GetAttributes() {
		all[a.GetKey()] = strings.TrimSpace(a.GetValue().GetStringValue())
	}
	return all
}

func TestTraces(t *testing.T) {
	t.Setenv("OTLP_TOKEN", "secret-token")
	c := newCollector(t)
	s := newStand(t, func(cfg *Config) {
		cfg.Traces = Traces{Endpoint: c.URL, Headers: map[string]secret.Source{"X-Token": "env:OTLP_TOKEN"}}
	}).open()
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{"limit":7},"_meta":{"traceparent":"00-` + trace + `-` + parent + `-01",` +
		strings.TrimPrefix(modernMeta, `"_meta":{`) + `}}`
	if r := s.post(body, modernHeader("tools/call", "list_orders")); r.code != 0 {
		t.Fatal(r.body)
	}
	_ = s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	_ = s.modernCall("no_such_tool", `{}`)
	if err := s.gateway.traces.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}

	calls, hops := c.named("tools/call list_orders"), c.named("upstream")
	if len(calls) != 1 || len(hops) != 1 {
		t.Fatalf("%d spans of the call, %d of the server", len(calls), len(hops))
	}
	call, hop := calls[0], hops[0]
	if hex.EncodeToString(call.GetTraceId()) != trace || hex.EncodeToString(call.GetParentSpanId()) != parent || call.GetKind() != spans.Span_SPAN_KIND_SERVER {
		t.Errorf("the call is %v", call)
	}
	if string(hop.GetParentSpanId()) != string(call.GetSpanId()) || hop.GetKind() != spans.Span_SPAN_KIND_CLIENT {
		t.Errorf("the way to the server is %v", hop)
	}
	sent := s.calls("tools/call")
	if want := "00-" + trace + "-" + hex.EncodeToString(hop.GetSpanId()) + "-01"; len(sent) != 1 || sent[0].header.Get("Traceparent") != want || sent[0].body != body {
		t.Errorf("the server got %+v, want %s", sent, want)
	}
	if got := said(call); got["gen_ai.tool.name"] != "list_orders" || got["countersign.decision"] != "allowed" || got["mcp.method.name"] != "tools/call" {
		t.Errorf("the call says %v", got)
	}
	if held := c.named("tools/call delete_orders"); len(held) != 1 || said(held[0])["countersign.decision"] != "held" {
		t.Errorf("held: %v", held)
	}
	if hidden := c.named("tools/call"); len(hidden) != 1 || said(hidden[0])["countersign.reason"] == "" {
		t.Errorf("a tool that nobody knows: %v", hidden)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headers.Get("X-Token") != "secret-token" {
		t.Error("the receiver got no token")
	}
	for _, span := range c.spans {
		if text := span.String(); strings.Contains(text, "no_such_tool") || strings.Contains(text, "o-1001") || strings.Contains(text, "ada") {
			t.Errorf("a span tells too much: %s", text)
		}
	}
}

// A receiver that is gone costs no call anything.
func TestTracesToNobody(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	s := newStand(t, func(cfg *Config) { cfg.Traces = Traces{Endpoint: gone.URL} }).open()
	if r := s.modernCall("list_orders", "{}"); r.code != 0 {
		t.Error(r.body)
	}
}

// TestTraceReceivers: what may be over soon is tried again, what is not is not, and nobody leads the headers elsewhere.
func TestTraceReceivers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answers []int // the last one for good
		asked   int
		fine    bool
	}{
		{"one that takes them", []int{200}, 1, true},
		{"one that has no time at first", []int{503, 429, 200}, 3, true},
		{"one that never has time", []int{503}, traceAttempts, false},
		{"one that refuses them", []int{400}, 1, false},
		{"one that is elsewhere", []int{307}, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", r.URL.Path+"/elsewhere")
				w.WriteHeader(tt.answers[min(asked, len(tt.answers)-1)])
				asked++
			}))
			c := newTraceClient(receiver.URL, http.Header{})
			c.pause = 0
			err := c.UploadTraces(t.Context(), []*spans.ResourceSpans{{SchemaUrl: "urn:x"}})
			_ = c.Stop(t.Context())
			receiver.Close()
			if asked != tt.asked || (err == nil) != tt.fine {
				t.Errorf("asked %d times: %v", asked, err)
			}
		})
	}
}
