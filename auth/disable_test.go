package auth_test

import (
	"testing"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/problem"
)

func TestDisabledPersonIsOutAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin, victim := b.signIn(t, "ada").Who, b.signIn(t, "tomas")
	second := b.signIn(t, "tomas")
	if err := b.DisablePerson(t.Context(), admin, victim.Who.ID, " left the company "); err != nil {
		t.Fatal(err)
	}
	b.wantSessionOver(t, victim.Cookie, "disabled")
	b.wantSessionOver(t, second.Cookie, "disabled, the other session")
	again := b.arrive(t, devidptest.Browser(t), "tomas", "/")
	_, err := b.FinishSignIn(t.Context(), again.cookie, again.query, auth.Browser{})
	wantProblem(t, err, problem.Forbidden, "person_disabled")
	if got := b.text(t, `select (detail ->> 'reason') || ' ' || (detail ->> 'sessions_ended') from audit_events where kind = 'person.disabled'`); got != "left the company 2" {
		t.Errorf("audited: %s", got)
	}
	if err := b.DisablePerson(t.Context(), admin, victim.Who.ID, "again"); err != nil {
		t.Error(err)
	}

	if err := b.EnablePerson(t.Context(), admin, victim.Who.ID, "came back"); err != nil {
		t.Fatal(err)
	}
	b.wantSessionOver(t, victim.Cookie, "a session from before stays over")
	b.signIn(t, "tomas")
	if got := b.text(t, `select count(*)::text from audit_events where kind like 'person.%abled'`); got != "2" {
		t.Errorf("%s events, want one for each change", got)
	}
}

func TestWhoMayDisableAPerson(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin, other := b.signIn(t, "ada").Who, b.signIn(t, "tomas").Who
	machine := identity.Principal{Kind: identity.Client, ID: "cli_1", Roles: []identity.Role{identity.Admin}}
	for name, tt := range map[string]struct {
		who         identity.Principal
		person, why string
		kind        problem.Kind
		code        string
	}{
		"a machine, whatever its roles": {machine, other.ID, "x", problem.Forbidden, "interactive_only"},
		"a person who is no admin":      {other, admin.ID, "x", problem.Forbidden, "not_allowed"},
		"oneself":                       {admin, admin.ID, "x", problem.Conflict, "own_account"},
		"somebody who is not there":     {admin, "per_none", "x", problem.NotFound, "no_such_person"},
		"without a reason":              {admin, other.ID, " ", problem.Invalid, "invalid_reason"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, b.DisablePerson(t.Context(), tt.who, tt.person, tt.why), tt.kind, tt.code)
			wantProblem(t, b.EnablePerson(t.Context(), tt.who, tt.person, tt.why), tt.kind, tt.code)
		})
	}
}
