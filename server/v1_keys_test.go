package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"countersign/client"
)

func TestKeysPlainAndSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	anyone := w.anonymous()
	var plain jose.JSONWebKeySet
	for _, accept := range [][]string{nil, {"Accept", "*/*"}, {"Accept", "application/json"}, {"Accept", "application/jose+json;q=0.5, application/json"}} {
		a := anyone.get(client.PathKeys, accept...).want(t, http.StatusOK)
		plain = into[jose.JSONWebKeySet](t, a)
		if len(plain.Keys) != 2 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || a.header.Get("Vary") != "Accept" {
			t.Errorf("%v: %d keys, %v", accept, len(plain.Keys), a.header)
		}
	}
	signed := anyone.get(client.PathKeys, "Accept", client.TypeJOSE).want(t, http.StatusOK)
	if signed.header.Get("Content-Type") != client.TypeJOSE || signed.header.Get("Vary") != "Accept" {
		t.Errorf("%v", signed.header)
	}
	set, root, err := client.OpenKeySet(signed.body, "")
	must(t, err)
	if root != w.auth.RootKey() || set.Issuer != w.url || set.Version <= 0 {
		t.Errorf("root %s, %+v", root, set)
	}
	for _, purpose := range []string{"policy", "bundle"} {
		for _, k := range set.For(purpose).Keys {
			if len(plain.Key(k.KeyID)) != 1 {
				t.Errorf("the plain set lacks the %s key %s", purpose, k.KeyID)
			}
		}
	}
	anyone.get(client.PathKeys, "Accept", "text/html").want(t, http.StatusNotAcceptable)
	anyone.get(client.PathKeys, "Accept", "application/jose+json;q=0, application/json;q=0").want(t, http.StatusNotAcceptable)
}

func TestNegotiation(t *testing.T) {
	t.Parallel()
	offers := []string{policyType, joseType}
	for accept, want := range map[string]string{
		"": policyType, "*/*": policyType, "application/*": policyType, "nonsense": "",
		joseType:                joseType,
		"APPLICATION/JOSE+JSON": joseType,
		policyType:              policyType,
		"application/vnd.countersign.policy+json":                          policyType,
		"application/vnd.countersign.policy+json;v=2":                      "",
		"application/vnd.countersign.policy+json; v=1; q=0.2, " + joseType: joseType,
		"application/jose+json;q=0.2, */*;q=0.1":                           joseType,
		"application/jose+json;q=0, */*":                                   policyType,
		"*/*, application/vnd.countersign.policy+json;v=1;q=0":             joseType,
		"text/html":                            "",
		"text/html, */*;q=0":                   "",
		"application/*;q=x":                    policyType,
		strings.Repeat("a/b,", 200) + joseType: "",
	} {
		if got := negotiate([]string{accept}, offers...); got != want {
			t.Errorf("Accept %q: %q, want %q", accept, got, want)
		}
	}
	if got := negotiate(nil, offers...); got != policyType {
		t.Errorf("no Accept: %q", got)
	}
	if got := negotiate([]string{"text/html", joseType}, offers...); got != joseType {
		t.Errorf("two headers: %q", got)
	}
}
