package gateway

import (
	"net/http"
	"strings"
	"testing"
)

// TestNeitherSideLearnsOfTasks: capabilities pass without them and otherwise byte for byte, calls ask for none, and nothing
// that names a task reaches a server.
func TestNeitherSideLearnsOfTasks(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	const (
		both    = `{"Tasks":{"list":{}},"tools":{"x":1.0},"tasks":{"requests":{"tools":{"call":{}}}},"extensions":{"a/b":{},"io.modelcontextprotocol/tasks":{}}}`
		neither = `{"tools":{"x":1.0},"extensions":{"a/b":{}}}`
	)
	for method, body := range map[string]string{
		"initialize":      `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + both + `,"clientInfo":{"name":"x","version":"1"}}}`,
		"server/discover": `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + modernMeta + `}}`,
		"tools/call":      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{},"task":{"ttl":60000},` + modernMeta + `}}`,
	} {
		s.misbehave(method, answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"capabilities":`+both+`,"content":[]}}`))
		header := http.Header{}
		if method != "initialize" {
			header = modernHeader(method, map[string]string{"tools/call": "list_orders"}[method])
		}
		r := s.post(body, header)
		hidden := strings.Contains(r.body, `"capabilities":`+neither)
		if hidden != (method != "tools/call") {
			t.Errorf("%s: the caller got %s", method, r.body)
		}
		want := strings.ReplaceAll(strings.Replace(body, both, neither, 1), `"task":{"ttl":60000},`, "")
		if calls := s.calls(method); len(calls) != 1 || calls[0].body != want {
			t.Errorf("%s: the server got\n%+v\nwant\n%s", method, calls, want)
		}
	}
	for _, method := range []string{"tasks/get", "tasks/result", "tasks/cancel", "tasks/list", "tasks/update"} {
		r := s.post(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{"taskId":"1",`+modernMeta+`}}`, modernHeader(method, ""))
		if r.code != codeUnknownMethod || len(s.calls(method)) != 0 {
			t.Errorf("%s: %s", method, r.body)
		}
	}
}

// TestHeldCallThatWantsATask is held as any other, and runs as no task.
func TestHeldCallThatWantsATask(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	if r := s.deleteWith(`"task":{"ttl":1},`, "ada"); !strings.Contains(r.body, inputName) {
		t.Errorf("not held: %s", r.body)
	}
}
