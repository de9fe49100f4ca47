package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestEvidence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, gateway := b.speak(t, b.enrol(t, "edge", gatewayAt))
	agent := b.idp.Agent()
	agent.Model, agent.AMR, agent.ACR, agent.Age = "claude-5", []string{"pwd", "mfa"}, devidp.ClassMFA, time.Hour
	token, err := agent.Token(t.Context(), "tomas", gatewayAt)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Evidence(t.Context(), gateway, token)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Principal{
		Issuer: b.idp.Issuer, Subject: "tomas", Name: "Tomas Lind", Email: "tomas@example.com", Groups: []string{"developers"},
		Agent: devidp.DemoAgent, Model: "claude-5", ModelAssurance: policy.Attested, AMR: []string{"pwd", "mfa"}, ACR: devidp.ClassMFA,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(policy.Principal{}, "AuthTime")); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if (time.Since(got.AuthTime) - time.Hour).Abs() > time.Minute {
		t.Errorf("auth time = %v", got.AuthTime)
	}
}

func TestEvidenceOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	other := devidptest.Start(t, devidp.Config{})
	b := setup(t, func(_ *devidp.Config, cfg *auth.Config) { cfg.EvidenceIssuers = []string{other.Issuer} })
	_, gateway := b.speak(t, b.enrol(t, "edge", gatewayAt))
	got, err := b.Evidence(t.Context(), gateway, other.Token(t, "tomas", gatewayAt))
	if err != nil || got.Issuer != other.Issuer {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEvidenceHasTheSubjectOfAPerson(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *devidp.Config, cfg *auth.Config) { cfg.StableClaim = "email" })
	_, gateway := b.speak(t, b.enrol(t, "edge", gatewayAt))
	caller, err := b.Evidence(t.Context(), gateway, b.idp.Token(t, "ada", gatewayAt))
	if err != nil {
		t.Fatal(err)
	}
	if who := b.signIn(t, "ada").Who; caller.Subject != who.Subject || caller.Issuer != who.Issuer {
		t.Errorf("the caller is %s, the person %s: they could approve their own call", caller.Subject, who.Subject)
	}
}

func TestEvidenceIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, gateway := b.speak(t, b.enrol(t, "edge", gatewayAt))
	_, bare := b.speak(t, b.enrol(t, "bare", ""))
	good := b.idp.Token(t, "tomas", gatewayAt)
	stranger := devidptest.Start(t, devidp.Config{})
	parts := strings.Split(good, ".")

	for name, test := range map[string]struct {
		gateway identity.Principal
		token   string
	}{
		"for another gateway":           {gateway, b.idp.Token(t, "tomas", gatewayAt+"/other")},
		"for the control plane":         {gateway, b.idp.Token(t, "tomas", console)},
		"for the provider itself":       {gateway, b.idp.Token(t, "tomas", "")},
		"of an unknown issuer":          {gateway, stranger.Token(t, "tomas", gatewayAt)},
		"for a gateway with no address": {bare, good},
		"for a gateway not enrolled":    {identity.Principal{Kind: identity.Gateway, ID: "gtw_none"}, good},
		"without its signature":         {gateway, parts[0] + "." + parts[1] + "."},
		"not signed":                    {gateway, "eyJhbGciOiJub25lIn0." + parts[1] + "."},
		"with another's payload":        {gateway, parts[0] + "." + strings.Split(b.idp.Token(t, "ada", gatewayAt), ".")[1] + "." + parts[2]},
		"nothing":                       {gateway, ""},
		"very long":                     {gateway, strings.Repeat("x", 1<<20)},
	} {
		if got, err := b.Evidence(t.Context(), test.gateway, test.token); err == nil {
			t.Errorf("a token %s passed as %+v", name, got)
		} else {
			wantProblem(t, err, problem.Forbidden, "evidence_refused")
		}
	}
	ada := b.signIn(t, "ada").Who
	_, err := b.Evidence(t.Context(), ada, good)
	wantProblem(t, err, problem.Forbidden, "gateway_only")
	_, err = b.Evidence(t.Context(), identity.Principal{}, good)
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")

	for offset, want := range map[time.Duration]bool{
		-2 * time.Minute:                false, // it is from the future
		-30 * time.Second:               true,
		10*time.Minute + 30*time.Second: true, // within the leeway
		12 * time.Minute:                false,
	} {
		b.clock.Set(offset)
		if err := b.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Evidence(t.Context(), gateway, good); (err == nil) != want {
			t.Errorf("%v after it was issued: %v", offset, err)
		}
	}
}
