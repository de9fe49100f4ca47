package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
)

// twin is another instance of the same gateway: the same control plane, upstream and policy, its own state.
func (s *stand) twin() *stand {
	s.t.Helper()
	cfg := *s.gateway.config()
	cfg.StateDir, cfg.Instance = s.t.TempDir(), "i2"
	other := &stand{t: s.t, plane: s.plane, idp: s.idp, shop: s.shop, up: s.up, source: s.source}
	other.start(cfg)
	other.eventually("the policy at the other instance", func() bool {
		snapshot, err := other.gateway.feed.Current()
		return err == nil && snapshot.Revision == s.source.Generation
	})
	return other
}

// TestInstancesOfOneGateway: what one instance knows alone is lost at the other in the way that the protocol has for it,
// and what matters is known to the control plane.
func TestInstancesOfOneGateway(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	one := newStand(t, nil).open()
	two := one.twin()
	t.Run("a session is known where it was opened, and is initialized again elsewhere", func(t *testing.T) {
		const list = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
		session := http.Header{headerSession: {one.post(initializeBody, nil).header.Get(headerSession)}}
		if r := one.post(list, session); r.status != 200 {
			t.Errorf("where it was opened: %d %s", r.status, r.body)
		}
		if r := two.post(list, session); r.status != 404 {
			t.Errorf("elsewhere: %d %s", r.status, r.body)
		}
		again := two.post(initializeBody, nil).header.Get(headerSession)
		if r := two.post(list, http.Header{headerSession: {again}}); again == "" || r.status != 200 {
			t.Errorf("initialized again as %q: %d %s", again, r.status, r.body)
		}
	})
	t.Run("a stateless call works at any", func(t *testing.T) {
		for _, s := range []*stand{one, two} {
			if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, "o-1001") {
				t.Errorf("%d %s", r.status, r.body)
			}
		}
	})
	t.Run("a held call that was approved is executed once, at whichever it is called again", func(t *testing.T) {
		const args = `{"ids":["o-1001"]}`
		one.approve("delete_orders", args)
		answers := make(chan reply, 4)
		for _, s := range []*stand{two, one, two, one} {
			go func() { answers <- s.modernCall("delete_orders", args) }()
		}
		executed := 0
		for range cap(answers) {
			if r := <-answers; strings.Contains(string(r.result), "Deleted 1 orders") {
				executed++
			}
		}
		if executed != 1 || one.shop.Executions("delete_orders") != 1 {
			t.Errorf("%d answers say done, %d executions", executed, one.shop.Executions("delete_orders"))
		}
	})
	t.Run("both are in the reports of the status", func(t *testing.T) {
		one.plane.mu.Lock()
		defer one.plane.mu.Unlock()
		if diff := cmp.Diff(map[string]bool{"i1": true, "i2": true}, one.plane.instances); diff != "" {
			t.Errorf("instances (-want +got):\n%s", diff)
		}
	})
}

const urlMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}`

// deleteWith calls delete_orders as a client that shows URLs, with more parameters.
func (s *stand) deleteWith(more, subject string) reply {
	s.t.Helper()
	h := modernHeader("tools/call", "delete_orders")
	h.Set("Authorization", "Bearer "+s.idp.token(subject))
	return s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_orders","arguments":{"ids":["o-1003"]},`+more+urlMeta+`}}`, h)
}

// TestRequestStateOfAnotherInstance: the state is no authority, so one that only the other instance can open is as none.
func TestRequestStateOfAnotherInstance(t *testing.T) {
	t.Parallel()
	one := newStand(t, nil).open()
	two := one.twin()
	var asked struct {
		State string `json:"requestState"`
	}
	if r := one.deleteWith("", "ada"); json.Unmarshal(r.result, &asked) != nil || !strings.HasPrefix(asked.State, statePrefix) {
		t.Fatalf("not held with a state: %s", r.body)
	}
	if r := one.deleteWith(`"requestState":"cst1.e30.AAAA","inputResponses":{"countersign_approval":{"action":"decline"}},`, "ada"); !strings.Contains(r.body, `"reason":"not_approved"`) {
		t.Errorf("a forged state that declines: %s", r.body)
	}
	if a := one.plane.only(); a.State != client.ApprovalPending {
		t.Errorf("a forged state made the request %s", a.State)
	}
	with := `"requestState":"` + asked.State + `","inputResponses":{"countersign_approval":{"action":"accept"}},`
	if r := one.deleteWith(with, "eve"); r.code != codeInvalidParams {
		t.Errorf("the state of another caller: %s", r.body)
	}
	if r := two.deleteWith(strings.Replace(with, "accept", "decline", 1), "ada"); !strings.Contains(r.body, `"reason":"not_approved"`) {
		t.Errorf("declined: %s", r.body)
	}
	one.plane.decide(one.plane.only().ID, client.ApprovalApproved, "")
	if r := two.deleteWith(with, "ada"); !strings.Contains(r.body, "Deleted 1 orders") || one.shop.Executions("delete_orders") != 1 {
		t.Errorf("at the other instance: %s after %d executions", r.body, one.shop.Executions("delete_orders"))
	}
}
