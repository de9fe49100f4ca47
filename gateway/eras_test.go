package gateway

import (
	"maps"
	"net/http"
	"strings"
	"testing"
)

// TestVersionRulesOfEachEra: which headers a message needs depends on the version that it names.
func TestVersionRulesOfEachEra(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	const plain = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`
	const modern = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modernMeta + `}}`
	session := s.post(initializeBody, nil).header.Get(headerSession)
	tests := []struct {
		name   string
		body   string
		header http.Header
		status int
		code   int
	}{
		{"2025-03-26 had no header of the version", plain, http.Header{headerSession: {session}}, 200, 0},
		{"2025-06-18 and later repeat it", plain, http.Header{headerSession: {session}, headerVersion: {"2025-11-25"}}, 200, 0},
		{"the stateless era names it in both", modern, modernHeader("tools/list", ""), 200, 0},
		{"in the body alone", modern, nil, 400, codeHeaderMismatch},
		{"in the header alone", plain, modernHeader("tools/list", ""), 400, codeInvalidParams},
		{"one in the header, another in the body", modern, http.Header{headerVersion: {"2025-11-25"}}, 400, codeHeaderMismatch},
		{"given twice", modern, http.Header{headerVersion: {"2026-07-28", "2026-07-28"}, headerMethod: {"tools/list"}}, 400, codeHeaderMismatch},
		{"without the method", modern, http.Header{headerVersion: {"2026-07-28"}}, 400, codeHeaderMismatch},
		{"with another method", modern, modernHeader("tools/call", ""), 400, codeHeaderMismatch},
		{"the stateless era has no ping", strings.Replace(modern, "tools/list", "ping", 1), modernHeader("ping", ""), 404, codeUnknownMethod},
		{"and no handshake", strings.Replace(modern, "tools/list", "initialize", 1), modernHeader("initialize", ""), 404, codeUnknownMethod},
		{"the older era has a ping", strings.Replace(plain, "tools/list", "ping", 1), http.Header{headerSession: {session}}, 200, 0},
	}
	for _, tt := range tests {
		if r := s.post(tt.body, tt.header); r.status != tt.status || r.code != tt.code {
			t.Errorf("%s: HTTP %d, code %d: %s; want %d, %d", tt.name, r.status, r.code, r.body, tt.status, tt.code)
		}
	}
}

// sessionRequest sends GET or DELETE as ada, with more headers.
func (s *stand) sessionRequest(method, session string, more http.Header) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + s.idp.token("ada")}, headerSession: {session}, "Accept": {"text/event-stream"}}
	maps.Copy(req.Header, more)
	return s.do(req)
}

// TestResumptionKeepsPlaces: who comes back says where it was, and the ids of events stay with events that were filtered.
func TestResumptionKeepsPlaces(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	session := s.post(initializeBody, nil).header.Get(headerSession)
	s.mu.Lock()
	s.intercept = func(w http.ResponseWriter, body string) bool {
		if body != "" {
			return false
		}
		answerWith(200, "text/event-stream", "id: e-8\ndata: {\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"tools\":[{\"name\":\"POISON\"}]}}\n\nid: e-9\nretry: 10\ndata:\n\n")(w, nil)
		return true
	}
	s.mu.Unlock()
	r := s.sessionRequest(http.MethodGet, session, http.Header{headerLast: {"e-7"}})
	want := "id: e-8\ndata: {\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{\"tools\":[]}}\n\nid: e-9\nretry: 10\ndata: \n\n"
	if r.status != 200 || r.body != want {
		t.Errorf("HTTP %d\n%q, want\n%q", r.status, r.body, want)
	}
	s.mu.Lock()
	got := s.sent[len(s.sent)-1].header
	s.intercept = nil
	s.mu.Unlock()
	if got.Get(headerLast) != "e-7" || got.Get(headerSession) != session {
		t.Errorf("the server got %v", got)
	}
	if r := s.sessionRequest(http.MethodDelete, session, nil); r.status >= 300 {
		t.Errorf("DELETE: %d %s", r.status, r.body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if r := s.sessionRequest(method, session, nil); r.status != 404 {
			t.Errorf("%s after the end: %d %s", method, r.status, r.body)
		}
	}
	if r := s.sessionRequest(http.MethodGet, session, http.Header{headerVersion: {"2026-07-28"}}); r.status != 405 {
		t.Errorf("a GET of the stateless era: %d", r.status)
	}
}

// TestFilteredListsAreKeptShortly: what was filtered for one caller is for no other, and not for long.
func TestFilteredListsAreKeptShortly(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	for ttl, want := range map[string]string{
		"0": "0", "1000": "1000", "60000": "60000", "60001": "60000", "1e9": "60000", "99999999999999999999": "60000",
		`"long"`: "60000", "null": "60000",
	} {
		s.misbehave("tools/list", answerWith(200, "application/json",
			`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[],"cacheScope":"public","ttlMs":`+ttl+`}}`))
		r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", ""))
		if got := string(r.result); got != `{"resultType":"complete","tools":[],"cacheScope":"private","ttlMs":`+want+`}` {
			t.Errorf("%s became %s", ttl, got)
		}
	}
}

// TestRequestStateOfTheServer passes as it is, both ways, where no approval is needed.
func TestRequestStateOfTheServer(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	const result = `{"resultType":"input_required","requestState":"  0pa\u0071ue/=","inputRequests":{}}`
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":`+result+`}`))
	if r := s.modernCall("list_orders", `{}`); string(r.result) != result {
		t.Errorf("the caller got %s", r.body)
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{},"requestState":"  0pa\u0071ue/=","inputResponses":{},` + modernMeta + `}}`
	s.post(body, modernHeader("tools/call", "list_orders"))
	if calls := s.calls("tools/call"); len(calls) != 2 || calls[1].body != body {
		t.Errorf("the server got %v", calls)
	}
}

// TestProgressAndCancellation pass in both directions, as they are.
func TestProgressAndCancellation(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	session := http.Header{headerSession: {s.post(initializeBody, nil).header.Get(headerSession)}}
	const progress = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}`
	const cancelled = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"ask-1"}}`
	s.misbehave("tools/call", answerWith(200, "text/event-stream",
		"data: "+progress+"\n\ndata: "+cancelled+"\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[]}}\n\n"))
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{},"_meta":{"progressToken":"p"}}}`, session)
	if !strings.Contains(r.body, progress) || !strings.Contains(r.body, cancelled) {
		t.Errorf("the caller got %s", r.body)
	}
	for _, body := range []string{progress, cancelled} {
		if r := s.post(body, session); r.status != 202 {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
		if last := s.sent[len(s.sent)-1].body; last != body {
			t.Errorf("the server got %s", last)
		}
	}
}
