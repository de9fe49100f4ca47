package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
)

func TestHeldCallIsExecutedExactlyOnce(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open()
			session := s.connect("ada", era, nil)
			const args = `{"reason":"old","ids":["o-1001", "o-1003"]}`
			res := call(t, session, "delete_orders", args)
			if !res.IsError || res.Meta[metaApproval] == nil || !strings.Contains(textOf(res), "APPROVAL REQUIRED (not executed)") {
				t.Fatalf("not held: %+v %s", res, textOf(res))
			}
			if s.shop.Executions("delete_orders") != 0 {
				t.Fatal("executed before the approval")
			}
			again := call(t, session, "delete_orders", args)
			approval := s.plane.only()
			if again.Meta[metaApproval].(map[string]any)["id"] != approval.ID {
				t.Errorf("a retry made another request")
			}
			s.plane.decide(approval.ID, client.ApprovalApproved, "")
			if res = call(t, session, "delete_orders", args); res.IsError {
				t.Fatalf("approved, and then: %s", textOf(res))
			}
			if s.shop.Executions("delete_orders") != 1 || s.shop.Len() != 3 {
				t.Errorf("executed %d times, %d left", s.shop.Executions("delete_orders"), s.shop.Len())
			}
			if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded}, s.plane.outcomeList()); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if res = call(t, session, "delete_orders", args); !res.IsError || res.Meta[metaApproval] == nil {
				t.Errorf("a further call was not held: %s", textOf(res))
			}
			if s.shop.Executions("delete_orders") != 1 {
				t.Errorf("executed %d times", s.shop.Executions("delete_orders"))
			}
		})
	}
}

func TestConcurrentRetriesExecuteOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	results := make(chan reply, 16)
	for range cap(results) {
		go func() { results <- s.modernCall("delete_orders", `{"ids":["o-1001"]}`) }()
	}
	executed := 0
	for range cap(results) {
		if r := <-results; strings.Contains(string(r.result), "Deleted 1 orders") {
			executed++
		}
	}
	if executed != 1 || s.shop.Executions("delete_orders") != 1 {
		t.Errorf("%d answers say done, %d executions; want 1 and 1", executed, s.shop.Executions("delete_orders"))
	}
}

func TestApprovedCallWhoseRedemptionAnswerWasLost(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.mu.Lock()
	s.plane.loseRedeem = 2
	s.plane.mu.Unlock()
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	if r := s.modernCall("delete_orders", `{"ids":["o-1001"]}`); !strings.Contains(string(r.result), "Deleted 1 orders") || s.shop.Executions("delete_orders") != 1 {
		t.Errorf("got %s after %d executions", r.body, s.shop.Executions("delete_orders"))
	}
}

func TestDeniedAndExpiredAreToldOnce(t *testing.T) {
	t.Parallel()
	for state, want := range map[client.ApprovalState]string{
		client.ApprovalDenied: "an approver denied this call", client.ApprovalExpired: "nobody decided",
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open()
			session := s.connect("ada", "2025-11-25", nil)
			call(t, session, "delete_orders", `{"ids":["o-1001"]}`)
			s.plane.decide(s.plane.only().ID, state, "Not on a\u202e Friday")
			res := call(t, session, "delete_orders", `{"ids":["o-1001"]}`)
			if reasonOf(res) != "not_approved" || !strings.Contains(textOf(res), want) || strings.Contains(textOf(res), "\u202e") {
				t.Errorf("told %q", textOf(res))
			}
			if res = call(t, session, "delete_orders", `{"ids":["o-1001"]}`); res.Meta[metaApproval] == nil {
				t.Errorf("a further call was not held anew: %q", textOf(res))
			}
			if s.shop.Executions("delete_orders") != 0 {
				t.Error("executed")
			}
		})
	}
}

func TestHoldWaitsForAQuickDecision(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.HoldWait = 10 * time.Second }).open()
	session := s.connect("ada", "2025-11-25", nil)
	go func() {
		s.eventually("the request", func() bool {
			s.plane.mu.Lock()
			defer s.plane.mu.Unlock()
			return len(s.plane.approvals) == 1
		})
		s.plane.decide("apr_1", client.ApprovalApproved, "")
	}()
	if res := call(t, session, "delete_orders", `{"ids":["o-1001"]}`); res.IsError || s.shop.Executions("delete_orders") != 1 {
		t.Errorf("got %q after %d executions", textOf(res), s.shop.Executions("delete_orders"))
	}
}

func TestModernClientThatShowsURLs(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	var shown string
	session := s.connect("ada", "2026-07-28", &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}},
		ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			shown = r.Params.URL
			s.plane.decide("apr_1", client.ApprovalApproved, "")
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
	})
	res := call(t, session, "delete_orders", `{"ids":["o-1001"]}`)
	if res.IsError || s.shop.Executions("delete_orders") != 1 || !strings.HasSuffix(shown, "/approvals/apr_1") {
		t.Errorf("got %q after %d executions, shown %q", textOf(res), s.shop.Executions("delete_orders"), shown)
	}
}

func TestModernClientThatDeclines(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	session := s.connect("ada", "2026-07-28", &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "decline"}, nil
		},
	})
	res := call(t, session, "delete_orders", `{"ids":["o-1001"]}`)
	if reasonOf(res) != "not_approved" || s.plane.only().State != client.ApprovalCancelled {
		t.Errorf("got %q, request is %s", textOf(res), s.plane.only().State)
	}
}
