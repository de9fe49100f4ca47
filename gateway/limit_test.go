package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
	"countersign/internal/room"
	"countersign/policy"
)

// hand is a clock that only a test moves.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// clocked lets a test move the time by which calls are counted.
func (s *stand) clocked() *hand {
	h := &hand{now: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)}
	s.gateway.rooms = room.New(s.gateway.log, h.time)
	return h
}

// guarded adds a guardrail for everyone on tools of these names.
func (s *stand) guarded(id string, e policy.Effect, names ...string) *stand {
	s.source.Guardrails = append(s.source.Guardrails, policy.SourceGuardrail{
		Guardrail: policy.Guardrail{ID: id, Name: id, Subject: policy.Subject{Everyone: true}, Effect: e},
		Resource:  policy.Resource{Servers: []string{"*"}, Kinds: []policy.Kind{"tool", "prompt", "resource"}, Names: names},
	})
	return s
}

func limited(calls, seconds int) policy.Effect {
	return policy.Effect{RateLimit: &policy.RateLimit{Calls: calls, Seconds: seconds}}
}

// connectAs is connect, with claims of the token changed.
func (s *stand) connectAs(subject, version string, change func(claimsMap)) *mcp.ClientSession {
	s.t.Helper()
	claims := s.idp.claims(subject)
	change(claims)
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	transport := &http.Transport{}
	session, err := c.Connect(s.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.url(), MaxRetries: -1,
		HTTPClient: &http.Client{Transport: bearerTransport{s.idp.sign(claims, "at+jwt", "idp1"), transport}},
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		s.t.Fatalf("connecting: %v", err)
	}
	s.t.Cleanup(func() {
		_ = session.Close()
		transport.CloseIdleConnections()
	})
	return session
}

func retryAfter(res *mcp.CallToolResult) any {
	d, _ := res.Meta[metaDecision].(map[string]any)
	return d["retryAfterSeconds"]
}

func TestSecondFactorInEachEra(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", policy.Effect{MFA: true}, "update_order", "delete_orders", "summarise_order", "orders://all").publish()
	const args = `{"id":"o-1001","status":"shipped"}`
	for i, era := range eras {
		once := s.connect("ada-"+era, era, nil)                               // a token that is newer than a challenge of its caller is told in words
		refused := func(session *mcp.ClientSession, tool, arguments string) { // with a client that knows no challenge
			t.Helper()
			_, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
			if err == nil || !strings.Contains(err.Error(), "SECOND FACTOR REQUIRED (not executed)") || strings.Contains(err.Error(), "o-1001") {
				t.Errorf("%s, %s: %v", era, tool, err)
			}
		}
		refused(once, "update_order", args)
		refused(once, "delete_orders", `{"ids":["o-1001"]}`)
		if len(s.plane.approvals) > 0 {
			t.Errorf("%s: what is also held was asked for", era)
		}
		if _, err := once.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "summarise_order", Arguments: map[string]string{"id": "o-1001"}}); err == nil || !strings.Contains(err.Error(), "second factor") {
			t.Errorf("%s, a prompt: %v", era, err)
		}
		if _, err := once.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "orders://all"}); err == nil || !strings.Contains(err.Error(), "second factor") {
			t.Errorf("%s, a resource: %v", era, err)
		}
		tools, err := once.ListTools(t.Context(), nil)
		if err != nil || len(tools.Tools) != 3 {
			t.Errorf("%s: listed %+v %v, want all three", era, tools, err)
		}
		refused(s.connectAs("pwd-"+era, era, func(c claimsMap) { c["amr"] = "pwd" }), "update_order", args)
		if n := s.shop.Executions("update_order"); n != i {
			t.Fatalf("%s: executed %d times without a second factor", era, n-i)
		}
		twice := s.connectAs("ada", era, func(c claimsMap) { c["amr"] = []string{"pwd", "otp"} })
		if res := call(t, twice, "update_order", args); res.IsError || s.shop.Executions("update_order") != i+1 {
			t.Errorf("%s, two factors: %q", era, textOf(res))
		}
	}
}

func TestRateLimitInEachEra(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil).open().guarded("grd_2", limited(2, 60), "list_orders").publish()
			clock := s.clocked()
			ada, eve := s.connect("ada", era, nil), s.connect("eve", era, nil)
			for range 2 {
				if res := call(t, ada, "list_orders", `{}`); res.IsError {
					t.Fatalf("within the limit: %q", textOf(res))
				}
			}
			res := call(t, ada, "list_orders", `{}`)
			if !res.IsError || reasonOf(res) != "rate_limited" || !strings.Contains(textOf(res), "Wait 30 seconds, then call again.") || retryAfter(res) != 30.0 {
				t.Errorf("the third call: %+v %q", res.Meta, textOf(res))
			}
			if res = call(t, eve, "list_orders", `{}`); res.IsError {
				t.Errorf("another caller: %q", textOf(res))
			}
			if res = call(t, ada, "update_order", `{"id":"o-1001"}`); res.IsError {
				t.Errorf("another tool: %q", textOf(res))
			}
			if tools, err := ada.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 3 {
				t.Errorf("listed %+v %v, want all three", tools, err)
			}
			clock.move(30 * time.Second)
			if res = call(t, ada, "list_orders", `{}`); res.IsError {
				t.Errorf("after the wait: %q", textOf(res))
			}
			if res = call(t, ada, "list_orders", `{}`); reasonOf(res) != "rate_limited" {
				t.Errorf("half a minute gives one call, not two: %q", textOf(res))
			}
			s.eventually("the call records", func() bool {
				return cmp.Equal(s.plane.decisions("list_orders"), []string{
					"allowed/allowed", "allowed/allowed", "allowed/allowed", "allowed/allowed", "denied/rate_limited", "denied/rate_limited",
				})
			})
			if n := s.shop.Executions("list_orders"); n != 4 {
				t.Errorf("executed %d times, want 4", n)
			}
		})
	}
}

