package auth_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/problem"
)

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"idle for too long":     `update sessions set last_seen_at = clock_timestamp() - interval '31 minutes'`,
		"open for too long":     `update sessions set expires_at = clock_timestamp() - interval '1 second'`,
		"ended":                 `update sessions set ended_at = clock_timestamp()`,
		"its person is out":     `update people set disabled_at = clock_timestamp()`,
		"idle, but not so long": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			done := b.signIn(t, "ada")
			if sql != "" {
				b.exec(t, sql)
				b.wantSessionOver(t, done.Cookie, name)
				return
			}
			b.exec(t, `update sessions set last_seen_at = clock_timestamp() - interval '29 minutes'`)
			if _, err := b.Session(t.Context(), done.Cookie); err != nil {
				t.Fatal(err)
			}
			if got := b.text(t, `select (last_seen_at > clock_timestamp() - interval '1 minute')::text from sessions`); got != "true" {
				t.Error("its use was not noted")
			}
		})
	}
	b := setup(t)
	for _, cookie := range []string{"", "short", strings.Repeat("A", 43), strings.Repeat("A", 10_000), "é\x00"} {
		b.wantSessionOver(t, cookie, "made up")
	}
}

func TestUseIsNotWrittenForEachRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	done := b.signIn(t, "ada")
	before := b.text(t, `select last_seen_at::text from sessions`)
	for range 3 {
		if _, err := b.Session(t.Context(), done.Cookie); err != nil {
			t.Fatal(err)
		}
	}
	if after := b.text(t, `select last_seen_at::text from sessions`); after != before {
		t.Errorf("last_seen_at moved from %s to %s", before, after)
	}
}

func TestTeamsAndRolesAreThoseOfNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	done := b.signIn(t, "tomas")
	if len(done.Who.Teams) > 0 || done.Who.Has(identity.Owner) {
		t.Errorf("teams = %v", done.Who.Teams)
	}
	byGroup := b.text(t, `insert into teams (name, idp_groups) values ('By group', '{developers,others}') returning id`)
	byName := b.text(t, `insert into teams (name) values ('By name') returning id`)
	b.exec(t, `insert into team_members (team_id, person_id) values ($1, $2)`, byName, done.Who.ID)
	b.exec(t, `insert into teams (name, idp_groups) values ('Not theirs', '{commerce}')`)
	who, err := b.Session(t.Context(), done.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{byGroup, byName}
	if byName < byGroup {
		want = []string{byName, byGroup}
	}
	if diff := cmp.Diff(want, who.Teams); diff != "" {
		t.Errorf("teams (-want +got):\n%s", diff)
	}
	if err := who.Can(identity.PinDefinition, byName); err != nil {
		t.Errorf("a member may not pin: %v", err)
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	browser := devidptest.Browser(t)
	a := b.arrive(t, browser, "ada", "/")
	done, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	if err != nil {
		t.Fatal(err)
	}
	next, err := b.SignOut(t.Context(), done.Who, afterward)
	if err != nil {
		t.Fatal(err)
	}
	b.wantSessionOver(t, done.Cookie, "signed out")
	if !strings.HasPrefix(next, b.idp.Issuer+"/logout?") {
		t.Errorf("next = %s", next)
	}
	if back := devidptest.Visit(t, browser, next); back == nil || back.String() != afterward {
		t.Errorf("the provider sends to %v, want %s", back, afterward)
	}
	begun, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/"})
	if err != nil {
		t.Fatal(err)
	}
	if back := devidptest.Visit(t, browser, begun.URL); back != nil {
		t.Errorf("the provider's session outlived the sign-out: %v", back)
	}
	if got := b.text(t, `select target_id from audit_events where kind = 'session.ended'`); got != done.Who.SessionID {
		t.Errorf("audited for %q, want %q", got, done.Who.SessionID)
	}
	again, err := b.SignOut(t.Context(), done.Who, afterward)
	if err != nil || again != afterward {
		t.Errorf("signing out twice: %q, %v", again, err)
	}
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	laptop, phone := b.signIn(t, "priya"), b.signIn(t, "priya")
	tomas, ada := b.signIn(t, "tomas"), b.signIn(t, "ada")

	mine, err := b.Sessions(t.Context(), phone.Who, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(mine) != 2 || mine[0].ID != phone.Who.SessionID || mine[1].ID != laptop.Who.SessionID {
		t.Fatalf("sessions = %+v", mine)
	}
	if s := mine[0]; s.PersonName != "Priya Nair" || s.UserAgent != "a browser" || s.IP != "127.0.0.1" || s.ExpiresAt.Sub(s.CreatedAt).Round(time.Minute) != 12*time.Hour {
		t.Errorf("session = %+v", s)
	}

	_, err = b.Sessions(t.Context(), tomas.Who, phone.Who.ID)
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	wantProblem(t, b.EndSession(t.Context(), tomas.Who, phone.Who.SessionID), problem.NotFound, "no_such_session")
	wantProblem(t, b.EndSession(t.Context(), identity.Principal{Kind: identity.Gateway, ID: "gtw"}, phone.Who.SessionID), problem.Forbidden, "interactive_only")
	if _, err := b.Session(t.Context(), phone.Cookie); err != nil {
		t.Errorf("a stranger ended it: %v", err)
	}

	if err := b.EndSession(t.Context(), phone.Who, laptop.Who.SessionID); err != nil {
		t.Fatal(err)
	}
	b.wantSessionOver(t, laptop.Cookie, "ended from the phone")
	wantProblem(t, b.EndSession(t.Context(), phone.Who, laptop.Who.SessionID), problem.NotFound, "no_such_session")

	theirs, err := b.Sessions(t.Context(), ada.Who, phone.Who.ID)
	if err != nil || len(theirs) != 1 {
		t.Fatalf("an admin sees %+v, %v", theirs, err)
	}
	if err := b.EndSession(t.Context(), ada.Who, theirs[0].ID); err != nil {
		t.Fatal(err)
	}
	b.wantSessionOver(t, phone.Cookie, "ended by an admin")
}

func TestSafePath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/approvals", "/approvals/apr_1?tab=call#why", "/servers/com.acme/orders?q=a%20b"} {
		if got := auth.SafePath(path); got != path {
			t.Errorf("%q became %q", path, got)
		}
	}
	for _, path := range []string{
		"", "approvals", "//", "//?x", "//#x", "//evil.example", "///evil.example", `/\evil.example`, `\/evil.example`, `/a\b`, "https://evil.example/", "javascript:alert(1)",
		"/%5cevil.example", "/\t/evil.example", "/%09/evil.example", "/\r\nLocation: x", "/%0d%0ax", "/%2f/evil.example", "/%2fevil.example", "/%00", "/\x7f", "http:/x", "//user@evil.example",
		"/signin", "/signin?x=1", "/auth/callback?code=1", "/oauth/token", "/" + strings.Repeat("a", 2000), "/%zz",
	} {
		if got := auth.SafePath(path); got != "/" {
			t.Errorf("%q became %q, want /", path, got)
		}
	}
}

