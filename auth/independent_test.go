package auth_test

import (
	"bufio"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/problem"
)

// TestIndependentProvider signs in at a provider that others wrote (npm oidc-provider).
func TestIndependentProvider(t *testing.T) {
	t.Parallel()
	issuer := startIndependentProvider(t)
	b := setup(t, func(_ *devidp.Config, cfg *auth.Config) {
		cfg.Issuer, cfg.ClientSecret = issuer, "console-secret"
	})
	person := newVisitor(t)

	begun, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/approvals"})
	if err != nil {
		t.Fatal(err)
	}
	done, err := b.FinishSignIn(t.Context(), begun.Cookie, person.walk(t, begun.URL, "ada"), auth.Browser{})
	if err != nil {
		t.Fatal(err)
	}
	who, err := b.Session(t.Context(), done.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	if who.Subject != "ada" || who.Issuer != issuer || who.Name != "Person ada" || who.Email != "ada@example.com" || !who.Has(identity.Admin) {
		t.Errorf("who = %+v", who)
	}
	if err := b.Fresh(who); err != nil {
		t.Errorf("just signed in: %v", err)
	}

	begun, err = b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: "/", Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := b.FinishSignIn(t.Context(), begun.Cookie, person.walk(t, begun.URL, "ada"), auth.Browser{Session: done.Cookie})
	if err != nil {
		t.Fatalf("signing in afresh: %v", err)
	}
	if person.logins != 2 {
		t.Errorf("%d logins, want 2: a fresh sign-in asks again", person.logins)
	}
	b.wantSessionOver(t, done.Cookie, "before the fresh sign-in")

	renewed = b.stepsUpThere(t, person, renewed)

	next, err := b.SignOut(t.Context(), renewed.Who, afterward)
	if err != nil {
		t.Fatal(err)
	}
	if back := person.follow(t, next, nil); back.Path != "/signin" {
		t.Errorf("after signing out: %s", back)
	}
}

// stepsUpThere asks for more by acr_values and max_age, and gets it only from who proves it.
func (b *bundle) stepsUpThere(t *testing.T, person *visitor, from auth.SignedIn) auth.SignedIn {
	t.Helper()
	strong := auth.SignInOptions{MaxAge: time.Hour, ACRValues: []string{"urn:example:strong"}, Session: from.Cookie}
	finish := func(login string) (auth.SignedIn, error) {
		begun, _ := b.stepUp(t, strong)
		return b.FinishSignIn(t.Context(), begun.Cookie, person.walk(t, begun.URL, login), auth.Browser{Session: from.Cookie})
	}
	_, err := finish("ada") // single sign-on: the provider says nothing of a class
	wantProblem(t, err, problem.Unauthenticated, "acr_not_met")
	strong.Fresh, person.password = true, "two factors"
	_, err = finish("tomas")
	wantProblem(t, err, problem.Forbidden, "other_person")
	done, err := finish("ada")
	if err != nil {
		t.Fatalf("stepping up: %v", err)
	}
	if who := done.Who; who.ACR != "urn:example:strong" || who.ID != from.Who.ID {
		t.Errorf("stepped up to %+v", who)
	}
	b.wantSessionOver(t, from.Cookie, "before the step-up")
	return done
}

func startIndependentProvider(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "testdata/provider.mjs", console+auth.CallbackPath, afterward)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting node: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // the context of the test may have ended it first
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stdin.Close()
		_ = cmd.Wait()
		t.Fatalf("the provider did not start (npm ci installs it): %v\n%s", err, complaints.String())
	}
	return strings.TrimSpace(line)
}

// visitor is a browser that fills in the forms of the provider's pages.
type visitor struct {
	client   *http.Client
	password string
	logins   int
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{client: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), console+"/") {
			return http.ErrUseLastResponse // nothing listens there
		}
		return nil
	}}}
}

// walk goes from an authorization URL through login and consent to the callback's query.
func (v *visitor) walk(t *testing.T, authURL, login string) url.Values {
	t.Helper()
	return v.follow(t, authURL, func(fields url.Values) {
		if fields.Has("login") {
			v.logins++
			fields.Set("login", login)
			fields.Set("password", v.password)
		}
	}).Query()
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<(?:input|button)[^>]*\sname="([^"]+)"[^>]*>`)
	valueOf  = regexp.MustCompile(`\svalue="([^"]*)"`)
)

// follow submits form after form until the browser is sent to the console.
func (v *visitor) follow(t *testing.T, target string, fill func(url.Values)) *url.URL {
	t.Helper()
	resp, err := v.client.Get(target)
	for range 10 {
		if err != nil {
			t.Fatal(err)
		}
		body, readErr := io.ReadAll(resp.Body)
		resp.Body.Close()
		if readErr != nil {
			t.Fatal(readErr)
		}
		if back, locationErr := resp.Location(); locationErr == nil {
			return back
		}
		form := formTag.FindStringSubmatch(string(body))
		if form == nil {
			t.Fatalf("%s shows no form: %s", resp.Request.URL, body)
		}
		fields := url.Values{}
		for _, input := range inputTag.FindAllStringSubmatch(string(body), -1) {
			value := ""
			if found := valueOf.FindStringSubmatch(input[0]); found != nil {
				value = html.UnescapeString(found[1])
			}
			fields.Set(input[1], value)
		}
		if fill != nil {
			fill(fields)
		}
		action, parseErr := resp.Request.URL.Parse(html.UnescapeString(form[1]))
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		resp, err = v.client.PostForm(action.String(), fields)
	}
	t.Fatal("there is no end of forms")
	return nil
}
