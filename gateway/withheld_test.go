package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
	"countersign/policy"
)

func atMost(bytes int64) policy.Effect { return policy.Effect{MaxResponseBytes: bytes} }

// resultOfSize is an answer to request id whose result has n bytes.
func resultOfSize(id string, n int) string {
	const frame = `{"content":[{"type":"text","text":""}]}`
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + strings.Replace(frame, `""}]`, `"`+strings.Repeat("S", n-len(frame))+`"}]`, 1) + `}`
}

func TestLongResultIsWithheld(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", atMost(1000), "list_orders").publish()
	event := func(text string) string { return "event: message\ndata: " + text + "\n\n" }
	note := `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}`
	tests := []struct {
		name     string
		answer   http.HandlerFunc
		withheld bool
	}{
		{"just as long as it may be", answerWith(200, "application/json", resultOfSize("1", 1000)), false},
		{"a byte more", answerWith(200, "application/json", resultOfSize("1", 1001)), true},
		{"in an event", answerWith(200, "text/event-stream", event(note)+event(resultOfSize("1", 1001))), true},
		{"in lines of an event", answerWith(200, "text/event-stream", "data: "+strings.ReplaceAll(resultOfSize("1", 2000), ",", ",\ndata: ")+"\n\n"), true},
		{"without an end", answerWith(200, "text/event-stream", "data: "+resultOfSize("1", 1001)), true},
		{"with an id of its own", answerWith(200, "text/event-stream", event(resultOfSize("7", 1001))), true},
		{"an id that is written otherwise", answerWith(200, "application/json", resultOfSize("1.0", 1001)), true},
		{"as an error", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"`+strings.Repeat("S", 1000)+`"}}`), true},
		{"as no object", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":"`+strings.Repeat("S", 1000)+`"}`), true},
		{"as a list", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"x":"`+strings.Repeat("S", 1000)+`"}}`), true},
	}
	for _, tt := range tests {
		s.misbehave("tools/call", tt.answer)
		r := s.modernCall("list_orders", "{}")
		if got := strings.Contains(r.body, `"reason":"response_too_long"`); got != tt.withheld || strings.Contains(r.body, "SSS") == tt.withheld {
			t.Errorf("%s: %.200s", tt.name, r.body)
		}
		if tt.withheld && (!strings.Contains(r.body, "RESULT WITHHELD: the tool ran") || !strings.Contains(r.body, "is over the limit of 1000")) {
			t.Errorf("%s is told %.300s", tt.name, r.body)
		}
	}
	s.misbehave("tools/call", answerWith(200, "application/json", resultOfSize("1", 5000)))
	if r := s.modernCall("update_order", `{"id":"o-1001"}`); !strings.Contains(r.body, "SSS") {
		t.Errorf("a tool without a limit: %.200s", r.body)
	}
	s.eventually("the call records", func() bool {
		return strings.Count(strings.Join(s.plane.decisions("list_orders"), " "), "allowed/response_too_long") == len(tests)-1
	})
}

func TestLongPromptsAndResourcesAreWithheld(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", atMost(20), "summarise_order", "orders://all").guarded("grd_3", atMost(5000), "orders://all").publish()
	for _, era := range eras {
		ada := s.connect("ada", era, nil)
		if _, err := ada.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "summarise_order", Arguments: map[string]string{"id": "o-1001"}}); err == nil || !strings.Contains(err.Error(), "RESULT WITHHELD") {
			t.Errorf("%s, a prompt: %v", era, err)
		}
		if _, err := ada.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "orders://all"}); err == nil || !strings.Contains(err.Error(), "over the limit of 20") {
			t.Errorf("%s, a resource, by the strictest of two: %v", era, err)
		}
		if tools, err := ada.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 3 {
			t.Errorf("%s, a list is no result of a call: %v", era, err)
		}
	}
}

func TestHeldCallWhoseResultIsTooLong(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", atMost(10), "delete_orders").publish()
	ada := s.connect("ada", "2025-11-25", nil)
	call(t, ada, "delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	res := call(t, ada, "delete_orders", `{"ids":["o-1001"]}`)
	if !res.IsError || !strings.Contains(textOf(res), "the tool ran") || s.shop.Executions("delete_orders") != 1 {
		t.Errorf("got %q after %d executions", textOf(res), s.shop.Executions("delete_orders"))
	}
	if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded}, s.plane.outcomeList()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// TestResultOnAnotherStream has the server answer a call on the streams that the session has beside that of the call: a
// caller who gives up the first and resumes gains nothing.
func TestResultOnAnotherStream(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", atMost(1000), "list_orders").guarded("grd_3", budget(400, 600), "list_orders").publish()
	s.clocked()
	session := s.connect("ada", "2025-11-25", nil)
	header := http.Header{headerSession: {session.ID()}, headerVersion: {"2025-11-25"}}
	ask := func(id int, method, params string) reply {
		return s.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params), header)
	}
	event := func(text string) string { return "data: " + text + "\n\n" }
	s.misbehave("tools/call", answerWith(200, "text/event-stream", ": on its way\n\n"))
	for id := range 2 {
		ask(100+id, "tools/call", `{"name":"list_orders","arguments":{}}`)
	}
	s.misbehave("ping", answerWith(200, "text/event-stream", event(resultOfSize("100", 1001))+event(resultOfSize(`"x"`, 1001))+event(resultOfSize("9", 1001))))
	r := ask(9, "ping", `{}`)
	if n := strings.Count(r.body, "RESULT WITHHELD"); n != 2 || !strings.Contains(r.body, `"id":9,"result":{"content"`) {
		t.Errorf("the answers of the call, of nothing known and of the ping itself: %d are withheld of %.600s", n, r.body)
	}
	s.misbehave("ping", answerWith(200, "text/event-stream", event(resultOfSize("101", 1000))+event(resultOfSize("10", 1001))))
	if r = ask(10, "ping", `{}`); strings.Contains(r.body, "WITHHELD") {
		t.Errorf("a short one: %.300s", r.body)
	}
	s.misbehave("ping", answerWith(200, "text/event-stream", event(resultOfSize("102", 5000))+event(resultOfSize("11", 10000))))
	if r = ask(11, "ping", `{}`); strings.Contains(r.body, "WITHHELD") {
		t.Errorf("nothing is owed any more: %.300s", r.body)
	}
	s.misbehave("tools/call", answerWith(200, "application/json", resultOfSize("12", 100)))
	if r = ask(12, "tools/call", `{"name":"list_orders","arguments":{}}`); !strings.Contains(r.body, "token_budget_spent") {
		t.Errorf("what came on another stream was free: %.300s", r.body)
	}
}

func TestForgottenDutiesBindWhatNobodyKnows(t *testing.T) {
	t.Parallel()
	var d duties
	for i := range 3 * maxDuties {
		d.add(fmt.Append(nil, i), duty{method: "tools/call", most: int64(1 + i)})
	}
	if len(d.open) != maxDuties {
		t.Errorf("%d are kept", len(d.open))
	}
	for id := range 3 * maxDuties {
		d.end(fmt.Append(nil, id))
	}
	if v := d.unknown(); v.most == 0 {
		t.Error("what was forgotten binds nobody")
	}
	d = duties{}
	d.add([]byte("1"), duty{most: 100})
	d.add([]byte("1"), duty{most: 500})
	if v, known := d.end([]byte("1")); !known || v.most != 100 {
		t.Errorf("two calls of one id: %d, %v", v.most, known)
	}
}
