package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/policy"
)

// allows sets what the server may ask of clients.
func (s *stand) allows(requests ...policy.ClientRequest) *stand {
	s.source.Servers[0].ClientRequests = requests
	return s.publish()
}

const everything = `{"sampling":{"tools":{}},"Elicitation":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"experimental":{"x":1.0}}`

func TestCapabilitiesThatAServerLearns(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	initialize := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + everything + `,"clientInfo":{"name":"x","version":"1"}}}`
	modern := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{"status":"open"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":` + everything + `}}}`
	for _, c := range []struct {
		allowed []policy.ClientRequest
		want    string
	}{
		{nil, `{"experimental":{"x":1.0}}`},
		{[]policy.ClientRequest{policy.Roots, policy.Sampling}, `{"sampling":{"tools":{}},"roots":{"listChanged":true},"experimental":{"x":1.0}}`},
		{policy.ClientRequests(), everything},
	} {
		s.allows(c.allowed...)
		for method, body := range map[string]string{"initialize": initialize, "tools/call": modern} {
			header := http.Header{}
			if method == "tools/call" {
				header = modernHeader(method, "list_orders")
			}
			if r := s.post(body, header); r.status != http.StatusOK || r.code != 0 {
				t.Fatalf("%s: %d %s", method, r.status, r.body)
			}
			sent := s.calls(method)
			if got, want := sent[len(sent)-1].body, strings.Replace(body, everything, c.want, 1); got != want {
				t.Errorf("%v: the server got\n%s\nwant\n%s", c.allowed, got, want)
			}
		}
	}
}

// asks makes the server ask its client for something in the middle of each call, on the stream of the call.
func (s *stand) asks(method string) (answers func() []string) {
	ask := fmt.Sprintf(`{"jsonrpc":"2.0","id":"ask-1","method":%q,"params":{}}`, method)
	s.misbehave("tools/call", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: %s\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[]}}\n\n", ask)
	})
	return func() []string {
		var got []string
		for _, r := range s.calls("error") {
			if strings.Contains(r.body, `"ask-1"`) {
				got = append(got, r.body+" of "+r.header.Get(headerSession))
			}
		}
		return got
	}
}

func TestRequestsOfAServerThatItMayNotMake(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	ada := s.connect("ada", "2025-11-25", nil)
	header := http.Header{headerSession: {ada.ID()}, headerVersion: {"2025-11-25"}}
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{}}}`
	for _, method := range []string{"sampling/createMessage", "elicitation/create", "roots/list"} {
		s.allows(policy.ClientRequests()...)
		answers := s.asks(method)
		if r := s.post(body, header); !strings.Contains(r.body, method) || !strings.Contains(r.body, `"content":[]`) {
			t.Errorf("%s is allowed: %s", method, r.body)
		}
		s.allows()
		before := len(answers())
		if r := s.post(body, header); strings.Contains(r.body, method) || !strings.Contains(r.body, `"content":[]`) {
			t.Errorf("%s is not allowed: %s", method, r.body)
		}
		s.eventually("the server's answer", func() bool { return len(answers()) == before+1 })
		if got := answers()[before]; !strings.Contains(got, `"code":-32601`) || !strings.HasSuffix(got, " of "+ada.ID()) {
			t.Errorf("%s: the server is told %s", method, got)
		}
	}
}

func TestInputThatAServerMayNotAskFor(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	ask := `{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":{"method":%q,"params":{"mode":"url","url":"https://x.test"}}},"requestState":"s"}}`
	for _, c := range []struct {
		method string
		passes bool
	}{
		{"elicitation/create", true},
		{"sampling/createMessage", false},
		{"roots/list", false},
		{"tasks/other", false},
	} {
		s.allows(policy.Elicitation)
		s.misbehave("tools/call", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, ask, c.method)
		})
		r := s.modernCall("list_orders", `{}`)
		if c.passes != strings.Contains(r.body, "https://x.test") || c.passes == strings.Contains(r.body, string(reasonClientRequest)) {
			t.Errorf("%s: %s", c.method, r.body)
		}
	}
	s.eventually("the records", func() bool { return len(s.plane.decisions("list_orders")) == 4 })
	if got := strings.Join(s.plane.decisions("list_orders"), " "); strings.Count(got, "allowed/client_request_denied") != 3 {
		t.Errorf("recorded %s", got)
	}
}

func TestStdioServerThatAsksWhatItMayNot(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "asking", nil)
	asked := 0
	options := &mcp.ClientOptions{ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		asked++
		return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "forty-two"}}, nil
	}}
	allowed := s.connect("ada", "2025-11-25", options)
	if got := textOf(call(t, allowed, "ask", `{}`)); got != "forty-two" {
		t.Errorf("allowed: %q", got)
	}
	s.allows()
	denied := s.connect("ada", "2025-11-25", options)
	if got := textOf(call(t, denied, "ask", `{}`)); !strings.Contains(got, "does not support") && !strings.Contains(got, "does not do that") {
		t.Errorf("denied: %q", got)
	}
	if got := textOf(call(t, allowed, "ask", `{}`)); !strings.Contains(got, "does not do that") { // it was told otherwise before
		t.Errorf("denied since: %q", got)
	}
	if asked != 1 {
		t.Errorf("the client was asked %d times", asked)
	}
}
