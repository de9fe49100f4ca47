package gateway

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

// TestTokensOfAnUnusualIssuer: who calls is read as the configuration says, and a token that the control plane would read
// otherwise is no evidence.
func TestTokensOfAnUnusualIssuer(t *testing.T) {
	t.Parallel()
	provider, now := newIDP(t), time.Now()
	none := time.Duration(0)
	verifies := func(change func(*Issuer), claims claimsMap) (*caller, error) {
		t.Helper()
		i := Issuer{Issuer: provider.server.URL, Algorithms: []string{"ES256"}}
		change(&i)
		v := newVerifier(Config{Resource: resourceURL, Issuers: []Issuer{i}}, provider.server.Client(), func() time.Time { return now })
		return v.known(t.Context(), provider.sign(claims, "at+jwt", "idp1"))
	}
	claims := provider.claims("ada")
	claims["oid"], claims["roles"], claims["appid"], claims["llm"] = "o-1", "ops", "cli", "claude"
	c, err := verifies(func(i *Issuer) { i.Claims = Claims{Subject: "oid", Groups: "roles", Agent: "appid", Model: "llm"} }, claims)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Principal{
		Issuer: provider.server.URL, Subject: "o-1", Name: "Test Person", Groups: []string{"ops"}, Agent: "cli", Model: "claude", ModelAssurance: policy.Attested,
	}
	if diff := cmp.Diff(want, c.principal); diff != "" || c.token != "" {
		t.Errorf("evidence %q, principal (-want +got):\n%s", c.token, diff)
	}
	if c, err = verifies(func(i *Issuer) { i.Claims = Claims{Agent: "no_such", Groups: "no_such"} }, claims); err != nil || c.principal.Agent != "" || c.principal.Groups != nil {
		t.Errorf("claims that are not there: %+v %v", c, err)
	}
	if _, err = verifies(func(i *Issuer) { i.Claims.Subject = "roles_of_nobody" }, claims); err == nil {
		t.Error("a token without its subject is taken")
	}
	if c, err = verifies(func(i *Issuer) { i.Claims.Groups = "groups" }, claims); err != nil || c.token == "" {
		t.Errorf("a token that is read as usual is no evidence: %v", err)
	}

	other := provider.claims("ada")
	other["aud"] = "api://mcp"
	if _, err := verifies(func(*Issuer) {}, other); err == nil {
		t.Error("a token for another audience is taken")
	}
	if c, err := verifies(func(i *Issuer) { i.Audience = []string{"api://mcp"} }, other); err != nil || c.token != "" {
		t.Errorf("a token for the other audience: %+v %v", c, err)
	}
	late := provider.claims("ada")
	late["exp"] = now.Add(-30 * time.Second).Unix()
	if _, err := verifies(func(i *Issuer) { i.ClockLeeway = &none }, late); err == nil {
		t.Error("a token is taken after its end, although no leeway is given")
	}
	if _, err := verifies(func(*Issuer) {}, late); err != nil {
		t.Errorf("with the leeway that there is: %v", err)
	}
}

func TestConfigurationOfIssuers(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]struct {
		leeway time.Duration
		good   bool
	}{"none": {0, true}, "five minutes": {5 * time.Minute, true}, "negative": {-1, false}, "too long": {6 * time.Minute, false}} {
		if err := (Issuer{Issuer: "https://idp.example", ClockLeeway: &life.leeway}).validate(); (err == nil) != life.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := load(t, goodConfig+`  com.example/x: {oauth: {token_url: "https://as.example/t", client_id: c, client_secret: "env:X", auth: post}}`+"\n")
	if err != nil || c.Upstreams["com.example/x"].OAuth.Auth != "post" {
		t.Errorf("%+v %v", c.Upstreams, err)
	}
}
