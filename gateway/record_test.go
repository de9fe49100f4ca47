package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/client"
	"countersign/policy"
)

// recordsOf are the records that the control plane has of a tool, once there are so many.
func (s *stand) recordsOf(server, tool string, n int) []client.CallRecord {
	s.t.Helper()
	var got []client.CallRecord
	s.eventually("records of "+server+" "+tool, func() bool {
		s.plane.mu.Lock()
		defer s.plane.mu.Unlock()
		got = nil
		for _, c := range s.plane.calls {
			if c.Server == server && c.Tool == tool {
				got = append(got, c)
			}
		}
		return len(got) >= n
	})
	return got
}

// TestEachUseHasOneRecord is the table of ways in which a governed use ends.
func TestEachUseHasOneRecord(t *testing.T) {
	t.Parallel()
	answer := func(s *stand, status int, media, body string) {
		s.misbehave("tools/call", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	call := func(tool, arguments string) func(*stand) { return func(s *stand) { s.modernCall(tool, arguments) } }
	for _, way := range []struct {
		name, tool, want string
		do               func(*stand)
	}{
		{"it ran", "list_orders", "allowed/allowed", call("list_orders", `{}`)},
		{"the server answers with an error", "update_order", "allowed/allowed", call("update_order", `{"id":"o-9999","status":"shipped"}`)},
		{"there is no such tool", "drop_all", "denied/unknown_tool", call("drop_all", `{}`)},
		{"the arguments are not valid", "list_orders", "denied/invalid_arguments", call("list_orders", `{"status":7}`)},
		{"people have to decide", "delete_orders", "held/approval_required", call("delete_orders", `{"ids":["o-1001"]}`)},
		{"a state of somebody else", "delete_orders", "denied/invalid_request", func(s *stand) {
			s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_orders","arguments":{"ids":["o-1001"]},"requestState":"x",`+modernMeta+`}}`, modernHeader("tools/call", "delete_orders"))
		}},
		{"nobody answers", "list_orders", "failed/no_answer", func(s *stand) {
			s.misbehave("tools/call", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			s.modernCall("list_orders", `{}`)
		}},
		{"the answer is no message", "list_orders", "failed/no_answer", func(s *stand) {
			answer(s, http.StatusOK, "application/json", `{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`)
			s.modernCall("list_orders", `{}`)
		}},
		{"the stream ends without an answer", "list_orders", "failed/no_answer", func(s *stand) {
			answer(s, http.StatusOK, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n")
			s.modernCall("list_orders", `{}`)
		}},
		{"the credential is missing", "list_orders", "failed/no_answer", func(s *stand) {
			answer(s, http.StatusUnauthorized, "application/json", `{}`)
			s.modernCall("list_orders", `{}`)
		}},
		{"the caller is gone", "list_orders", "failed/caller_gone", func(s *stand) {
			arrived := make(chan struct{})
			s.misbehave("tools/call", func(http.ResponseWriter, *http.Request) { close(arrived); <-s.t.Context().Done() })
			ctx, cancel := context.WithCancel(s.t.Context())
			go func() { <-arrived; cancel() }()
			body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{},` + modernMeta + `}}`
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url(), strings.NewReader(body))
			if err != nil {
				s.t.Fatal(err)
			}
			req.Header = modernHeader("tools/call", "list_orders")
			req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
			req.Header.Set("Content-Type", "application/json")
			if res, err := s.front.Client().Do(req); err == nil {
				_ = res.Body.Close()
			}
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open()
			way.do(s)
			got := s.recordsOf(s.source.Servers[0].Name, way.tool, 1)
			if r := got[0]; len(got) != 1 || string(r.Decision)+"/"+r.Reason != way.want {
				t.Errorf("%d records, %s/%s, want %s", len(got), r.Decision, r.Reason, way.want)
			}
		})
	}
}

func TestWhatARecordSays(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	const header, meta = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319d"
	traced := func(id string) string { return "00-" + id + "-b7ad6b7169203331-01" }
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"update_order","arguments":{"id":"o-9999","status":"shipped"}}}`
	s.post(body, http.Header{"Traceparent": {traced(header)}, "X-Model-Id": {"opus"}})
	s.post(strings.Replace(body, `"params":{`, `"params":{"_meta":{"traceparent":"`+traced(meta)+`"},`, 1), http.Header{"Traceparent": {traced(header)}})
	s.post(body, http.Header{"Traceparent": {strings.ToUpper(traced(header))}})
	got := s.recordsOf(s.source.Servers[0].Name, "update_order", 3)
	for i, want := range []string{header, meta, ""} {
		r := got[i]
		if r.TraceID != want || r.Instance != "i1" || r.Session == "" || r.Session != got[0].Session || !r.ToolError {
			t.Errorf("record %d: %+v", i, r)
		}
		if r.RequestTokens == 0 || r.ResponseTokens == 0 || r.UpstreamUS == 0 || r.UpstreamUS > r.DurationUS {
			t.Errorf("record %d counts %+v", i, r)
		}
	}
	if r := got[0]; r.Model != "opus" || r.ModelAssurance != policy.Declared {
		t.Errorf("model %q %q", r.Model, r.ModelAssurance)
	}
	seal := s.gateway.held.seal
	if seal.sessionDigest("ab", "c") == seal.sessionDigest("a", "bc") || len(got[0].Session) != 22 {
		t.Error("sessions are not told apart")
	}
}

func TestUnknownServersAreRecordedWithinBounds(t *testing.T) {
	t.Parallel()
	var s strangers
	now := time.Unix(1_700_000_000, 0)
	admitted := 0
	for i := range 1000 {
		if s.admit("com.scan/"+strings.Repeat("x", i%100), now) {
			admitted++
		}
	}
	if admitted != maxStrangers*10 { // ten times each
		t.Errorf("%d admitted", admitted)
	}
	if !s.admit("com.scan/late", now.Add(time.Minute)) {
		t.Error("a minute later it still is full")
	}
	w := newStand(t, nil).open()
	w.postTo("com.nobody/one", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}`)
	if r := w.recordsOf("com.nobody/one", "x", 1)[0]; r.Decision != client.DeniedCall || r.Reason != "unknown_server" || r.Kind != policy.KindTool {
		t.Errorf("recorded %+v", r)
	}
}
