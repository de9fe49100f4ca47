package auth_test

import (
	"strings"
	"testing"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/problem"
)

func TestAnAutomationClientIsRevokedForAReason(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.signIn(t, "ada").Who
	pipeline, err := b.CreateClient(t.Context(), ada, auth.NewClient{Name: "pipeline", Kind: auth.AutomationClient})
	if err != nil {
		t.Fatal(err)
	}
	gateway := b.enrol(t, "edge", gatewayAt)
	token, _ := b.speak(t, pipeline)
	for _, reason := range []string{"", "  ", "a\x1bb", strings.Repeat("x", 501)} {
		wantProblem(t, b.RevokeAutomation(t.Context(), ada, pipeline.ID, reason), problem.Invalid, "invalid_reason")
	}
	wantProblem(t, b.RevokeAutomation(t.Context(), ada, gateway.ID, "lost"), problem.NotFound, "no_such_client")
	wantProblem(t, b.RevokeAutomation(t.Context(), b.signIn(t, "priya").Who, pipeline.ID, "lost"), problem.Forbidden, "not_allowed")
	machine := identity.Principal{Kind: identity.Client, ID: "cli_x", Roles: []identity.Role{identity.Admin}}
	wantProblem(t, b.RevokeAutomation(t.Context(), machine, pipeline.ID, "lost"), problem.Forbidden, "interactive_only")

	if err := b.RevokeAutomation(t.Context(), ada, pipeline.ID, " the laptop was lost "); err != nil {
		t.Fatal(err)
	}
	_, err = b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
	if log := b.text(t, `select detail ->> 'reason' from audit_events where kind = 'client.revoked'`); log != "the laptop was lost" {
		t.Errorf("the log keeps %q", log)
	}
	wantProblem(t, b.RevokeAutomation(t.Context(), ada, pipeline.ID, "again"), problem.NotFound, "no_such_client")
	clients, err := b.Clients(t.Context(), ada)
	if err != nil || len(clients) != 2 || clients[1].CreatedByName != ada.Name || clients[1].RevokedAt == nil {
		t.Errorf("clients = %+v, %v", clients, err)
	}
}
