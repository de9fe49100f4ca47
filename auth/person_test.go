package auth_test

import (
	"strings"
	"testing"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/problem"
)

func TestPersonWithAHostileProfile(t *testing.T) {
	t.Parallel()
	b := setup(t, func(idp *devidp.Config, _ *auth.Config) {
		idp.People = []devidp.Person{{Subject: "mallory", Name: "Mal\x00lory\u202e\x1b[2J" + strings.Repeat("é", 1000), Email: "m\r\n@example.com"}}
	})
	done := b.signIn(t, "mallory")
	if !strings.HasPrefix(done.Who.Name, "Mallory[2Jé") || len(done.Who.Name) > 500 || done.Who.Email != "m@example.com" {
		t.Errorf("name %q, email %q", done.Who.Name, done.Who.Email)
	}
}

func TestWhatCannotBeKeptAsItIsIsRefused(t *testing.T) {
	t.Parallel()
	many := strings.Split(strings.Repeat("g ", 2001), " ")[:2001]
	for name, person := range map[string]devidp.Person{
		"a subject that would be cut": {Subject: strings.Repeat("x", 501)},
		"a subject with NUL":          {Subject: "ada\x00"},
		"a group that would be cut":   {Subject: "a", Groups: []string{strings.Repeat("x", 501)}},
		"a group that is reordered":   {Subject: "a", Groups: []string{"\u202edmin"}},
		"a group without a name":      {Subject: "a", Groups: []string{""}},
		"too many groups":             {Subject: "a", Groups: many},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(idp *devidp.Config, _ *auth.Config) { idp.People = []devidp.Person{person} })
			a := b.arrive(t, devidptest.Browser(t), person.Subject, "/")
			_, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
			wantProblem(t, err, problem.Unauthenticated, "signin_refused")
			if got := b.text(t, `select count(*)::text from people`); got != "0" {
				t.Errorf("%s people are remembered", got)
			}
		})
	}
}

func TestRolesComeFromGroups(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for person, want := range map[string][]identity.Role{
		"ada":   {identity.Viewer, identity.Admin},
		"priya": {identity.Viewer, identity.Approver},
		"tomas": {identity.Viewer},
		"audra": {identity.Viewer, identity.Auditor},
	} {
		who := b.signIn(t, person).Who
		for _, role := range []identity.Role{identity.Viewer, identity.Auditor, identity.Approver, identity.Owner, identity.Admin} {
			held := false
			for _, w := range want {
				held = held || w == role
			}
			if who.Has(role) != held {
				t.Errorf("%s has %s: %v, want %v", person, role, who.Has(role), held)
			}
		}
	}
}
