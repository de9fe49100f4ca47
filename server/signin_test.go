package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/internal/devidp/devidptest"
)

// setCookie is what an answer sets under a name.
func setCookie(a answer, name string) *http.Cookie {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.anonymous()
	b.get("/servers?q=orders").want(t, http.StatusSeeOther)
	if to := b.get("/servers?q=orders").header.Get("Location"); to != "/signin?return=%2Fservers%3Fq%3Dorders" {
		t.Errorf("sent to %s", to)
	}
	b.get("/signin?return=%2Fservers%3Fq%3Dorders").want(t, http.StatusOK, "/auth/login?return=%2Fservers%3Fq%3Dorders")
	start := b.get("/auth/login?return=%2Fservers%3Fq%3Dorders")
	if c := setCookie(start, w.signInCookie()); c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 || c.Path != "/" {
		t.Errorf("cookie of the flow: %v", c)
	}
	back := devidptest.Choose(t, b.client, start.header.Get("Location"), "ada")
	done := b.get(back.RequestURI()).want(t, http.StatusSeeOther)
	if to := done.header.Get("Location"); to != "/servers?q=orders" {
		t.Errorf("sent to %s", to)
	}
	c := setCookie(done, w.sessionCookie())
	if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 || c.Secure {
		t.Fatalf("session cookie: %v", c)
	}
	if gone := setCookie(done, w.signInCookie()); gone == nil || gone.MaxAge >= 0 {
		t.Errorf("the cookie of the flow stays: %v", gone)
	}
	if n := read[int](w, `select count(*) from sessions where token_hash = $1::text::bytea`, c.Value); n != 0 {
		t.Error("the session's secret is in the database")
	}
	b.get("/signin").want(t, http.StatusSeeOther)
	me := b.get("/me").want(t, http.StatusOK, "Ada Admin", "admins")
	b.csrf = csrfField.FindStringSubmatch(me.body)[1]

	out := b.post("/signout", nil).want(t, http.StatusSeeOther)
	if to := out.header.Get("Location"); !strings.HasPrefix(to, w.idp.Issuer+"/") || !strings.Contains(to, url.QueryEscape(w.url+signedOutPath)) {
		t.Errorf("sent to %s", to)
	}
	w.anonymous().get("/", "Cookie", c.Name+"="+c.Value).want(t, http.StatusSeeOther) // dead, whoever kept it
	b.get(signedOutPath).want(t, http.StatusOK, "You are signed out")
}

func TestARefusedSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, spoil := range map[string]func(b *caller, back *url.URL){
		"another state":        func(_ *caller, back *url.URL) { set(back, "state", "made-up") },
		"no state":             func(_ *caller, back *url.URL) { set(back, "state", "") },
		"another code":         func(_ *caller, back *url.URL) { set(back, "code", "made-up") },
		"another issuer":       func(_ *caller, back *url.URL) { set(back, "iss", "https://evil.example") },
		"an error of theirs":   func(_ *caller, back *url.URL) { set(back, "error", "<script>alert(1)</script>") },
		"used before":          func(b *caller, back *url.URL) { b.get(back.RequestURI()) },
		"in another browser":   func(b *caller, _ *url.URL) { *b = *w.anonymous() },
		"a NUL in the address": func(_ *caller, back *url.URL) { back.RawQuery += "&x=%00" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := w.anonymous()
			start := b.get("/auth/login")
			back := devidptest.Choose(t, b.client, start.header.Get("Location"), "ada")
			spoil(b, back)
			a := b.get(back.RequestURI())
			if a.status != http.StatusUnauthorized && a.status != http.StatusBadRequest || strings.Contains(a.body, "<script>alert") {
				t.Errorf("%d %s", a.status, a.shown())
			}
			if setCookie(a, w.sessionCookie()) != nil {
				t.Error("a session was given")
			}
		})
	}
}

func set(u *url.URL, name, value string) {
	q := u.Query()
	q.Set(name, value)
	if value == "" {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
}

func TestTheProviderIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.OIDCIssuer = "http://127.0.0.1:1" })
	for range 2 { // also while the failure is remembered
		a := w.anonymous().get("/auth/login").want(t, http.StatusServiceUnavailable, "identity provider does not answer", "/auth/login")
		if a.header.Get("Retry-After") == "" || strings.Contains(a.body, "connection refused") {
			t.Errorf("%s", a.shown())
		}
	}
	w.anonymous().get("/auth/callback?code=x&state=y").want(t, http.StatusUnauthorized, "Begin again")
}

func TestSignInLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, evil := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "/%0d%0aLocation:x", "javascript:alert(1)"} {
		b := w.anonymous()
		page := b.get("/signin?return="+url.QueryEscape(evil)).want(t, http.StatusOK)
		if strings.Contains(page.body, `href="`+evil) {
			t.Errorf("%s is a link of the page", evil)
		}
		start := b.get("/auth/login?return=" + url.QueryEscape(evil))
		back := devidptest.Choose(t, b.client, start.header.Get("Location"), "ada")
		if to := b.get(back.RequestURI()).want(t, http.StatusSeeOther).header.Get("Location"); to != "/" {
			t.Errorf("%s leads to %q", evil, to)
		}
	}
}

func TestASessionIsEndedFromAnotherBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second, other := w.signIn("vera"), w.signIn("vera"), w.signIn("nora")
	id := read[string](w, `select s.id from sessions s join people p on p.id = s.person_id where p.subject = 'vera' order by s.created_at limit 1`)
	other.post("/me/sessions/"+id+"/end", nil).want(t, http.StatusNotFound)
	second.post("/me/sessions/"+id+"/end", nil).want(t, http.StatusSeeOther)
	first.get("/me").want(t, http.StatusSeeOther)
	second.get("/me").want(t, http.StatusOK, "That session is ended.")
}