func FuzzSafePath(f *testing.F) {
	f.Add("/approvals?x=1")
	f.Add("//evil.example")
	f.Fuzz(func(t *testing.T, path string) {
		got := auth.SafePath(path)
		u, err := url.Parse("https://ours.example" + got)
		if err != nil || u.Host != "ours.example" || len(got) > 1 && (got[1] == '/' || got[1] == '\\') {
			t.Errorf("%q became %q", path, got)
		}
		base, err := url.Parse("https://ours.example/auth/callback")
		if err != nil {
			t.Fatal(err)
		}
		to, err := base.Parse(got)
		if err != nil || to.Host != "ours.example" || to.Scheme != "https" {
			t.Errorf("%q leads to %v, %v", path, to, err)
		}
	})
}

func TestNewRefusesABadConfiguration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, change := range map[string]func(*auth.Config){
		"no client":                  func(c *auth.Config) { c.ClientID = "" },
		"no issuer":                  func(c *auth.Config) { c.Issuer = "" },
		"an issuer by plain http":    func(c *auth.Config) { c.Issuer = "http://login.example.com" },
		"evidence by plain http":     func(c *auth.Config) { c.EvidenceIssuers = []string{"http://login.example.com"} },
		"a public URL by plain http": func(c *auth.Config) { c.PublicURL = "http://console.example.com" },
		"a public URL with a path":   func(c *auth.Config) { c.PublicURL = "https://console.example.com/x" },
		"scopes without openid":      func(c *auth.Config) { c.Scopes = []string{"profile"} },
	} {
		cfg := b.config
		change(&cfg)
		if _, err := auth.New(t.Context(), b.db.Runtime, b.hub, b.key, cfg, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
