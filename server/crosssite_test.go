package server

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, second := w.signIn("ada"), w.signIn("ada")
	grant := url.Values{"name": {"Everybody"}, "everyone": {"yes"}, "servers": {"*"}, "do": {"create"}}
	with := func(csrf string) url.Values {
		form := url.Values{"csrf": {csrf}}
		maps.Copy(form, grant)
		return form
	}
	w.unchanged(t)
	refused := w.refusals()
	cases := map[string]struct {
		form   url.Values
		header []string
		query  string
		says   string
	}{
		"no form token":              {form: with(""), says: "no longer valid"},
		"another session's token":    {form: with(second.csrf), says: "no longer valid"},
		"a token that is cut":        {form: with(ada.csrf[:20]), says: "no longer valid"},
		"the token in the address":   {form: with(""), query: "?csrf=" + url.QueryEscape(ada.csrf), says: "no longer valid"},
		"from another site":          {form: with(ada.csrf), header: []string{"Sec-Fetch-Site", "cross-site"}, says: "another site"},
		"from a neighbouring origin": {form: with(ada.csrf), header: []string{"Sec-Fetch-Site", "same-site"}, says: "another site"},
		"from a foreign origin":      {form: with(ada.csrf), header: []string{"Origin", "https://evil.example"}, says: "another site"},
		"from no origin":             {form: with(ada.csrf), header: []string{"Origin", "null"}, says: "another site"},
	}
	t.Cleanup(func() {
		if n := w.refusals() - refused; n != len(cases) {
			t.Errorf("%d refusals in the log, want %d", n, len(cases))
		}
	})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ada.post("/grants"+c.query, c.form, c.header...).want(t, http.StatusForbidden, c.says)
		})
	}
}

func TestOurOwnFormsArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	grant := url.Values{"name": {"Everybody"}, "everyone": {"yes"}, "servers": {"*"}, "do": {"create"}}
	ada.post("/grants", grant).want(t, http.StatusSeeOther) // not from a browser
	ada.post("/grants", grant, "Sec-Fetch-Site", "same-origin", "Origin", w.url).want(t, http.StatusSeeOther)
}

func TestOtherSitesReachNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.refusals()
	for _, path := range []string{"/grants", "/signout", "/oauth/token"} {
		w.anonymous().post(path, nil, "Sec-Fetch-Site", "cross-site").want(t, http.StatusForbidden, "another site")
	}
	w.enrol("edge", "*").call(http.MethodPost, "/v1/calls", `{"calls":[]}`, "Sec-Fetch-Site", "cross-site").wantProblem(t, http.StatusForbidden, "cross_site")
	if n := w.refusals() - before; n != 1 {
		t.Errorf("%d refusals in the log, want the gateway's alone", n)
	}
}

func TestAnAddressFillsInNoField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn("ada").post("/grants?everyone=yes&servers=*&name=Prepared&do=create", nil).want(t, http.StatusOK, "Nothing was changed", `aria-invalid="true"`)
	if n := read[int](w, `select count(*) from grants`); n != 0 {
		t.Error("a link made a grant")
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	page := ada.get("/")
	asset := page.body[strings.Index(page.body, "/static/app."):]
	asset = asset[:strings.Index(asset, `"`)]
	for name, a := range map[string]answer{
		"page": page, "sign-in": w.anonymous().get("/signin"), "to sign in": w.anonymous().get("/servers"), "missing": ada.get("/nothing"),
		"wrong method": ada.send(http.MethodDelete, "/servers", ""), "missing of /v1": ada.get("/v1/nothing"), "refused": ada.post("/grants", url.Values{"csrf": nil}),
		"cross-site": ada.post("/grants", nil, "Sec-Fetch-Site", "cross-site"), "unauthorised": w.anonymous().get("/v1/policy"), "keys": ada.get("/v1/keys"),
		"static": ada.get(asset), "no static": ada.get("/static/nothing"), "health": ada.get("/healthz"), "stream": ada.get("/events?topic=nothing"),
		"bad address": ada.get("/servers?q=%00"), "bad form": ada.send(http.MethodPost, "/grants", "%zz", "Content-Type", "application/x-www-form-urlencoded"),
	} {
		headers := map[string]string{"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
		policy := []string{"default-src 'none'", "frame-ancestors 'none'"}
		if !slices.Contains([]string{"missing of /v1", "unauthorised", "keys", "health"}, name) { // what a browser may show
			headers["X-Frame-Options"], headers["Referrer-Policy"], headers["Cross-Origin-Opener-Policy"] = "DENY", "no-referrer", "same-origin"
			policy = append(policy, "script-src 'self'", "base-uri 'none'", "form-action 'self' "+w.idp.Issuer)
		}
		for header, want := range headers {
			if got := a.header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		csp := a.header.Get("Content-Security-Policy")
		for _, part := range policy {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: %q is not in the policy %q", name, part, csp)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: unsafe policy %q", name, csp)
		}
		if a.header.Get("X-Request-Id") == "" || len(a.header.Values("Access-Control-Allow-Origin")) > 0 {
			t.Errorf("%s: %v", name, a.header)
		}
		if cache := a.header.Get("Cache-Control"); name != "static" && name != "keys" && cache != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, cache)
		}
	}
	if cache := ada.get(asset).want(t, http.StatusOK).header.Get("Cache-Control"); !strings.Contains(cache, "immutable") {
		t.Errorf("static: Cache-Control %q", cache)
	}
}

func TestHTTPSAddsItsWalls(t *testing.T) {
	t.Parallel()
	s := &Server{cfg: Config{PublicURL: "https://countersign.example"}}
	if s.sessionCookie() != "__Host-countersign" || !strings.HasPrefix(s.signInCookie(), "__Host-") || !strings.HasPrefix(s.flashCookie(), "__Host-") {
		t.Error("the cookies are not bound to the host")
	}
	if !s.secure() {
		t.Error("not secure")
	}
}
