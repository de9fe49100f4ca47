package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/policy"
)

// asksInBetween is a server that answers a call by asking for a name, with a state of its own, and goes on with the answer.
func (s *stand) asksInBetween(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = func(w http.ResponseWriter, body string) bool {
		if !strings.Contains(body, `"tools/call"`) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		answer := `{"resultType":"input_required","inputRequests":{"who":{"method":"` + method + `","params":{"mode":"form","message":"Who?"}}},"requestState":"own \u0073tate"}`
		if strings.Contains(body, `"inputResponses"`) {
			answer = `{"resultType":"complete","content":[{"type":"text","text":"done"}]}`
		}
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":`+answer+`}`)
		return true
	}
}

// turn has the deletion approved and run until its server asks, and gives what the caller answers with.
func (s *stand) turn() (next string) {
	s.t.Helper()
	s.deleteWith("", "ada")
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	r := s.deleteWith("", "ada")
	var asked struct {
		State string `json:"requestState"`
	}
	if json.Unmarshal(r.result, &asked) != nil || !strings.HasPrefix(asked.State, statePrefix) || !strings.Contains(r.body, `"message":"Who?"`) {
		s.t.Fatalf("the server's question is not passed on with a state of ours: %s", r.body)
	}
	return `"requestState":"` + asked.State + `","inputResponses":{"who":{"action":"accept","content":{"name":"Al"}},"more":1},`
}

func TestApprovedCallGoesOn(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	newTurn := func(t *testing.T) (*stand, string) {
		t.Helper()
		s := newStand(t, nil).open()
		s.allows(policy.Elicitation)
		s.asksInBetween("elicitation/create")
		return s, s.turn()
	}
	reached := func(s *stand, want int, r reply) {
		s.t.Helper()
		if got := len(s.calls("tools/call")); got != want {
			s.t.Errorf("the server got %d requests, not %d; the caller %s", got, want, r.body)
		}
	}
	t.Run("once, as one call with one outcome", func(t *testing.T) {
		s, next := newTurn(t)
		if got := s.plane.outcomeList(); got != nil {
			t.Errorf("outcomes before the end: %v", got)
		}
		r := s.deleteWith(next, "ada")
		if !strings.Contains(r.body, `"done"`) {
			t.Errorf("the caller got %s", r.body)
		}
		calls := s.calls("tools/call")
		want := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_orders","arguments":{"ids":["o-1003"]},` + urlMeta +
			`,"requestState":"own \u0073tate","inputResponses":{"who":{"action":"accept","content":{"name":"Al"}}}}}`
		if diff := cmp.Diff(want, calls[len(calls)-1].body); diff != "" {
			t.Errorf("the server got (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded}, s.plane.outcomeList()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		r = s.deleteWith(next, "ada")
		if !strings.Contains(r.body, "answered already") {
			t.Errorf("a second time: %s", r.body)
		}
		reached(s, 2, r)
	})
	t.Run("of two at once, one", func(t *testing.T) {
		s, next := newTurn(t)
		answers := make(chan reply, 2)
		for range 2 {
			go func() { answers <- s.deleteWith(next, "ada") }()
		}
		one, two := <-answers, <-answers
		if strings.Contains(one.body, `"done"`) == strings.Contains(two.body, `"done"`) {
			t.Errorf("%s and %s", one.body, two.body)
		}
		reached(s, 2, two)
	})
	t.Run("not for another caller, call or state", func(t *testing.T) {
		s, next := newTurn(t)
		other := strings.Replace(next, `"requestState":"cst1.`, `"requestState":"cst1.x`, 1)
		for who, r := range map[string]reply{
			"another caller":   s.deleteWith(next, "eve"),
			"a state not ours": s.deleteWith(strings.Replace(next, "cst1.", "", 1), "ada"),
			"other arguments":  s.modernCall("delete_orders", `{"ids":["o-1004"]},`+strings.TrimSuffix(next, ",")),
			"another tool":     s.modernCall("update_order", `{"id":"o-1001"},`+strings.TrimSuffix(next, ",")),
		} {
			if r.code != codeInvalidParams {
				t.Errorf("%s: %s", who, r.body)
			}
		}
		if r := s.deleteWith(other, "ada"); !strings.Contains(r.body, `"countersign_approval"`) {
			t.Errorf("a state that was changed is not as none: %s", r.body)
		}
		reached(s, 1, reply{})
		if r := s.deleteWith(next, "ada"); !strings.Contains(r.body, `"done"`) {
			t.Errorf("its own, after all that: %s", r.body)
		}
	})
	t.Run("not at another instance", func(t *testing.T) {
		s, next := newTurn(t)
		r := s.twin().deleteWith(next, "ada")
		if !strings.Contains(r.body, `"countersign_approval"`) {
			t.Errorf("it is not asked for anew: %s", r.body)
		}
		reached(s, 1, r)
	})
	t.Run("not once policy forbids it", func(t *testing.T) {
		s, next := newTurn(t)
		s.source.Guardrails = append(s.source.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{ID: "grd_stop", Name: "stop", Subject: policy.Subject{Users: []string{"ada"}}, Effect: policy.Effect{Deny: true}},
			Resource:  policy.Resource{Servers: []string{"*"}, Names: []string{"delete_orders"}},
		})
		s.publish()
		r := s.deleteWith(next, "ada")
		if !strings.Contains(r.body, `"reason":"denied_by_guardrail"`) {
			t.Errorf("the caller got %s", r.body)
		}
		reached(s, 1, r)
	})
	t.Run("also where policy asks for no approval any more", func(t *testing.T) {
		s, next := newTurn(t)
		s.source.Guardrails = nil
		s.publish()
		if r := s.deleteWith(next, "ada"); !strings.Contains(r.body, `"done"`) {
			t.Errorf("the caller got %s", r.body)
		}
		if calls := s.calls("tools/call"); strings.Contains(calls[len(calls)-1].body, statePrefix) {
			t.Errorf("the server got a state of ours: %s", calls[len(calls)-1].body)
		}
	})
	t.Run("not too late", func(t *testing.T) {
		s, next := newTurn(t)
		s.gateway.held.turns.mu.Lock()
		for name, v := range s.gateway.held.turns.open {
			v.until = time.Now().Add(-time.Second)
			s.gateway.held.turns.open[name] = v
		}
		s.gateway.held.turns.mu.Unlock()
		r := s.deleteWith(next, "ada")
		if !strings.Contains(r.body, "too late") {
			t.Errorf("the caller got %s", r.body)
		}
		reached(s, 1, r)
	})
	t.Run("with no end that is known when the server is gone", func(t *testing.T) {
		s, next := newTurn(t)
		s.up.Close()
		s.deleteWith(next, "ada")
		if diff := cmp.Diff([]client.OutcomeStatus{client.Indeterminate}, s.plane.outcomeList()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// TestApprovedCallWhoseServerMayNotAsk has failed: its server does not go on without.
func TestApprovedCallWhoseServerMayNotAsk(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.allows(policy.Elicitation)
	s.asksInBetween("sampling/createMessage")
	s.deleteWith("", "ada")
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	if r := s.deleteWith("", "ada"); !strings.Contains(r.body, string(reasonClientRequest)) {
		t.Errorf("the caller got %s", r.body)
	}
	if diff := cmp.Diff([]client.OutcomeStatus{client.Failed}, s.plane.outcomeList()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}
