package server

import (
	"net/http"
	"net/url"
	"testing"

	"countersign/client"
	"countersign/internal/problem"
)

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, gone := w.enrol("edge", "*"), w.enrol("gone", "*")
	_, err := w.delivery.Revoke(t.Context(), installer, gone.ID, "test")
	must(t, err)
	grant := func(more ...string) url.Values {
		form := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i+1 < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	other := g.Secret[:len(g.Secret)-8] + gone.Secret[len(gone.Secret)-8:]
	for name, c := range map[string]struct {
		form         url.Values
		query        string
		basic        [2]string
		status       int
		code, scheme string
	}{
		"in the form":             {form: grant("client_id", g.ClientID, "client_secret", g.Secret), status: http.StatusOK},
		"in the header":           {form: grant(), basic: [2]string{g.ClientID, g.Secret}, status: http.StatusOK},
		"wrong secret":            {form: grant("client_id", g.ClientID, "client_secret", other), status: http.StatusUnauthorized, code: "invalid_client"},
		"another's secret":        {form: grant("client_id", g.ClientID, "client_secret", gone.Secret), status: http.StatusUnauthorized, code: "invalid_client"},
		"no secret":               {form: grant("client_id", g.ClientID), status: http.StatusUnauthorized, code: "invalid_client"},
		"unknown client":          {form: grant("client_id", "cli_none", "client_secret", g.Secret), status: http.StatusUnauthorized, code: "invalid_client"},
		"nobody":                  {form: grant(), status: http.StatusUnauthorized, code: "invalid_client"},
		"a revoked gateway":       {form: grant(), basic: [2]string{gone.ClientID, gone.Secret}, status: http.StatusForbidden, code: "gateway_revoked"},
		"revoked, and not known":  {form: grant("client_id", gone.ClientID, "client_secret", g.Secret), status: http.StatusUnauthorized, code: "invalid_client"},
		"another grant":           {form: url.Values{"grant_type": {"password"}}, basic: [2]string{g.ClientID, g.Secret}, status: http.StatusBadRequest, code: "unsupported_grant_type"},
		"no grant":                {form: url.Values{}, basic: [2]string{g.ClientID, g.Secret}, status: http.StatusBadRequest, code: "unsupported_grant_type"},
		"the secret in the query": {form: grant(), query: "?client_id=" + g.ClientID + "&client_secret=" + g.Secret, status: http.StatusUnauthorized, code: "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nobody := w.anonymous()
			var header []string
			if c.basic[0] != "" {
				r := &http.Request{Header: http.Header{}}
				r.SetBasicAuth(c.basic[0], c.basic[1])
				header = []string{"Authorization", r.Header.Get("Authorization")}
			}
			a := nobody.post("/oauth/token"+c.query, c.form, header...).want(t, c.status)
			if a.header.Get("Cache-Control") != "no-store" || (c.status == http.StatusUnauthorized) != (a.header.Get("WWW-Authenticate") != "") {
				t.Errorf("headers %v", a.header)
			}
			if c.status != http.StatusOK {
				if got := into[client.TokenError](t, a); got.Error != c.code || got.Description == "" {
					t.Errorf("got %+v, want %s", got, c.code)
				}
				return
			}
			reply := into[client.TokenReply](t, a)
			if reply.TokenType != "Bearer" || reply.ExpiresIn != 600 {
				t.Errorf("got %+v", reply)
			}
			nobody.bearer = reply.AccessToken
			nobody.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1"}).want(t, http.StatusNoContent)
		})
	}
	w.anonymous().get("/oauth/token").wantProblem(t, http.StatusMethodNotAllowed, methodNotAllowed)
	w.anonymous().call(http.MethodPost, "/oauth/token", `{"grant_type":"client_credentials"}`).wantProblem(t, http.StatusUnsupportedMediaType, unsupportedMedia)
}

func TestARevokedGatewayIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, ada := w.enrol("edge", "*"), w.signIn("ada")
	g.call(http.MethodPost, "/v1/calls", `{"calls":[]}`).want(t, http.StatusOK)
	ada.post("/gateways/"+g.ID+"/revoke", url.Values{"reason": {"stolen"}}).want(t, http.StatusSeeOther)
	g.call(http.MethodPost, "/v1/calls", `{"calls":[]}`).wantProblem(t, http.StatusForbidden, "gateway_revoked")
	ada.post("/gateways/"+g.ID+"/revoke", url.Values{"reason": {"again"}}).want(t, http.StatusConflict)
}

func TestAnonymousRequestsAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody := w.anonymous()
	rows := func() int { return read[int](w, `select count(*) from signins`) }
	limited := 0
	for range anonymousBurst + 30 {
		a := nobody.get("/auth/login")
		if a.status == http.StatusTooManyRequests {
			limited++
			if a.header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %s", a.shown())
			}
		}
	}
	if limited == 0 || rows() > anonymousBurst+29 {
		t.Fatalf("%d refused, %d rows", limited, rows())
	}
	for nobody.post("/oauth/token", nil).status != http.StatusTooManyRequests { // one bucket for both
	}
	p := nobody.post("/oauth/token", nil).wantProblem(t, http.StatusTooManyRequests, "too_many_requests")
	if p.Status != problem.RateLimited.Status() {
		t.Errorf("%+v", p)
	}
	w.late.Store(int64(3_600_000_000_000))
	nobody.get("/auth/login").want(t, http.StatusSeeOther)
}
