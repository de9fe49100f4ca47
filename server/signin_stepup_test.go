package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
)

func TestStepUpInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.signIn("ada")
	session := func() string { return b.sessionID() }
	before := session()
	stepUp := "/auth/login?return=%2Fapprovals&max_age=300&acr_values=" + url.QueryEscape(devidp.ClassMFA)
	asked := func(address string) *url.URL {
		u, err := url.Parse(b.get(address).want(t, http.StatusSeeOther).header.Get("Location"))
		must(t, err)
		return u
	}

	refused := asked(stepUp)
	if q := refused.Query(); q.Get("max_age") != "300" || q.Get("acr_values") != devidp.ClassMFA {
		t.Errorf("the provider is asked for %v", q)
	}
	back := devidptest.Choose(t, b.client, refused.String(), "ada") // without the second factor
	b.get(back.RequestURI()).want(t, http.StatusUnauthorized, "You are signed in as before.", "stronger kind of sign-in", `href="/approvals"`)
	back = devidptest.ChooseWithMFA(t, b.client, asked(stepUp).String(), "vera")
	b.get(back.RequestURI()).want(t, http.StatusForbidden, "You are signed in as before.", "somebody else did")
	if now := session(); now != before {
		t.Errorf("the session became %s, want %s still", now, before)
	}

	begun := asked(stepUp)
	back = devidptest.ChooseWithMFA(t, b.client, begun.String(), "ada")
	done := b.get(back.RequestURI()).want(t, http.StatusSeeOther)
	if to := done.header.Get("Location"); to != "/approvals" {
		t.Errorf("sent to %s", to)
	}
	if setCookie(done, w.sessionCookie()) == nil || session() == before {
		t.Error("the session kept its id")
	}
	if got := read[string](w, `select acr from sessions where ended_at is null`); got != devidp.ClassMFA {
		t.Errorf("acr = %q, of the one session that lives", got)
	}
	b.get(back.RequestURI()).want(t, http.StatusUnauthorized, "You are signed in as before.", "over") // replayed

	for address, prompt := range map[string]string{"/auth/login?max_age=0": "login", "/auth/login?fresh=1&max_age=60": "login", "/auth/login?fresh=yes": ""} {
		q := asked(address).Query()
		if q.Get("prompt") != prompt || prompt != "" && q.Get("max_age") != "0" {
			t.Errorf("%s asks the provider for %v", address, q)
		}
	}
	for _, bad := range []string{
		"max_age=-1", "max_age=1.5", "max_age=43201", "max_age=99999999999999999999", "max_age=x",
		"acr_values=" + strings.Repeat("a", 201), "acr_values=" + strings.Repeat("a+", 10) + "a", "acr_values=a%0d%0aSet-Cookie:x", "acr_values=%e2%80%ae", "acr_values=a%00",
	} {
		a := b.get("/auth/login?" + bad)
		if a.status != http.StatusBadRequest || setCookie(a, w.signInCookie()) != nil {
			t.Errorf("%s: %d %s", bad, a.status, a.header)
		}
	}
}

// sessionID is the id of the session that the browser's cookie is for, "" when it is for none.
func (c *caller) sessionID() string {
	c.w.t.Helper()
	address, err := url.Parse(c.w.url)
	must(c.w.t, err)
	for _, cookie := range c.client.Jar.Cookies(address) {
		if who, err := c.w.auth.Session(c.w.t.Context(), cookie.Value); err == nil {
			return who.SessionID
		}
	}
	return ""
}