func TestSeveralLimitsAllHaveToHaveRoom(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", limited(3, 60), "list_orders", "update_order").guarded("grd_3", limited(1, 60), "list_orders").publish()
	s.clocked()
	ada := s.connect("ada", "2025-11-25", nil)
	call(t, ada, "list_orders", `{}`)
	for range 3 {
		if res := call(t, ada, "list_orders", `{}`); retryAfter(res) != 60.0 {
			t.Errorf("refused by the strictest: %+v", res.Meta)
		}
	}
	for range 2 { // the refused calls were not counted
		if res := call(t, ada, "update_order", `{"id":"o-1001"}`); res.IsError {
			t.Errorf("got %q", textOf(res))
		}
	}
	if res := call(t, ada, "update_order", `{"id":"o-1001"}`); retryAfter(res) != 20.0 {
		t.Errorf("got %+v", res.Meta)
	}
}

func TestOnlyCallsThatRunAreCounted(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", limited(1, 60), "update_order", "summarise_order").publish()
	s.clocked()
	ada := s.connect("ada", "2025-11-25", nil)
	if res := call(t, ada, "update_order", `{"id":"no order"}`); reasonOf(res) != "invalid_arguments" {
		t.Fatalf("got %q", textOf(res))
	}
	if res := call(t, ada, "update_order", `{"id":"o-1001"}`); res.IsError {
		t.Errorf("a call with bad arguments was counted: %q", textOf(res))
	}
	for range 3 {
		_, err := ada.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "summarise_order"}, Argument: mcp.CompleteParamsArgument{Name: "id", Value: "o"}})
		if err != nil && strings.Contains(err.Error(), "RATE LIMITED") {
			t.Errorf("a completion was counted: %v", err)
		}
	}
	prompt := &mcp.GetPromptParams{Name: "summarise_order", Arguments: map[string]string{"id": "o-1001"}}
	if _, err := ada.GetPrompt(t.Context(), prompt); err == nil || !strings.Contains(err.Error(), "Wait 60 seconds") {
		t.Errorf("one limit on both: %v", err)
	}
}

func TestHeldCallIsCountedOnceWhenItRuns(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", limited(1, 600), "delete_orders").publish()
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
	res := call(t, ada, "delete_orders", second)
	if reasonOf(res) != "rate_limited" || retryAfter(res) != 600.0 || !strings.Contains(textOf(res), "The approval was not used") {
		t.Errorf("a second one: %q", textOf(res))
	}
	clock.move(10 * time.Minute)
	if res = call(t, ada, "delete_orders", second); res.IsError || s.shop.Executions("delete_orders") != 2 {
		t.Errorf("the approval was lost: %q", textOf(res))
	}
}

// TestRedemptionThatFailsIsNotCounted has the control plane refuse the confirmation after room was reserved.
func TestRedemptionThatFailsIsNotCounted(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", limited(1, 600), "delete_orders").publish()
	s.clocked()
	ada := s.connect("ada", "2025-11-25", nil)
	const args = `{"ids":["o-1001"]}`
	call(t, ada, "delete_orders", args)
	s.plane.mu.Lock()
	s.plane.approvals["apr_1"].State, s.plane.approvals["apr_1"].redeemed = client.ApprovalApproved, "red_other"
	s.plane.mu.Unlock()
	if res := call(t, ada, "delete_orders", args); reasonOf(res) != "not_approved" {
		t.Fatalf("got %q", textOf(res))
	}
	s.plane.mu.Lock()
	s.plane.approvals["apr_1"].redeemed = ""
	s.plane.mu.Unlock()
	if res := call(t, ada, "delete_orders", args); res.IsError || s.shop.Executions("delete_orders") != 1 {
		t.Errorf("got %q", textOf(res))
	}
}

func TestCallersAreCountedApart(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", limited(1, 60), "list_orders").publish()
	s.clocked()
	call(t, s.connect("ada", "2025-11-25", nil), "list_orders", `{}`)
	for name, c := range map[string]struct {
		change func(claimsMap)
		want   string
	}{
		"another session, token and model": {func(c claimsMap) { c["model"], c["groups"], c["amr"] = "m2", []string{}, "mfa" }, "rate_limited"},
		"another agent":                    {func(c claimsMap) { c["client_id"] = "agent-2" }, ""},
	} {
		if res := call(t, s.connectAs("ada", "2025-11-25", c.change), "list_orders", `{}`); reasonOf(res) != c.want {
			t.Errorf("%s: %q, want %q", name, reasonOf(res), c.want)
		}
	}
}
