package auth_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/auth"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/problem"
)

// stepUp begins a sign-in that proves more, from the session of a cookie, and returns it and what it asks the provider.
func (b *bundle) stepUp(t *testing.T, o auth.SignInOptions) (auth.SignIn, url.Values) {
	t.Helper()
	begun, err := b.BeginSignIn(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(begun.URL)
	if err != nil {
		t.Fatal(err)
	}
	return begun, u.Query()
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	browser := devidptest.Browser(t)
	a := b.arrive(t, browser, "ada", "/")
	before, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{})
	if err != nil {
		t.Fatal(err)
	}
	if before.Who.ACR != devidp.ClassPassword {
		t.Errorf("acr = %q", before.Who.ACR)
	}
	begun, asked := b.stepUp(t, auth.SignInOptions{
		ReturnPath: "/approvals/apr_1", MaxAge: 5 * time.Minute, ACRValues: []string{"phr", devidp.ClassMFA}, Session: before.Cookie,
	})
	if asked.Get("max_age") != "300" || asked.Get("acr_values") != "phr urn:countersign:dev:mfa" || asked.Has("prompt") {
		t.Errorf("asked for %v", asked)
	}
	if back := devidptest.Visit(t, browser, begun.URL); back != nil {
		t.Fatalf("single sign-on answered it: %v", back)
	}
	back := devidptest.ChooseWithMFA(t, browser, begun.URL, "ada")
	done, err := b.FinishSignIn(t.Context(), begun.Cookie, back.Query(), auth.Browser{Session: before.Cookie})
	if err != nil {
		t.Fatal(err)
	}
	who, err := b.Session(t.Context(), done.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	if who.ACR != devidp.ClassMFA || who.ID != before.Who.ID || who.SessionID == before.Who.SessionID || done.Cookie == before.Cookie || done.ReturnPath != "/approvals/apr_1" {
		t.Errorf("stepped up to %+v, back to %s", who, done.ReturnPath)
	}
	b.wantSessionOver(t, before.Cookie, "the session before the step-up")
	if sessions, err := b.Sessions(t.Context(), who, ""); err != nil || len(sessions) != 1 || sessions[0].ACR != devidp.ClassMFA {
		t.Errorf("sessions = %+v, %v", sessions, err)
	}
	got := b.text(t, `select detail ->> 'acr' || ' ' || (detail ->> 'step_up') || ' ' || (detail ->> 'replaces') from audit_events where target_id = $1`, who.SessionID)
	if want := devidp.ClassMFA + " true " + before.Who.SessionID; got != want {
		t.Errorf("audited as %q, want %q", got, want)
	}
	_, err = b.FinishSignIn(t.Context(), begun.Cookie, back.Query(), auth.Browser{Session: done.Cookie})
	wantProblem(t, err, problem.Unauthenticated, "signin_over")
	if _, err := b.Session(t.Context(), done.Cookie); err != nil {
		t.Errorf("a replayed callback ended the session: %v", err)
	}
}

// TestStepUpIsRefused is at a provider that answers by single sign-on whatever it is asked. The session from before goes on.
func TestStepUpIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const minute = time.Minute
	fresh, recent := auth.SignInOptions{Fresh: true}, auth.SignInOptions{MaxAge: 5 * minute}
	strong := auth.SignInOptions{ACRValues: []string{devidp.ClassMFA}}
	for name, test := range map[string]struct {
		asked  auth.SignInOptions
		person string
		mfa    bool
		clock  time.Duration // of the provider
		want   string
	}{
		"another class than was asked for":        {asked: strong, person: "ada", want: "acr_not_met"},
		"a class that the provider does not know": {asked: auth.SignInOptions{ACRValues: []string{"phr"}}, person: "ada", mfa: true, want: "acr_not_met"},
		"somebody else steps up":                  {asked: strong, person: "priya", mfa: true, want: "other_person"},
		"somebody else signs in afresh":           {asked: fresh, person: "priya", want: "other_person"},
		"somebody new steps up":                   {asked: recent, person: "jonas", want: "other_person"},
		"an authentication that is too old":       {asked: recent, person: "ada", clock: -7 * minute, want: "not_fresh"},
		"an authentication from before it began":  {asked: fresh, person: "ada", clock: -2 * minute, want: "not_fresh"},
		"an authentication in the future":         {asked: recent, person: "ada", clock: 3 * minute, want: "signin_refused"},
	} {
		b.idpClock.Set(0)
		before := b.signIn(t, "ada")
		test.asked.Session, test.asked.ReturnPath = before.Cookie, "/approvals"
		begun, _ := b.stepUp(t, test.asked)
		b.idpClock.Set(test.clock)
		browser, choose := devidptest.Browser(t), devidptest.Choose
		if test.mfa {
			choose = devidptest.ChooseWithMFA
		}
		choose(t, browser, begun.URL, test.person)
		b.idpClock.Set(0)
		back := devidptest.Visit(t, browser, withoutDemands(t, begun.URL))
		done, err := b.FinishSignIn(t.Context(), begun.Cookie, back.Query(), auth.Browser{Session: before.Cookie, RequestID: name})
		if p := problem.From(err); p == nil || p.Code != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		if done.Cookie != "" || done.ReturnPath != "/approvals" {
			t.Errorf("%s: it gave %+v", name, done)
		}
		if who, err := b.Session(t.Context(), before.Cookie); err != nil || who.SessionID != before.Who.SessionID {
			t.Errorf("%s: the session from before: %v", name, err)
		}
		if got := b.text(t, `select coalesce(max(target_id), '') from audit_events where kind = 'signin.refused' and request_id = $1`, name); got != before.Who.ID {
			t.Errorf("%s: audited for %q, want %q", name, got, before.Who.ID)
		}
	}
	if got := b.text(t, `select count(*)::text from people where subject = 'jonas'`); got != "0" {
		t.Error("a refused step-up made a person")
	}
}

