package devidp_test

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"countersign/internal/devidp"
)

func TestAgentActsForAPerson(t *testing.T) {
	t.Parallel()
	b := setup(t)
	agent := b.Agent()
	agent.Model, agent.AMR, agent.ACR, agent.Age = "claude-5", []string{"pwd", "mfa"}, devidp.ClassMFA, time.Hour
	raw, err := agent.Token(t.Context(), "tomas", gateway)
	if err != nil {
		t.Fatal(err)
	}
	claims := b.verify(t, raw, gateway)
	want := map[string]any{
		"iss": b.Issuer, "sub": "tomas", "aud": gateway, "client_id": "demo-agent", "azp": "demo-agent", "model": "claude-5",
		"name": "Tomas Lind", "email": "tomas@example.com", "groups": []any{"developers"}, "amr": []any{"pwd", "mfa"},
		"acr": "urn:countersign:dev:mfa",
	}
	for name, value := range want {
		if diff := cmp.Diff(value, claims[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"iat", "exp", "jti", "auth_time"} {
		if claims[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	if age := claims["iat"].(float64) - claims["auth_time"].(float64); age < 3599 || age > 3602 {
		t.Errorf("the sign-in is %v s old, want 3600", age)
	}
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 600 {
		t.Errorf("it lives %v s, want 600", life)
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || token.Headers[0].ExtraHeaders[jose.HeaderType] != "at+jwt" {
		t.Errorf("typ: %v, %v", token.Headers, err)
	}
}

func TestAssertionIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, foreignKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, test := range map[string]struct {
		claims map[string]any
		key    ed25519.PrivateKey
		form   url.Values
		want   string
	}{
		"signed by another key":     {key: foreignKey, want: "invalid_grant"},
		"from an unknown client":    {claims: map[string]any{"iss": "stranger"}, want: "invalid_client"},
		"from a client without key": {claims: map[string]any{"iss": "console"}, want: "invalid_client"},
		"for nobody we know":        {claims: map[string]any{"sub": "mallory"}, want: "invalid_grant"},
		"for another audience":      {claims: map[string]any{"aud": "https://login.example"}, want: "invalid_grant"},
		"expired":                   {claims: map[string]any{"exp": in(-2 * time.Minute)}, want: "invalid_grant"},
		"that lives too long":       {claims: map[string]any{"exp": in(time.Hour)}, want: "invalid_grant"},
		"without an end":            {claims: map[string]any{"exp": nil}, want: "invalid_grant"},
		"of a sign-in to come":      {claims: map[string]any{"auth_time": in(time.Hour)}, want: "invalid_grant"},
		"without an identifier":     {claims: map[string]any{"jti": ""}, want: "invalid_grant"},
		"for a resource elsewhere":  {form: url.Values{"resource": {"https://mcp.example/"}}, want: "invalid_target"},
		"for two resources":         {form: url.Values{"resource": {gateway, goodbye}}, want: "invalid_target"},
		"of another client":         {form: url.Values{"client_id": {"console"}}, want: "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := map[string]any{"iss": "demo-agent", "sub": "ada", "aud": b.Issuer, "exp": in(time.Minute), "jti": name}
			maps.Copy(claims, test.claims)
			key := b.AgentKey
			if test.key != nil {
				key = test.key
			}
			if got := postAssertion(t, b.Issuer, key, claims, test.form); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestAssertionIsUsedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	claims := map[string]any{"iss": "demo-agent", "sub": "ada", "aud": b.Issuer + "/token", "exp": time.Now().Add(time.Minute).Unix(), "jti": "one"}
	if got := postAssertion(t, b.Issuer, b.AgentKey, claims, nil); got != "" {
		t.Errorf("first use: %s", got)
	}
	if got := postAssertion(t, b.Issuer, b.AgentKey, claims, nil); got != "invalid_grant" {
		t.Errorf("second use: %q", got)
	}
}

// postAssertion returns the error code of the answer, "" for a token.
func postAssertion(t *testing.T, issuer string, key ed25519.PrivateKey, claims map[string]any, form url.Values) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	all := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	maps.Copy(all, form)
	resp, err := http.PostForm(issuer+"/token", all)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return answer.Error
}
