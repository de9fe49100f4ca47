package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// callBody is a good call; tests spoil it.
const callBody = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{}}}`

func spoil(from, to string) string { return strings.Replace(callBody, from, to, 1) }

func TestHostileBodiesReachNobody(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	tests := []struct {
		name, body string
		status     int
		code       int
	}{
		{"empty", "", 400, codeParse},
		{"cut off", callBody[:40], 400, codeParse},
		{"not JSON", "hello", 400, codeParse},
		{"comment", "/* x */" + callBody, 400, codeParse},
		{"trailing comma", spoil(`{}}`, `{},}`), 400, codeParse},
		{"single quotes", strings.ReplaceAll(callBody, `"`, `'`), 400, codeParse},
		{"NaN", spoil(`{}`, `{"limit":NaN}`), 400, codeParse},
		{"trailing data", callBody + `{"x":1}`, 400, codeParse},
		{"trailing bracket", callBody + `]`, 400, codeParse},
		{"byte order mark", "\ufeff" + callBody, 400, codeParse},
		{"not UTF-8", spoil("list", "l\xffst"), 400, codeParse},
		{"overlong UTF-8", spoil("list", "l\xc0\xafst"), 400, codeParse},
		{"raw control character", spoil("list", "l\x01st"), 400, codeParse},
		{"raw NUL", spoil("list", "l\x00st"), 400, codeParse},
		{"leading zero", spoil(`:1,`, `:01,`), 400, codeParse},
		{"batch", "[" + callBody + "]", 400, codeInvalidRequest},
		{"batch of two", "[" + callBody + "," + callBody + "]", 400, codeInvalidRequest},
		{"empty batch", "[]", 400, codeInvalidRequest},
		{"spaced batch", "  [" + callBody + "]", 400, codeInvalidRequest},
		{"string", `"tools/call"`, 400, codeInvalidRequest},
		{"null", `null`, 400, codeInvalidRequest},
		{"number", `1`, 400, codeInvalidRequest},
		{"method twice", spoil(`"method"`, `"method":"tools/list","method"`), 400, codeInvalidRequest},
		{"name twice", spoil(`"name"`, `"name":"delete_orders","name"`), 400, codeInvalidRequest},
		{"name twice, after", spoil(`"arguments"`, `"name":"delete_orders","arguments"`), 400, codeInvalidRequest},
		{"name twice, escaped", spoil(`"arguments"`, `"n\u0061me":"delete_orders","arguments"`), 400, codeInvalidRequest},
		{"params twice", spoil(`"params"`, `"params":{"name":"delete_orders"},"params"`), 400, codeInvalidRequest},
		{"id twice", spoil(`"id":1`, `"id":1,"id":2`), 400, codeInvalidRequest},
		{"jsonrpc twice", spoil(`"id"`, `"jsonrpc":"2.0","id"`), 400, codeInvalidRequest},
		{"argument twice", spoil(`{}`, `{"limit":1,"limit":2}`), 400, codeInvalidRequest},
		{"argument twice, deep", spoil(`{}`, `{"a":[{"b":1,"b":2}]}`), 400, codeInvalidRequest},
		{"Name", spoil(`"arguments"`, `"Name":"delete_orders","arguments"`), 400, codeInvalidRequest},
		{"NAME alone", spoil(`"name"`, `"NAME"`), 400, codeInvalidRequest},
		{"Method", spoil(`"params"`, `"Method":"tools/list","params"`), 400, codeInvalidRequest},
		{"PARAMS", spoil(`"params"`, `"PARAMS":{},"params"`), 400, codeInvalidRequest},
		{"Id", spoil(`"id"`, `"Id":2,"id"`), 400, codeInvalidRequest},
		{"Arguments", spoil(`"arguments"`, `"Arguments":{},"arguments"`), 400, codeInvalidRequest},
		{"paramſ with long s", spoil(`"id"`, `"param`+"\u017f"+`":{"name":"delete_orders"},"id"`), 400, codeInvalidRequest},
		{"argumentſ with long s", spoil(`"arguments"`, `"argument`+"\u017f"+`":{},"arguments"`), 400, codeInvalidRequest},
		{"long s, escaped", spoil(`"id"`, `"param\u017f":{},"id"`), 400, codeInvalidRequest},
		{"Kelvin sign in progressToken", spoil(`"arguments"`, `"_meta":{"progressTo`+"\u212a"+`en":1},"arguments"`), 400, codeInvalidRequest},
		{"_META", spoil(`"arguments"`, `"_META":{},"arguments"`), 400, codeInvalidRequest},
		{"NUL suffix", spoil(`"arguments"`, `"name\u0000":"delete_orders","arguments"`), 400, codeInvalidRequest},
		{"NUL in an argument's key", spoil(`{}`, `{"a\u0000":1}`), 400, codeInvalidRequest},
		{"lone surrogate", spoil(`{}`, `{"a":"\ud800"}`), 400, codeInvalidRequest},
		{"too deep", spoil(`{}`, strings.Repeat(`{"a":`, 200)+`1`+strings.Repeat(`}`, 200)), 400, codeInvalidRequest},
		{"unknown member", spoil(`"id"`, `"extra":1,"id"`), 400, codeInvalidRequest},
		{"JSON-RPC 1.0", spoil(`"2.0"`, `"1.0"`), 400, codeInvalidRequest},
		{"no jsonrpc", spoil(`"jsonrpc":"2.0",`, ``), 400, codeInvalidRequest},
		{"jsonrpc as a number", spoil(`"2.0"`, `2.0`), 400, codeInvalidRequest},
		{"null id", spoil(`"id":1`, `"id":null`), 400, codeInvalidRequest},
		{"object id", spoil(`"id":1`, `"id":{}`), 400, codeInvalidRequest},
		{"long id", spoil(`"id":1`, `"id":"`+strings.Repeat("x", 300)+`"`), 400, codeInvalidRequest},
		{"method as a number", spoil(`"tools/call"`, `7`), 400, codeInvalidRequest},
		{"request and answer", spoil(`"params"`, `"result":{},"params"`), 400, codeInvalidRequest},
		{"params as an array", spoil(`{"name":"list_orders","arguments":{}}`, `["list_orders"]`), 400, codeInvalidRequest},
		{"answer nobody asked for", `{"jsonrpc":"2.0","id":1,"result":{}}`, 400, codeInvalidRequest},
		{"larger than 1 MiB", spoil(`{}`, `{"a":"`+strings.Repeat("x", 1<<20)+`"}`), 413, codeInvalidRequest},
		{"1 MiB of space", callBody + strings.Repeat(" ", 1<<20), 413, codeInvalidRequest},
		{"method with other case", spoil(`tools/call`, `Tools/Call`), 200, codeUnknownMethod},
		{"method with a space", spoil(`tools/call`, `tools/call `), 200, codeUnknownMethod},
		{"method with NUL", spoil(`tools/call`, `tools/call\u0000`), 200, codeUnknownMethod},
		{"unknown method", spoil(`tools/call`, `tools/execute`), 200, codeUnknownMethod},
		{"method of the other side", spoil(`tools/call`, `sampling/createMessage`), 200, codeUnknownMethod},
		{"unknown notification", `{"jsonrpc":"2.0","method":"notifications/made_up"}`, 400, codeUnknownMethod},
		{"name with other case", spoil(`list_orders`, `List_orders`), 200, codeInvalidParams},
		{"name with a space", spoil(`list_orders`, `list_orders `), 200, codeInvalidParams},
		{"name with NUL", spoil(`list_orders`, `list_orders\u0000`), 200, codeInvalidParams},
		{"name as a number", spoil(`"list_orders"`, `7`), 200, codeInvalidParams},
		{"no name", spoil(`"name":"list_orders",`, ``), 200, codeInvalidParams},
		{"no params", `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, 200, codeInvalidParams},
	}
	for _, tt := range tests {
		r := s.post(tt.body, nil)
		if r.status != tt.status || r.code != tt.code {
			t.Errorf("%s: got HTTP %d, code %d, %s; want %d and %d", tt.name, r.status, r.code, r.body, tt.status, tt.code)
		}
	}
	if n := s.total(); n != 0 {
		t.Errorf("%d requests reached the server: %+v", n, s.sent)
	}
}

func TestHeadersMustMatchTheBody(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	modern := strings.Replace(callBody, `"arguments"`, modernMeta+`,"arguments"`, 1)
	with := func(change func(http.Header)) http.Header {
		h := modernHeader("tools/call", "list_orders")
		change(h)
		return h
	}
	tests := []struct {
		name   string
		body   string
		header http.Header
	}{
		{"another name", modern, with(func(h http.Header) { h.Set(headerName, "delete_orders") })},
		{"another method", modern, with(func(h http.Header) { h.Set(headerMethod, "tools/list") })},
		{"no method", modern, with(func(h http.Header) { h.Del(headerMethod) })},
		{"no name", modern, with(func(h http.Header) { h.Del(headerName) })},
		{"two names", modern, with(func(h http.Header) { h[headerName] = []string{"list_orders", "delete_orders"} })},
		{"two methods", modern, with(func(h http.Header) { h[headerMethod] = []string{"tools/call", "tools/list"} })},
		{"two versions", modern, with(func(h http.Header) { h[headerVersion] = []string{"2026-07-28", "2025-11-25"} })},
		{"version only in the body", modern, with(func(h http.Header) { h.Del(headerVersion) })},
		{"older version in the header", modern, with(func(h http.Header) { h.Set(headerVersion, "2025-11-25") })},
		{"name in the older era", callBody, http.Header{headerName: {"delete_orders"}}},
		{"method in the older era", callBody, http.Header{headerMethod: {"tools/list"}}},
		{"two sessions", callBody, http.Header{headerSession: {"a", "b"}}},
	}
	for _, tt := range tests {
		if r := s.post(tt.body, tt.header); r.status != 400 || r.code != codeHeaderMismatch {
			t.Errorf("%s: got HTTP %d, code %d, %s", tt.name, r.status, r.code, r.body)
		}
	}
	if n := s.total(); n != 0 {
		t.Errorf("%d requests reached the server", n)
	}
	if r := s.post(modern, with(func(h http.Header) { h.Set(headerName, "=?base64?bGlzdF9vcmRlcnM=?=") })); r.code == codeHeaderMismatch && r.status != 400 {
		t.Errorf("an encoded name: %s", r.body)
	}
	if r := s.post(strings.Replace(modern, "tools/call", "tools/execute", 1), modernHeader("tools/execute", "")); r.status != 404 || r.code != codeUnknownMethod {
		t.Errorf("an unknown method in the stateless protocol: HTTP %d, code %d", r.status, r.code)
	}
	if r := s.post(strings.Replace(modern, "tools/call", "ping", 1), modernHeader("ping", "")); r.status != 404 || r.code != codeUnknownMethod {
		t.Errorf("a method that the stateless protocol dropped: HTTP %d, code %d", r.status, r.code)
	}
	if r := s.post(callBody, modernHeader("tools/call", "list_orders")); r.status != 400 || r.code != codeInvalidParams {
		t.Errorf("a version only in the header: HTTP %d, code %d", r.status, r.code)
	}
}

func TestContentTypeOriginAndMethodOfHTTP(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Origins = []string{"https://inspector.test"} }).open()
	for name, tt := range map[string]struct {
		header http.Header
		status int
	}{
		"text":              {http.Header{"Content-Type": {"text/plain"}}, 415},
		"form":              {http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415},
		"none":              {http.Header{"Content-Type": nil}, 415},
		"two":               {http.Header{"Content-Type": {"application/json", "text/plain"}}, 415},
		"another charset":   {http.Header{"Content-Type": {"application/json; charset=utf-16"}}, 415},
		"compressed":        {http.Header{"Content-Encoding": {"gzip"}}, 415},
		"another site":      {http.Header{"Origin": {"https://evil.test"}}, 403},
		"null origin":       {http.Header{"Origin": {"null"}}, 403},
		"an allowed site":   {http.Header{"Origin": {"https://inspector.test"}, headerMethod: {"x"}}, 400},
		"the resource":      {http.Header{"Origin": {resourceURL}, headerMethod: {"x"}}, 400},
		"two origins":       {http.Header{"Origin": {resourceURL, "https://evil.test"}}, 403},
		"utf-8 is the same": {http.Header{"Content-Type": {"application/json; charset=UTF-8"}, headerMethod: {"x"}}, 400},
	} {
		if r := s.post(callBody, tt.header); r.status != tt.status {
			t.Errorf("%s: HTTP %d %s, want %d", name, r.status, r.body, tt.status)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url(), strings.NewReader(callBody))
	req.Host = "rebound.evil.test"
	if r := s.do(req); r.status != 403 {
		t.Errorf("another host name on loopback: HTTP %d", r.status)
	}
	for method, want := range map[string]int{http.MethodPut: 405, http.MethodGet: 405, http.MethodDelete: 405, http.MethodPatch: 405} {
		req, _ := http.NewRequestWithContext(t.Context(), method, s.url(), nil)
		req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
		if r := s.do(req); r.status != want {
			t.Errorf("%s: HTTP %d, want %d", method, r.status, want)
		}
	}
	if n := s.total(); n != 0 {
		t.Errorf("%d requests reached the server", n)
	}
}

func TestWhatReachesTheServer(t *testing.T) {
	t.Parallel()
	t.Run("bytes and headers", func(t *testing.T) {
		t.Parallel()
		secret := t.TempDir() + "/upstream-token"
		writeFile(t, secret, "Bearer upstream-secret\n")
		s := newStand(t, func(c *Config) {
			c.Upstreams = map[string]Upstream{"com.example/orders": {Headers: map[string]string{"Authorization": "file:" + secret}}}
		}).open()
		body := ` {"jsonrpc" : "2.0", "id":"é\u00e9", "method":"tools/call", "params":{ "arguments" : {"limit" : 1.0e1},"name":"list_orders", ` + modernMeta + `, "extra":{"Kept":1}}} `
		h := modernHeader("tools/call", "list_orders")
		h.Set("Cookie", "a=b")
		h.Set("X-Forwarded-For", "1.2.3.4")
		h.Set("Forwarded", "for=1.2.3.4")
		h.Set("X-Model-Id", "m")
		h.Set("Idempotency-Key", "k")
		if r := s.post(body, h); r.code != 0 || r.result == nil {
			t.Fatalf("got %s", r.body)
		}
		sent := s.calls("tools/call")
		if len(sent) != 1 || sent[0].body != body {
			t.Fatalf("sent %+v", sent)
		}
		for _, name := range []string{"Cookie", "X-Forwarded-For", "Forwarded", "X-Model-Id", "Idempotency-Key", "Accept-Encoding"} {
			if v := sent[0].header.Values(name); len(v) > 0 {
				t.Errorf("%s reached the server: %v", name, v)
			}
		}
		if diff := cmp.Diff([]string{"Bearer upstream-secret"}, sent[0].header["Authorization"]); diff != "" {
			t.Errorf("credential (-want +got):\n%s", diff)
		}
	})
	t.Run("a held call is forwarded in canonical form", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, nil).open()
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"reason":"\u0041","ids":[ "o-1001" ]},"name":"delete_orders",` +
			strings.Replace(modernMeta, `"_meta":{`, `"_meta":{"smuggled":"x","progressToken":7,`, 1) + `}}`
		s.post(body, modernHeader("tools/call", "delete_orders"))
		s.plane.decide(s.plane.only().ID, "approved", "")
		s.post(body, modernHeader("tools/call", "delete_orders"))
		sent := s.calls("tools/call")
		want := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"ids":["o-1001"],"reason":"A"},"name":"delete_orders",` +
			strings.Replace(modernMeta, `"_meta":{`, `"_meta":{"progressToken":7,`, 1) + `}}`
		if len(sent) != 1 || sent[0].body != want {
			t.Errorf("sent %+v\nwant %s", sent, want)
		}
	})
}

func TestHeldCallWithWhatCannotBeApproved(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	held := func(extra, arguments string) reply {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_orders","arguments":` + arguments + `,` + extra + modernMeta + `}}`
		return s.post(body, modernHeader("tools/call", "delete_orders"))
	}
	for name, r := range map[string]reply{
		"a state of the server's":  held(`"requestState":"opaque",`, `{"ids":["o-1001"]}`),
		"answers without a state":  held(`"inputResponses":{},`, `{"ids":["o-1001"]}`),
		"an unknown parameter":     held(`"made_up":1,`, `{"ids":["o-1001"]}`),
		"keys that differ in case": held(``, `{"ids":["o-1001"],"IDS":["o-1002"]}`),
	} {
		if r.code == 0 && !strings.Contains(r.body, "invalid_arguments") {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	if s.plane.asks != 0 || s.total() != 0 {
		t.Errorf("%d asked, %d sent", s.plane.asks, s.total())
	}
}

func TestSessionsBelongToWhoOpenedThem(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	session := s.connect("ada", "2025-11-25", nil)
	list := `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`
	own := http.Header{headerSession: {session.ID()}}
	if r := s.post(list, own); r.status != 200 || r.result == nil {
		t.Fatalf("the owner: HTTP %d %s", r.status, r.body)
	}
	before := s.total()
	foreign := http.Header{headerSession: {session.ID()}, "Authorization": {"Bearer " + s.idp.token("eve")}}
	if r := s.post(list, foreign); r.status != 404 {
		t.Errorf("another person: HTTP %d %s", r.status, r.body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		req, _ := http.NewRequestWithContext(t.Context(), method, s.url(), nil)
		req.Header = foreign.Clone()
		req.Header.Set("Accept", "text/event-stream")
		if r := s.do(req); r.status != 404 {
			t.Errorf("%s by another person: HTTP %d", method, r.status)
		}
	}
	if r := s.post(list, http.Header{headerSession: {"made-up"}}); r.status != 404 {
		t.Errorf("an invented session: HTTP %d", r.status)
	}
	if s.total() != before {
		t.Error("a request for a foreign session reached the server")
	}
}
