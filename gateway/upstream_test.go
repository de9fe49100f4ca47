package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
)

func answerWith(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Set-Cookie", "upstream=1")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestServerThatMisbehaves(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	const poison = "POISON"
	answer := `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"redirect", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://"+poison+".test")
			w.WriteHeader(307)
		}, "redirect"},
		{"its own 401", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Www-Authenticate", `Bearer resource_metadata="https://`+poison+`.test"`)
			w.WriteHeader(401)
		}, "refuses the gateway's credential"},
		{"403", answerWith(403, "text/plain", poison), "refuses the gateway's credential"},
		{"web page", answerWith(200, "text/html", "<html>"+poison), "not MCP"},
		{"compressed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte(poison))
		}, "compressed"},
		{"not JSON", answerWith(200, "application/json", poison), "exactly one way"},
		{"result twice", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[]},"result":{"tools":[{"name":"`+poison+`"}]}}`), "exactly one way"},
		{"Result", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{},"Result":{"a":"`+poison+`"}}`), "exactly one way"},
		{"a batch", answerWith(200, "application/json", `[{"jsonrpc":"2.0","id":1,"result":{"a":"`+poison+`"}}]`), "exactly one way"},
		{"method and result", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"method":"x","result":{"a":"`+poison+`"}}`), "exactly one way"},
		{"neither", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"tools":["`+poison+`"]}`), "exactly one way"},
		{"event not JSON", answerWith(200, "text/event-stream", "data: "+poison+"\n\n"), "exactly one way"},
		{"event with a result twice", answerWith(200, "text/event-stream", `data: {"jsonrpc":"2.0","id":1,"result":{},"result":{"a":"`+poison+"\"}}\n\n"), "exactly one way"},
		{"Data in capitals", answerWith(200, "text/event-stream", "Data: "+poison+"\ndata: "+answer+"\n\n"), `"content":[]`},
	}
	for _, tt := range tests {
		s.misbehave("tools/call", tt.answer)
		r := s.modernCall("list_orders", "{}")
		if !strings.Contains(r.body, tt.want) || strings.Contains(r.body+fmt.Sprint(r.header), poison) {
			t.Errorf("%s: got HTTP %d %v %s; want %q", tt.name, r.status, r.header, r.body, tt.want)
		}
		for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Location", "Www-Authenticate"} {
			if r.header.Get(name) != "" {
				t.Errorf("%s: %s came through", tt.name, name)
			}
		}
	}
}

// TestListsAreFilteredWhereverTheyAre lets a server slip definitions in on every way there is.
func TestListsAreFilteredWhereverTheyAre(t *testing.T) {
	t.Parallel()
	const evil = `{"name":"list_orders","description":"POISON","inputSchema":{"type":"object"}}`
	list := func(id string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"result":{"resultType":"complete","tools":[` + evil + `,{"name":"new_tool","description":"POISON"}],"cacheScope":"public","ttlMs":1000}}`
	}
	event := func(s string) string { return "event: message\ndata: " + s + "\n\n" }
	tests := map[string]http.HandlerFunc{
		"as JSON":                    answerWith(200, "application/json", list("1")),
		"as an event":                answerWith(200, "text/event-stream", event(list("1"))),
		"for another request":        answerWith(200, "text/event-stream", event(list("7"))+event(`{"jsonrpc":"2.0","id":1,"result":{}}`)),
		"with CR as the line end":    answerWith(200, "text/event-stream", ": x\rdata: "+list("1")+"\r\r"),
		"in lines of data":           answerWith(200, "text/event-stream", "data: "+strings.ReplaceAll(list("1"), ",", ",\ndata: ")+"\n\n"),
		"behind a byte order mark":   answerWith(200, "text/event-stream", "\ufeffdata: "+list("1")+"\n\n"),
		"without an end":             answerWith(200, "text/event-stream", "data: "+list("1")),
		"with a field cut in pieces": answerWith(200, "text/event-stream", "data: {\"x\":\ndata:"+list("1")+"\n\n"),
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open()
			for _, method := range []string{"tools/list", "tools/call"} {
				s.misbehave(method, answer)
				var r reply
				if method == "tools/list" {
					r = s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", ""))
				} else {
					r = s.modernCall("update_order", `{"id":"o-1001"}`)
				}
				if strings.Contains(r.body, "POISON") || strings.Contains(r.body, "public") {
					t.Errorf("%s: %s", method, r.body)
				}
			}
		})
	}
}

func TestFilteredListKeepsTheRestUntouched(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", ""))
	for _, want := range []string{`"cacheScope":"private"`, `"ttlMs"`, `"name":"list_orders"`, `serverInfo`} {
		if !strings.Contains(string(r.result), want) {
			t.Errorf("%s lacks %s", r.result, want)
		}
	}
}

func TestOutcomeIsWhatHappened(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   client.OutcomeStatus
	}{
		{"done", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`), client.Succeeded},
		{"done, in events", answerWith(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[]}}\n\n"), client.Succeeded},
		{"the tool failed", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}`), client.Failed},
		{"an error", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}`), client.Failed},
		{"it died", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, client.Indeterminate},
		{"it died in a stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.Write([]byte(": working\n\n"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, client.Indeterminate},
		{"an error page", answerWith(500, "text/html", "oops"), client.Indeterminate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open()
			s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
			s.plane.decide("apr_1", client.ApprovalApproved, "")
			s.misbehave("tools/call", tt.answer)
			s.modernCallUnsure("delete_orders", `{"ids":["o-1001"]}`)
			s.eventually("the outcome", func() bool { return len(s.plane.outcomeList()) == 1 })
			if diff := cmp.Diff([]client.OutcomeStatus{tt.want}, s.plane.outcomeList()); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if n := len(s.calls("tools/call")); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

func TestServerThatIsGoneWasNotSentTheCall(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	s.up.CloseClientConnections()
	_ = s.up.Listener.Close()
	s.gateway.upstream.CloseIdleConnections()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.eventually("the outcome", func() bool { return len(s.plane.outcomeList()) == 1 })
	if diff := cmp.Diff([]client.OutcomeStatus{client.Failed}, s.plane.outcomeList()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestControlPlaneThatIsDownExecutesNothingHeld(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	s.plane.mu.Lock()
	s.plane.down = true
	s.plane.mu.Unlock()
	r := s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	if !strings.Contains(r.body, `"reason":"approval_unavailable"`) || s.shop.Executions("delete_orders") != 0 {
		t.Errorf("got %s after %d executions", r.body, s.shop.Executions("delete_orders"))
	}
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, "o-1001") {
		t.Errorf("a call that needs nobody: %s", r.body)
	}
}
