package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"countersign/internal/orders"
	"countersign/policy"
)

// hostileForms are schemas that a server may want a client to fill in. The gateway reads none of them as a schema: who shows
// the form has to. passes says whether the bytes go on as they are, or the caller is told that the server cannot be used.
func hostileForms() map[string]struct {
	schema string
	passes bool
} {
	type form = struct {
		schema string
		passes bool
	}
	object := func(property string) string { return `{"type":"object","properties":{"a":` + property + `}}` }
	return map[string]form{
		"a reference to itself":                   {`{"$ref":"#"}`, true},
		"a reference to a file":                   {`{"$ref":"file:///etc/passwd"}`, true},
		"a reference to another machine":          {`{"$ref":"http://127.0.0.1:1/schema"}`, true},
		"another meta-schema":                     {`{"$schema":"http://127.0.0.1:1/meta","type":"object"}`, true},
		"allOf, doubled forty times":              {doubled("allOf", 40), true},
		"looking ahead":                           {object(`{"pattern":"(?=a)a"}`), true},
		"a pattern that takes others for ever":    {object(`{"pattern":"^(a+)+$"}`), true},
		"a number without end":                    {object(`{"maximum":1e99999999}`), true},
		"a great many values":                     {object(`{"enum":[` + strings.Repeat(`"v",`, 20_000) + `"v"]}`), true},
		"a key twice":                             {`{"type":"object","type":"array"}`, false},
		"nested deeper than anything is read":     {strings.Repeat(`{"not":`, 2_000) + "{}" + strings.Repeat("}", 2_000), false},
		"nested a million times, and never ended": {strings.Repeat(`[`, 1_000_000), false},
	}
}

// TestHostileForms: whatever a server asks of a client in the middle of a call, in either era, goes on as it is or not at
// all, and nothing crashes, stalls, or is fetched.
func TestHostileForms(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	initialize := strings.Replace(initializeBody, `"capabilities":{}`, `"capabilities":{"elicitation":{}}`, 1)
	session := http.Header{headerSession: {s.post(initialize, nil).header.Get(headerSession)}}
	meta := strings.Replace(modernMeta, `clientCapabilities":{}`, `clientCapabilities":{"elicitation":{"form":{}}}`, 1)
	for name, form := range hostileForms() {
		params := `{"mode":"form","message":"Who?","requestedSchema":` + form.schema + `}`
		s.misbehave("tools/call", answerWith(200, "text/event-stream", `data: {"jsonrpc":"2.0","id":"ask","method":"elicitation/create","params":`+params+"}\n\n"+
			`data: {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"after"}]}}`+"\n\n"))
		older := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{}}}`, session)
		s.misbehave("tools/call", answerWith(200, "application/json",
			`{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":`+params+`}},"requestState":"s"}}`))
		newer := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{},`+meta+`}}`, modernHeader("tools/call", "list_orders"))
		for era, r := range map[string]reply{"older": older, "stateless": newer} {
			whole := strings.Contains(r.body, form.schema)
			if r.status != http.StatusOK || whole != form.passes || !whole && !strings.Contains(r.body, "cannot be read in exactly one way") {
				t.Errorf("%s, %s: HTTP %d, whole %t: %.300s", name, era, r.status, whole, r.body)
			}
		}
	}
	s.misbehave("nothing", nil)
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, "o-1001") {
		t.Errorf("afterwards: %s", r.body)
	}
}

// TestHostileDefinitionsInLists: whatever a list holds at run time, what is not the very definition that is pinned is not
// listed, and what has a pinned name is held here at once; the rest is as ever.
func TestHostileDefinitionsInLists(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	lists := []struct {
		member, method, key, name string
		kind                      policy.Kind
	}{
		{"tools", "tools/list", "name", "list_orders", policy.KindTool},
		{"prompts", "prompts/list", "name", "summarise_order", policy.KindPrompt},
		{"resources", "resources/list", "uri", "orders://all", policy.KindResource},
	}
	hostile := map[string]struct {
		member string // beside the name
		held   bool
	}{
		"a reference to itself":          {`"inputSchema":{"$ref":"#"}`, true},
		"a reference to another machine": {`"inputSchema":{"$ref":"http://127.0.0.1:1/x"}`, true},
		"allOf, doubled forty times":     {`"inputSchema":` + doubled("allOf", 40), true},
		"a description of a megabyte":    {`"description":"` + strings.Repeat("POISON ", 150_000) + `"`, true},
		"a thousand icons":               {`"icons":[` + strings.Repeat(`{"src":"javascript:POISON"},`, 1_000) + `{}]`, true},
		"deeper than a definition is":    {`"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200), true},
		"no name that is a text":         {`"%s":{}`, false},
	}
	for what, h := range hostile {
		for _, l := range lists {
			definition := fmt.Sprintf(`{%q:%q,%s}`, l.key, l.name, h.member)
			if !h.held {
				definition = fmt.Sprintf(`{%q:[%q],"POISON":true}`, l.key, l.name)
			}
			s.misbehave(l.method, answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete",`+
				`"`+l.member+`":[7,null,[],"`+l.name+`",`+definition+`],"ttlMs":1,"cacheScope":"private"}}`))
			r := s.post(`{"jsonrpc":"2.0","id":1,"method":"`+l.method+`","params":{`+modernMeta+`}}`, modernHeader(l.method, ""))
			if r.status != http.StatusOK || !strings.Contains(r.body, `"`+l.member+`":[]`) {
				t.Errorf("%s in %s: HTTP %d %.300s", what, l.method, r.status, r.body)
			}
			v := s.verdictOf(l.kind, l.name)
			if held := s.gateway.watch.isHeld(v.Server, v.Tool); held != h.held {
				t.Errorf("%s in %s: held %t", what, l.method, held)
			}
		}
		if r := s.modernCall("list_orders", `{}`); h.held != strings.Contains(r.body, string(policy.ReasonDrifted)) {
			t.Errorf("%s: a call of it: %s", what, r.body)
		}
		if r := s.modernCall("update_order", `{"id":"o-1001"}`); r.result == nil || strings.Contains(r.body, string(policy.ReasonDrifted)) {
			t.Errorf("%s: a call of another: %s", what, r.body)
		}
		s.gateway.watch.mu.Lock()
		clear(s.gateway.watch.held)
		s.gateway.watch.mu.Unlock()
	}
}

// verdictOf is what the policy has under a name.
func (s *stand) verdictOf(kind policy.Kind, name string) policy.Verdict {
	s.t.Helper()
	snapshot, err := s.gateway.feed.Current()
	if err != nil {
		s.t.Fatal(err)
	}
	return snapshot.Index.Decide(policy.Request{Server: orders.Name, Kind: kind, Name: name, Principal: &policy.Principal{Subject: "ada"}, Now: s.gateway.now()})
}
