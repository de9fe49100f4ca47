package gateway

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
	"countersign/policy"
)

// granting makes the one grant of the stand hold only where the expression is true.
func (s *stand) granting(expr string) *stand {
	s.source.Grants[0].Condition = expr
	return s
}

// guardedWhere is guarded with a condition.
func (s *stand) guardedWhere(id, expr string, e policy.Effect, names ...string) *stand {
	s.guarded(id, e, names...)
	s.source.Guardrails[len(s.source.Guardrails)-1].Condition = expr
	return s
}

// schemaless has the gateway take any arguments, so that only policy is in the way, and the upstream answer everything.
func (s *stand) schemaless() *stand {
	for i := range s.source.Servers[0].Tools {
		s.source.Servers[0].Tools[i].InputSchema = nil
	}
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`))
	return s
}

// Arguments that a condition on args.limit cannot be true of.
var outOfBounds = map[string]string{
	"too much":              `{"limit":101}`,
	"a little too much":     `{"limit":100.00000000000001}`,
	"beyond exact floats":   `{"limit":9007199254740993}`,
	"beyond 64 bits":        `{"limit":18446744073709551616}`,
	"beyond all floats":     `{"limit":1e400}`,
	"more than floats have": `{"limit":0.1000000000000000055511151231257827}`,
	"text":                  `{"limit":"1"}`,
	"null":                  `{"limit":null}`,
	"a list":                `{"limit":[1]}`,
	"an object":             `{"limit":{"limit":1}}`,
	"a truth":               `{"limit":true}`,
	"missing":               `{}`,
	"deeper":                `{"args":{"limit":1}}`,
	"in another case":       `{"Limit":1}`,
	"in both cases":         `{"limit":1,"Limit":1000}`,
	"no object":             `[1]`,
	"no value":              `null`,
	"a number alone":        `1`,
}

func TestNothingPassesThatAConditionForbids(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().schemaless().granting("args.limit <= 100").publish()
	for name, arguments := range outOfBounds {
		r := s.modernCall("list_orders", arguments)
		if !strings.Contains(r.body, `"reason":"condition_not_met"`) && !strings.Contains(r.body, `"reason":"invalid_arguments"`) {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	for name, arguments := range map[string]string{"twice": `{"limit":1,"limit":1000}`, "twice, spelt otherwise": `{"limit":1,"lim\u0069t":1000}`} {
		if r := s.modernCall("list_orders", arguments); r.status != 400 || r.code != codeInvalidRequest {
			t.Errorf("%s: HTTP %d %s", name, r.status, r.body)
		}
	}
	if n := len(s.calls("tools/call")); n != 0 {
		t.Fatalf("%d calls reached the server", n)
	}
	for _, arguments := range []string{`{"limit":100}`, `{"limit":1e2}`, `{"limit":1.0}`, `{"limit":99.5}`, `{"limit":-9223372036854775808}`, `{"l\u0069mit":1}`} {
		if r := s.modernCall("list_orders", arguments); !strings.Contains(r.body, `"content":[]`) {
			t.Errorf("%s: %s", arguments, r.body)
		}
		if sent := s.calls("tools/call"); !strings.Contains(sent[len(sent)-1].body, `"arguments":`+arguments) {
			t.Errorf("%s was sent as %s", arguments, sent[len(sent)-1].body)
		}
	}
}

func TestConditionThatFailsHolds(t *testing.T) {
	t.Parallel()
	approval := policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}
	s := newStand(t, nil).open().schemaless().guardedWhere("grd_2", "args.limit > 100", approval, "list_orders").publish()
	for name, arguments := range outOfBounds {
		r := s.modernCall("list_orders", arguments)
		if !strings.Contains(r.body, metaApproval) && !strings.Contains(r.body, `"reason":"invalid_arguments"`) {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	if n := len(s.calls("tools/call")); n != 0 {
		t.Fatalf("%d calls reached the server", n)
	}
	if r := s.modernCall("list_orders", `{"limit":100}`); !strings.Contains(r.body, `"content":[]`) {
		t.Errorf("a small one: %s", r.body)
	}
}

func TestExactNumbersDecide(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().schemaless().granting("args.limit == 9007199254740993").publish()
	for arguments, allowed := range map[string]bool{
		`{"limit":9007199254740993}`: true, `{"limit":9007199254740992}`: false, `{"limit":9007199254740994}`: false, `{"limit":9007199254740993.5}`: false,
	} {
		if r := s.modernCall("list_orders", arguments); strings.Contains(r.body, `"content":[]`) != allowed {
			t.Errorf("%s: %s", arguments, r.body)
		}
	}
}

func TestOnlyLargeCallsAreHeldInEachEra(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open()
			s.source.Guardrails[0].Condition = "size(args.ids) > 1"
			ada := s.publish().connect("ada", era, nil)
			if res := call(t, ada, "delete_orders", `{"ids":["o-1001"]}`); res.IsError {
				t.Errorf("one order: %q", textOf(res))
			}
			const args = `{"ids":["o-1002","o-1003"]}`
			if res := call(t, ada, "delete_orders", args); res.Meta[metaApproval] == nil {
				t.Errorf("two orders: %q", textOf(res))
			}
			s.plane.decide("apr_1", client.ApprovalApproved, "")
			if res := call(t, ada, "delete_orders", args); res.IsError || s.shop.Executions("delete_orders") != 2 {
				t.Errorf("two orders, approved: %q", textOf(res))
			}
		})
	}
}

func TestWhatACallerIsToldOfConditions(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().granting("!has(args.note) || !args.note.contains('secret')").
		guarded("grd_2", policy.Effect{Require: "args.status != 'cancelled'"}, "update_order").publish()
	for _, era := range eras {
		ada := s.connect("ada", era, nil)
		for _, c := range []struct{ arguments, reason, text string }{
			{`{"id":"o-1001","status":"open","note":"top secret-value"}`, "condition_not_met", "the grant you have for this tool does not cover these arguments"},
			{`{"id":"o-1001","status":"cancelled"}`, "requirement_not_met", "a guardrail requires something"},
			{`{"id":"secret-value","status":"cancelled"}`, "invalid_arguments", "/id"},
			{`{"id":"o-1001"}`, "requirement_not_met", "a guardrail requires something"},
			{`{"id":"o-1001","status":"shipped"}`, "", "Order o-1001 is shipped."},
		} {
			res := call(t, ada, "update_order", c.arguments)
			if reasonOf(res) != c.reason || !strings.Contains(textOf(res), c.text) || strings.Contains(textOf(res), "secret-value") {
				t.Errorf("%s, %s: %s %q", era, c.arguments, reasonOf(res), textOf(res))
			}
		}
		tools, err := ada.ListTools(t.Context(), nil)
		if err != nil || len(tools.Tools) != 3 {
			t.Errorf("%s: listed %+v %v, want all three", era, tools, err)
		}
	}
	s.eventually("the call records", func() bool {
		all := strings.Join(s.plane.decisions("update_order"), " ")
		return strings.Contains(all, "denied/condition_not_met") && strings.Contains(all, "denied/requirement_not_met")
	})
}

// TestGrantThatIsOutOfItsConditionHides has a condition that no arguments could make true: the tool is as if it were not
// there, like one without a grant.
func TestGrantThatIsOutOfItsConditionHides(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().granting("principal.subject == 'ada' && now < timestamp('2100-01-01T00:00:00Z')").publish()
	for _, era := range eras {
		ada, eve := s.connect("ada", era, nil), s.connect("eve", era, nil)
		if res := call(t, ada, "list_orders", `{}`); res.IsError {
			t.Errorf("%s, ada: %q", era, textOf(res))
		}
		if tools, err := eve.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 0 {
			t.Errorf("%s: eve sees %+v %v", era, tools, err)
		}
		_, hidden := eve.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_orders"})
		_, unknown := eve.CallTool(t.Context(), &mcp.CallToolParams{Name: "no_such_tool"})
		if hidden == nil || unknown == nil || hidden.Error() != unknown.Error() {
			t.Errorf("%s: hidden: %v; unknown: %v", era, hidden, unknown)
		}
	}
}

func TestConditionsOfPromptsAndResources(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().granting("tool.kind == 'tool' || tool.kind == 'prompt' && args.id == 'o-1001' || args.uri.startsWith('orders://order/')").publish()
	for _, era := range eras {
		ada := s.connect("ada", era, nil)
		prompt := func(id string) error {
			_, err := ada.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "summarise_order", Arguments: map[string]string{"id": id}})
			return err
		}
		read := func(uri string) error {
			_, err := ada.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
			return err
		}
		if err := prompt("o-1001"); err != nil {
			t.Errorf("%s, a prompt: %v", era, err)
		}
		if err := prompt("o-1002"); err == nil || !strings.Contains(err.Error(), "the grant you have for this prompt") {
			t.Errorf("%s, another: %v", era, err)
		}
		if err := read("orders://order/o-1002"); err != nil {
			t.Errorf("%s, a resource: %v", era, err)
		}
		if err := read("orders://all"); err == nil || !strings.Contains(err.Error(), "the grant you have for this resource") {
			t.Errorf("%s, another: %v", era, err)
		}
		_, err := ada.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "summarise_order"}, Argument: mcp.CompleteParamsArgument{Name: "id", Value: "o"}})
		if err == nil || !strings.Contains(err.Error(), "the grant you have for this prompt") {
			t.Errorf("%s, a completion has no arguments: %v", era, err)
		}
	}
}

// TestTokenIsNoArgument sends our own confirmation token along: conditions see the arguments that were approved.
func TestTokenIsNoArgument(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().schemaless().granting("size(args) == 1 && args.ids.size() == 1").publish()
	token := "cst_" + strings.Repeat("a", 49)
	arguments := `{"ids":["o-1001"],"confirmation_token":"` + token + `"}`
	if r := s.modernCall("delete_orders", arguments); !strings.Contains(r.body, metaApproval) {
		t.Fatalf("not held: %s", r.body)
	}
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	s.modernCall("delete_orders", arguments)
	if sent := s.calls("tools/call"); len(sent) != 1 || !strings.Contains(sent[0].body, `"arguments":{"ids":["o-1001"]}`) {
		t.Errorf("sent %+v", sent)
	}
	for _, spelt := range []string{`"confirmation_tok\u0065n":"` + token + `"`, `"confirmation_token":"\u0063` + token[1:] + `"`} {
		if r := s.modernCall("delete_orders", `{"ids":["o-1001"],`+spelt+`}`); !strings.Contains(r.body, metaApproval) {
			t.Errorf("%s is seen: %s", spelt, r.body)
		}
	}
	if r := s.modernCall("delete_orders", `{"ids":["o-1001"],"confirmation_token":"yes"}`); !strings.Contains(r.body, "condition_not_met") {
		t.Errorf("an argument of that name: %s", r.body)
	}
}

// TestWindowOfACondition moves the clock of the gateway over the end of what a condition allows.
func TestWindowOfACondition(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	clock := &hand{now: time.Now().UTC()}
	until, err := json.Marshal(clock.now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	s.granting("now < timestamp(" + strings.ReplaceAll(string(until), `"`, "'") + ") || size(args) > 0").publish()
	if r := s.modernCall("list_orders", `{}`); r.code != 0 {
		t.Errorf("in time: %s", r.body)
	}
	x := &exchange{g: &Gateway{now: func() time.Time { return clock.now.Add(2 * time.Minute) }}, name: "com.example/orders", caller: &caller{}, message: &message{method: "tools/call"}}
	x.snapshot, err = s.gateway.feed.Current()
	if err != nil {
		t.Fatal(err)
	}
	if v := x.decide(use{policy.KindTool, "list_orders"}); !cmp.Equal(v.Reason, policy.ReasonConditionNotMet) {
		t.Errorf("too late: %s", v.Reason)
	}
}
