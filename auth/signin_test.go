package auth_test

import (
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/problem"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	commerce := b.text(t, `insert into teams (name, idp_groups) values ('Commerce', '{commerce}') returning id`)
	done := b.signIn(t, "priya")
	if done.ReturnPath != "/approvals" {
		t.Errorf("return path = %q", done.ReturnPath)
	}
	who, err := b.Session(t.Context(), done.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Principal{
		Kind: identity.Person, ID: who.ID, Name: "Priya Nair", Email: "priya@example.com", Issuer: b.idp.Issuer, Subject: "priya",
		Groups: []string{"commerce", "approvers"}, Roles: []identity.Role{identity.Viewer, identity.Approver}, Teams: []string{commerce},
		SessionID: who.SessionID, AuthTime: who.AuthTime, AMR: []string{"pwd"}, ACR: devidp.ClassPassword,
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(who.ID, "per_") || !strings.HasPrefix(who.SessionID, "ses_") || time.Since(who.AuthTime).Abs() > time.Minute {
		t.Errorf("id %q, session %q, auth time %v", who.ID, who.SessionID, who.AuthTime)
	}
	if err := b.Fresh(who); err != nil {
		t.Errorf("just signed in: %v", err)
	}
	got := b.text(t, `select actor_id || ' ' || target_id || ' ' || ip || ' ' || request_id from audit_events where kind = 'session.started'`)
	if want := who.ID + " " + who.SessionID + " 127.0.0.1 req"; got != want {
		t.Errorf("audit event %q, want %q", got, want)
	}
	if b.text(t, `select count(*)::text from signins`) != "0" {
		t.Error("the flow is still there")
	}
}

func TestSignInKeepsNoSecretInClear(t *testing.T) {
	t.Parallel()
	b := setup(t)
	begun, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/"})
	if err != nil {
		t.Fatal(err)
	}
	done := b.signIn(t, "ada")
	for _, table := range []string{"signins", "sessions", "people", "audit_events"} {
		dump := b.text(t, `select coalesce(string_agg(to_jsonb(r)::text, ' '), '') || coalesce(string_agg(encode(convert_to(r::text, 'UTF8'), 'escape'), ' '), '') from `+table+` r`)
		for name, secret := range map[string]string{"flow cookie": begun.Cookie, "session cookie": done.Cookie, "ID token": "eyJ"} {
			if strings.Contains(dump, secret) {
				t.Errorf("the %s is readable in %s", name, table)
			}
		}
	}
	u, err := url.Parse(begun.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"response_type": "code", "code_challenge_method": "S256", "client_id": "console",
		"redirect_uri": console + "/auth/callback", "max_age": "43200", "scope": "openid profile email groups",
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestSignInAgainUpdatesThePerson(t *testing.T) {
	t.Parallel()
	people := devidp.DemoPeople()
	b := setup(t, func(idp *devidp.Config, _ *auth.Config) { idp.People = people })
	first := b.signIn(t, "ada")
	b.exec(t, `update people set name = 'Old name', groups = '{}'`)
	second := b.signIn(t, "ada")
	if second.Who.ID != first.Who.ID || second.Who.Name != "Ada Admin" || !second.Who.Has(identity.Admin) {
		t.Errorf("got %+v", second.Who)
	}
	if _, err := b.Session(t.Context(), first.Cookie); err != nil {
		t.Errorf("a sign-in at another browser ended this one: %v", err)
	}
}

func TestGroupsFromUserInfo(t *testing.T) {
	t.Parallel()
	b := setup(t, func(idp *devidp.Config, _ *auth.Config) { idp.GroupsOnlyInUserInfo = true })
	if done := b.signIn(t, "ada"); !done.Who.Has(identity.Admin) {
		t.Errorf("roles = %v", done.Who.Roles)
	}
}

func TestNoGroupsMeansNoRole(t *testing.T) {
	t.Parallel()
	b := setup(t, func(idp *devidp.Config, cfg *auth.Config) {
		idp.People = []devidp.Person{{Subject: "nobody", Name: "No Body"}}
		delete(cfg.RoleGroups, identity.Viewer)
	})
	done := b.signIn(t, "nobody")
	if err := done.Who.Can(identity.ReadRegistry, ""); !problem.Is(err, problem.Forbidden) || len(done.Who.Roles) > 0 {
		t.Errorf("roles %v may read: %v", done.Who.Roles, err)
	}
}

func TestStableClaim(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *devidp.Config, cfg *auth.Config) { cfg.StableClaim = "email" })
	if done := b.signIn(t, "ada"); done.Who.Subject != "ada@example.com" {
		t.Errorf("subject = %q", done.Who.Subject)
	}
	b = setup(t, func(_ *devidp.Config, cfg *auth.Config) { cfg.StableClaim = "oid" })
	a := b.arrive(t, devidptest.Browser(t), "ada", "/")
	_, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	wantProblem(t, err, problem.Unauthenticated, "signin_refused")
}

func TestFinishRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := func(name, value string) func(*testing.T, *arrival) {
		return func(_ *testing.T, a *arrival) { a.query.Set(name, value) }
	}
	drop := func(name string) func(*testing.T, *arrival) {
		return func(_ *testing.T, a *arrival) { a.query.Del(name) }
	}
	other := func(t *testing.T) arrival { t.Helper(); return b.arrive(t, devidptest.Browser(t), "priya", "/") }
	for name, test := range map[string]struct {
		change func(*testing.T, *arrival)
		want   string
	}{
		"a wrong state":               {set("state", "guess"), "signin_refused"},
		"no state":                    {drop("state"), "signin_refused"},
		"a state that is twice":       {func(_ *testing.T, a *arrival) { a.query.Add("state", a.query.Get("state")) }, "signin_refused"},
		"another issuer":              {set("iss", "https://evil.example"), "signin_refused"},
		"no issuer":                   {drop("iss"), "signin_refused"},
		"no code":                     {drop("code"), "signin_refused"},
		"a made-up code":              {set("code", "guess"), "signin_refused"},
		"another flow's code":         {func(t *testing.T, a *arrival) { t.Helper(); a.query.Set("code", other(t).query.Get("code")) }, "signin_refused"},
		"an error of the provider":    {set("error", "access_denied"), "signin_refused"},
		"no cookie":                   {func(_ *testing.T, a *arrival) { a.cookie = "" }, "signin_over"},
		"a cookie of no form":         {func(_ *testing.T, a *arrival) { a.cookie = "short" }, "signin_over"},
		"a cookie of another browser": {func(t *testing.T, a *arrival) { t.Helper(); a.cookie = other(t).cookie }, "signin_refused"},
		"an unknown cookie":           {func(_ *testing.T, a *arrival) { a.cookie = strings.Repeat("A", 43) }, "signin_over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := b.arrive(t, devidptest.Browser(t), "ada", "/")
			test.change(t, &a)
			done, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{RequestID: name})
			wantProblem(t, err, problem.Unauthenticated, test.want)
			if done.Cookie != "" || done.Who.Kind != "" {
				t.Errorf("it gave %+v", done)
			}
			if p := problem.From(err); strings.Contains(p.Message, "access_denied") || strings.Contains(p.Message, "evil") {
				t.Errorf("the message repeats what came from outside: %s", p.Message)
			}
			events := b.text(t, `select count(*)::text from audit_events where kind = 'signin.refused' and request_id = $1`, name)
			if want := map[string]string{"signin_refused": "1", "signin_over": "0"}[test.want]; events != want {
				t.Errorf("%s audit events, want %s", events, want)
			}
		})
	}
}