// withoutDemands is an authorization URL as a provider reads it that does not know how recent, or how, a sign-in should be.
func withoutDemands(t *testing.T, authURL string) string {
	t.Helper()
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for _, name := range []string{"prompt", "max_age", "acr_values"} {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestStepUpBinds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.signIn(t, "ada")
	bound := func(o auth.SignInOptions) string {
		b.stepUp(t, o)
		return b.text(t, `select coalesce(person_id, '') from signins order by created_at desc limit 1`)
	}
	for name, test := range map[string]struct {
		asked auth.SignInOptions
		want  string
	}{
		"an ordinary sign-in, to become another": {auth.SignInOptions{Session: ada.Cookie}, ""},
		"a step-up":                              {auth.SignInOptions{Session: ada.Cookie, Fresh: true}, ada.Who.ID},
		"a step-up of nobody":                    {auth.SignInOptions{Fresh: true}, ""},
		"a step-up from a planted session":       {auth.SignInOptions{MaxAge: time.Second, Session: strings.Repeat("A", 43)}, ""},
	} {
		if got := bound(test.asked); got != test.want {
			t.Errorf("%s is bound to %q, want %q", name, got, test.want)
		}
	}
	b.exec(t, `update sessions set ended_at = clock_timestamp()`)
	if got := bound(auth.SignInOptions{Session: ada.Cookie, ACRValues: []string{"x"}}); got != "" {
		t.Errorf("a step-up from an ended session is bound to %q", got)
	}
}

func TestSignInAsksForWhatCanBe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, test := range map[string]struct {
		asked auth.SignInOptions
		want  string
	}{
		"an age below zero":       {auth.SignInOptions{MaxAge: -time.Second}, "invalid_max_age"},
		"more than a session":     {auth.SignInOptions{MaxAge: 13 * time.Hour}, "invalid_max_age"},
		"half a second":           {auth.SignInOptions{MaxAge: 500 * time.Millisecond}, "invalid_max_age"},
		"an empty class":          {auth.SignInOptions{ACRValues: []string{""}}, "invalid_acr_values"},
		"two classes in one":      {auth.SignInOptions{ACRValues: []string{"a b"}}, "invalid_acr_values"},
		"a class with a line end": {auth.SignInOptions{ACRValues: []string{"a\r\nb"}}, "invalid_acr_values"},
		"a class beyond ASCII":    {auth.SignInOptions{ACRValues: []string{"ä"}}, "invalid_acr_values"},
		"a class without end":     {auth.SignInOptions{ACRValues: []string{strings.Repeat("a", 201)}}, "invalid_acr_values"},
		"classes without end":     {auth.SignInOptions{ACRValues: strings.Split(strings.Repeat("a", 11), "")}, "invalid_acr_values"},
	} {
		if _, err := b.BeginSignIn(t.Context(), test.asked); err == nil {
			t.Errorf("%s was taken", name)
		} else {
			wantProblem(t, err, problem.Invalid, test.want)
		}
	}
	if got := b.text(t, `select count(*)::text from signins`); got != "0" {
		t.Errorf("%s flows began", got)
	}
}

// TestNoClassOfItsOwnMaking reads claims of acr that a provider cannot mean.
func TestNoClassOfItsOwnMaking(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{``, `null`, `""`, `1`, `["urn:x"]`, `"a b"`, `"urn:x\u0000"`, `"urn:\u202ex"`, `"` + strings.Repeat("a", 201) + `"`} {
		if got := auth.ClassOf(raw); got != "" {
			t.Errorf("acr %s is read as %q", raw, got)
		}
	}
	if got := auth.ClassOf(`"urn:x"`); got != "urn:x" {
		t.Errorf("acr is read as %q", got)
	}
}
