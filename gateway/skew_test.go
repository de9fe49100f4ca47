package gateway

import (
	"strings"
	"testing"
	"time"

	"countersign/client"
	"countersign/internal/room"
)

// TestExpiryWithTheGatewaysClockWrong: a gateway's clock that is an hour wrong decides which tokens of callers are good,
// and nothing about approvals: those last as long as the control plane says, and an approved call runs once.
func TestExpiryWithTheGatewaysClockWrong(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			now := func() time.Time { return time.Now().Add(wrong) }
			s.gateway.verifier.Store(newVerifier(*s.gateway.config(), s.gateway.own, now)) // before there is a caller
			s.gateway.sessions.now, s.gateway.held.now = now, now
			s.gateway.rooms = room.New(s.gateway.log, now)
			s.open()
			session := s.connectAs("ada", "2026-07-28", func(c claimsMap) { // good by its clock and by ours
				c["iat"], c["exp"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(2*time.Hour).Unix()
			})
			const args = `{"ids":["o-1001"]}`
			if res := call(t, session, "delete_orders", args); res.Meta[metaApproval] == nil {
				t.Fatalf("not held: %s", textOf(res))
			}
			s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
			if res := call(t, session, "delete_orders", args); res.IsError || !strings.Contains(textOf(res), "Deleted 1 orders") {
				t.Errorf("approved, and then: %s", textOf(res))
			}
			if res := call(t, session, "delete_orders", args); res.Meta[metaApproval] == nil || s.shop.Executions("delete_orders") != 1 {
				t.Errorf("asked again: %s; executed %d times", textOf(res), s.shop.Executions("delete_orders"))
			}
			past := s.connectFails(func(c claimsMap) {
				c["iat"], c["exp"] = now().Add(-2*time.Hour).Unix(), now().Add(-time.Hour).Unix()
			})
			if !strings.Contains(past, "expired") {
				t.Errorf("a token that is over by this clock got %q", past)
			}
		})
	}
}

// connectFails says how a caller with a changed token is refused.
func (s *stand) connectFails(change func(claimsMap)) string {
	claims := s.idp.claims("ada")
	change(claims)
	header := modernHeader("tools/list", "")
	header.Set("Authorization", "Bearer "+s.idp.sign(claims, "at+jwt", "idp1"))
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, header)
	return r.text
}