func TestExpiredFlow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.arrive(t, devidptest.Browser(t), "ada", "/")
	b.exec(t, `update signins set expires_at = clock_timestamp() - interval '1 second'`)
	_, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	wantProblem(t, err, problem.Unauthenticated, "signin_over")
}

func TestReplayedCallback(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.arrive(t, devidptest.Browser(t), "ada", "/")
	var winners atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			done, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
			switch {
			case err == nil && done.Cookie != "":
				winners.Add(1)
			case !problem.Is(err, problem.Unauthenticated):
				t.Errorf("a loser got %v", err)
			}
		})
	}
	all.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d callbacks won, want 1", winners.Load())
	}
	if got := b.text(t, `select count(*)::text from sessions`); got != "1" {
		t.Errorf("%s sessions, want 1", got)
	}
}

func TestSessionFixation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	planted := strings.Repeat("A", 43) // an id that an attacker put into the browser
	attacker := b.signIn(t, "tomas")   // or even a session of the attacker's own
	for _, held := range []string{planted, attacker.Cookie} {
		a := b.arrive(t, devidptest.Browser(t), "ada", "/")
		done, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{Session: held})
		if err != nil {
			t.Fatal(err)
		}
		if done.Cookie == held {
			t.Error("the session kept its id")
		}
		b.wantSessionOver(t, held, "the id from before the sign-in")
	}
}

func TestFreshSignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	browser := devidptest.Browser(t)
	b.idpClock.Set(-8 * time.Minute)
	a := b.arrive(t, browser, "ada", "/")
	old, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	if err != nil {
		t.Fatal(err)
	}
	b.idpClock.Set(0)
	wantProblem(t, b.Fresh(old.Who), problem.Forbidden, "fresh_signin_required")

	begun, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/approvals", Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	if back := devidptest.Visit(t, browser, begun.URL); back != nil {
		t.Errorf("single sign-on answered a fresh sign-in: %v", back)
	}
	back := devidptest.ChooseWithMFA(t, browser, begun.URL, "ada")
	renewed, err := b.FinishSignIn(t.Context(), begun.Cookie, back.Query(), auth.Browser{Session: old.Cookie})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Fresh(renewed.Who); err != nil {
		t.Errorf("after signing in again: %v", err)
	}
	if diff := cmp.Diff([]string{"pwd", "otp", "mfa"}, renewed.Who.AMR); diff != "" || renewed.Who.SessionID == old.Who.SessionID {
		t.Errorf("session %s, amr (-want +got):\n%s", renewed.Who.SessionID, diff)
	}
	b.wantSessionOver(t, old.Cookie, "the session before the step-up")
}

func TestFreshSignInWantsANewAuthentication(t *testing.T) {
	t.Parallel()
	b := setup(t)
	browser := devidptest.Browser(t)
	b.idpClock.Set(-8 * time.Minute)
	b.arrive(t, browser, "ada", "/")
	b.idpClock.Set(0)
	begun, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/", Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	back := devidptest.Visit(t, browser, withoutDemands(t, begun.URL))
	if back == nil {
		t.Fatal("no single sign-on")
	}
	_, err = b.FinishSignIn(t.Context(), begun.Cookie, back.Query(), auth.Browser{})
	wantProblem(t, err, problem.Unauthenticated, "not_fresh")
}

func TestDisabledPerson(t *testing.T) {
	t.Parallel()
	b := setup(t)
	done := b.signIn(t, "ada")
	b.exec(t, `update people set disabled_at = clock_timestamp()`)
	b.wantSessionOver(t, done.Cookie, "a disabled person's session")
	a := b.arrive(t, devidptest.Browser(t), "ada", "/")
	_, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	wantProblem(t, err, problem.Forbidden, "person_disabled")
	if got := b.text(t, `select detail ->> 'refused' from audit_events where kind = 'signin.refused'`); got != "person_disabled" {
		t.Errorf("audited as %q", got)
	}
}

func TestProviderDown(t *testing.T) {
	t.Parallel()
	listener, err := devidp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	b := setup(t, func(_ *devidp.Config, cfg *auth.Config) { cfg.Issuer = "http://" + address })
	_, err = b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/"})
	wantProblem(t, err, problem.Unavailable, "provider_unavailable")
	if problem.From(err).Unwrap() == nil || problem.From(err).RetryAfter <= 0 {
		t.Errorf("no cause for the log, or no time to retry after: %+v", problem.From(err))
	}
}

func TestUnfinishedSignInsAreCleared(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 2 {
		if _, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/"}); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(t, `update signins set expires_at = clock_timestamp() - interval '1 second' where state = (select min(state) from signins)`)
	if err := auth.PurgeSignIns(b.Authority, t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.text(t, `select count(*)::text from signins`); got != "1" {
		t.Errorf("%s flows are left, want 1", got)
	}
}
