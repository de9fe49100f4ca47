package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	now := time.Now()
	with := func(change func(claimsMap)) string {
		c := s.idp.claims("ada")
		change(c)
		return s.idp.sign(c, "at+jwt", "idp1")
	}
	good := s.idp.token("ada")
	parts := strings.Split(good, ".")
	tests := []struct{ name, authorization, want string }{
		{"none", "", "a bearer token is needed"},
		{"Basic", "Basic YTpi", "cannot be read"},
		{"garbage", "Bearer abc", "cannot be read"},
		{"too long", "Bearer " + strings.Repeat("a", 20<<10), "cannot be read"},
		{"alg none", "Bearer eyJhbGciOiJub25lIn0." + parts[1] + ".", "cannot be read"},
		{"symmetric algorithm", "Bearer eyJhbGciOiJIUzI1NiJ9." + parts[1] + "." + parts[2], "cannot be read"},
		{"changed payload", "Bearer " + parts[0] + "." + strings.Split(s.idp.token("eve"), ".")[1] + "." + parts[2], "signature"},
		{"another audience", "Bearer " + with(func(c claimsMap) { c["aud"] = "https://other.test" }), "another resource"},
		{"no audience", "Bearer " + with(func(c claimsMap) { delete(c, "aud") }), "another resource"},
		{"expired", "Bearer " + with(func(c claimsMap) { c["exp"] = now.Add(-2 * time.Minute).Unix() }), "expired"},
		{"no expiry", "Bearer " + with(func(c claimsMap) { delete(c, "exp") }), "expired"},
		{"not yet valid", "Bearer " + with(func(c claimsMap) { c["nbf"] = now.Add(2 * time.Minute).Unix() }), "expired"},
		{"another issuer", "Bearer " + with(func(c claimsMap) { c["iss"] = "https://evil.test" }), "issuer"},
		{"no subject", "Bearer " + with(func(c claimsMap) { delete(c, "sub") }), "cannot be read"},
		{"a logout token", "Bearer " + s.idp.sign(s.idp.claims("ada"), "logout+jwt", "idp1"), "not an access token"},
		{"an unknown key", "Bearer " + s.idp.sign(s.idp.claims("ada"), "at+jwt", "idp9"), "signature"},
	}
	for _, tt := range tests {
		header := http.Header{"Authorization": {tt.authorization}}
		if tt.authorization == "" {
			header["Authorization"] = nil
		}
		r := s.post(callBody, header)
		challenge := r.header.Get("Www-Authenticate")
		if r.status != 401 || !strings.Contains(r.text, tt.want) ||
			!strings.Contains(challenge, `resource_metadata="`+resourceURL+`/.well-known/oauth-protected-resource"`) {
			t.Errorf("%s: HTTP %d, %s, %q", tt.name, r.status, r.body, challenge)
		}
	}
	two := s.post(callBody, http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}})
	if two.status != 401 {
		t.Errorf("two tokens: HTTP %d", two.status)
	}
	if n := s.idp.fetches.Load(); n > 3 {
		t.Errorf("the keys were fetched %d times for one unknown key", n)
	}
	leeway := with(func(c claimsMap) { c["exp"] = now.Add(-30 * time.Second).Unix() })
	if r := s.post(callBody, http.Header{"Authorization": {"Bearer " + leeway}}); r.status == 401 {
		t.Errorf("a clock that is 30 s off: HTTP %d", r.status)
	}
}

func TestMetadataOfTheResource(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	for _, path := range []string{wellKnown, wellKnown + "/mcp/com.example/orders"} {
		r := s.get(path)
		for _, want := range []string{`"resource":"` + resourceURL + `"`, `"authorization_servers":["` + s.idp.server.URL + `"]`} {
			if r.status != 200 || !strings.Contains(r.body, want) {
				t.Errorf("%s: HTTP %d %s lacks %s", path, r.status, r.body, want)
			}
		}
	}
}
