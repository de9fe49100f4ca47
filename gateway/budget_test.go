package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/policy"
)

func budget(tokens, seconds int) policy.Effect {
	return policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: tokens, Seconds: seconds}}
}

func TestTokenBudgetInEachEra(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open().guarded("grd_2", budget(200, 200), "list_orders", "delete_orders").publish()
			clock := s.clocked()
			ada, eve := s.connect("ada", era, nil), s.connect("eve", era, nil)
			calls := 0
			for ; calls < 50; calls++ {
				if res := call(t, ada, "list_orders", `{}`); res.IsError {
					if reasonOf(res) != "token_budget_spent" || !strings.Contains(textOf(res), "TOKEN BUDGET SPENT (not executed)") || retryAfter(res) == nil {
						t.Errorf("refused: %+v %q", res.Meta, textOf(res))
					}
					break
				}
			}
			if n := s.shop.Executions("list_orders"); n != calls || calls == 0 || calls == 50 {
				t.Errorf("%d calls, %d executions; want some, and then none", calls, n)
			}
			if res := call(t, eve, "list_orders", `{}`); res.IsError {
				t.Errorf("another caller: %q", textOf(res))
			}
			if res := call(t, ada, "update_order", `{"id":"o-1001"}`); res.IsError {
				t.Errorf("another tool: %q", textOf(res))
			}
			clock.move(time.Hour)
			if res := call(t, ada, "list_orders", `{}`); res.IsError {
				t.Errorf("after the wait: %q", textOf(res))
			}
			s.eventually("the call record", func() bool {
				return strings.Contains(strings.Join(s.plane.decisions("list_orders"), " "), "denied/token_budget_spent")
			})
		})
	}
}

func TestBudgetOfAServerThatIsGone(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", budget(2, 600), "list_orders").publish()
	s.clocked()
	s.misbehave("tools/call", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s.modernCall("list_orders", `{}`)
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`))
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, `"content":[]`) {
		t.Errorf("a call of one token had an answer that did not come charged: %s", r.body)
	}
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, `"reason":"token_budget_spent"`) {
		t.Errorf("got %s", r.body)
	}
}

func TestStreamedResultIsChargedAsItPasses(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", budget(1000, 1000), "list_orders").publish()
	s.clocked()
	progress := `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"` + strings.Repeat("x", 4000) + "\"}}\n\n"
	s.misbehave("tools/call", answerWith(200, "text/event-stream", progress+`data: {"jsonrpc":"2.0","id":1,"result":{"content":[]}}`+"\n\n"))
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, `"content":[]`) {
		t.Fatalf("got %s", r.body)
	}
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, `"reason":"token_budget_spent"`) {
		t.Errorf("what passed before the result was free: %s", r.body)
	}
}

func TestHeldCallIsPaidWhenItRuns(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", budget(12, 600), "delete_orders").publish()
	clock := s.clocked()
	ada := s.connect("ada", "2025-11-25", nil)
	const first, second = `{"ids":["o-1001"]}`, `{"ids":["o-1002"]}`
	for range 3 {
		if res := call(t, ada, "delete_orders", first); res.Meta[metaApproval] == nil {
			t.Fatalf("not held: %q", textOf(res))
		}
	}
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	if res := call(t, ada, "delete_orders", first); res.IsError {
		t.Fatalf("approved, and then: %q", textOf(res))
	}
	call(t, ada, "delete_orders", second)
	s.plane.decide("apr_2", client.ApprovalApproved, "")
	if res := call(t, ada, "delete_orders", second); reasonOf(res) != "token_budget_spent" || !strings.Contains(textOf(res), "The approval was not used") {
		t.Errorf("a second one: %q", textOf(res))
	}
	clock.move(24 * time.Hour)
	if res := call(t, ada, "delete_orders", second); res.IsError || s.shop.Executions("delete_orders") != 2 {
		t.Errorf("the approval was lost: %q", textOf(res))
	}
	if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded, client.Succeeded}, s.plane.outcomeList()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}
