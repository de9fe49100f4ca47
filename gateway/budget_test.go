package gateway

import (
	"log/slog"
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

// aPurse counts against one budget of 100 tokens a minute, by a clock of its own.
func aPurse(t *testing.T) (take func(tokens int) (*reservation, time.Duration), clock *hand) {
	t.Helper()
	clock = &hand{now: time.Unix(1_800_000_000, 0)}
	l := newLimits(slog.New(slog.DiscardHandler), clock.time)
	doc := &policy.Document{Guardrails: []policy.Guardrail{{ID: "b", Effect: budget(100, 60)}}}
	return func(tokens int) (*reservation, time.Duration) {
		r, short := l.take(doc, "ada", count{budgets: []int{0}, tokens: tokens})
		if short.wait > 0 && !short.tokens {
			t.Error("it is calls that lack, not tokens")
		}
		return r, short.wait
	}, clock
}

func TestBudgetIsChargedForWhatPasses(t *testing.T) {
	t.Parallel()
	take, clock := aPurse(t)
	r, wait := take(40)
	if wait > 0 {
		t.Fatalf("waits %s with a full purse", wait)
	}
	if _, wait = take(61); wait != 600*time.Millisecond {
		t.Errorf("waits %s beside what is reserved, want 0.6 s for one token", wait)
	}
	r.charge()
	r.spend(160) // the result is longer than what is left
	r.settle(true)
	r.settle(true)
	if _, wait = take(1); wait != 60600*time.Millisecond {
		t.Errorf("waits %s, want until 100 tokens that are owed came back, and one more", wait)
	}
	clock.move(2 * time.Minute)
	if r, wait = take(500); wait > 0 {
		t.Errorf("a request that is larger than a full purse waits %s", wait)
	}
	r.settle(true)
	if _, wait = take(1); wait != 240600*time.Millisecond {
		t.Errorf("waits %s, want until 400 came back, and one more", wait)
	}
}

func TestBudgetGivesBackWhatWasNotSent(t *testing.T) {
	t.Parallel()
	take, _ := aPurse(t)
	for range 3 {
		r, wait := take(100)
		if wait > 0 {
			t.Fatalf("waits %s", wait)
		}
		r.charge()
		r.settle(false)
		if r, wait = take(100); wait > 0 {
			t.Fatalf("waits %s", wait)
		}
		r.release()
	}
}

func TestAnswerThatComesLaterIsCharged(t *testing.T) {
	t.Parallel()
	take, clock := aPurse(t)
	r, _ := take(10)
	r.charge()
	r.settle(true)
	clock.move(time.Hour)
	for range 3 * sweepSome { // the bucket is full again, and forgotten
		r.limits.forget(clock.time())
	}
	r.spend(100)
	if _, wait := take(1); wait == 0 {
		t.Error("a result that was sent on another stream costs nothing")
	}
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
