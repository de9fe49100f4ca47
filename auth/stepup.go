package auth

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"countersign/internal/problem"
)

// Bounds on what a sign-in may be asked to prove.
const (
	maxACRValues = 10
	maxACRBytes  = 200
)

// SignInOptions says where a sign-in leads and what it has to prove. What is zero is not asked for.
//
// Problems of a sign-in that asks for what cannot be: Invalid invalid_max_age, invalid_acr_values.
type SignInOptions struct {
	ReturnPath string        // where to go afterwards; what is not a plain path of ours becomes "/"
	Fresh      bool          // only a new authentication will do: sharp actions need it, see Fresh
	MaxAge     time.Duration // how long ago it may have been: whole seconds, at most Config.SessionMax
	ACRValues  []string      // only one of these authentication context classes will do

	// Session is the cookie of the session that the browser holds. Who proves more than a sign-in has
	// to steps up from it, and has to be the person whose session it is.
	Session string
}

// stepUp reports whether more is to be proven than who somebody is.
func (o SignInOptions) stepUp() bool { return o.Fresh || o.MaxAge > 0 || len(o.ACRValues) > 0 }

func (o SignInOptions) check(most time.Duration) error {
	if o.MaxAge < 0 || o.MaxAge > most || o.MaxAge%time.Second != 0 {
		return problem.New(problem.Invalid, "invalid_max_age",
			"A sign-in can be asked to be at most between 1 and %d seconds old.", int(most.Seconds()))
	}
	if len(o.ACRValues) > maxACRValues || slices.ContainsFunc(o.ACRValues, func(v string) bool { return !isACR(v) }) {
		return problem.New(problem.Invalid, "invalid_acr_values",
			"A sign-in can be asked for at most %d context classes, each of at most %d printable ASCII characters without a space.", maxACRValues, maxACRBytes)
	}
	return nil
}

// isACR reports whether v can be the name of a context class: they travel in a list with spaces between.
func isACR(v string) bool {
	return v != "" && len(v) <= maxACRBytes && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' })
}

// maxAgeSeconds is what the flow remembers: 0 is a new authentication, nil is any.
func (o SignInOptions) maxAgeSeconds() *int {
	if !o.Fresh && o.MaxAge == 0 {
		return nil
	}
	return new(int(o.age(0).Seconds()))
}

// age is the greatest age to ask for.
func (o SignInOptions) age(most time.Duration) time.Duration {
	switch {
	case o.Fresh:
		return 0
	case o.MaxAge > 0:
		return o.MaxAge
	}
	return most
}

// parameters ask the provider for it. It must say when the person authenticated, since max_age is given;
// but acr_values is only a wish to it, so that finish has to look.
func (o SignInOptions) parameters(most time.Duration) []oauth2.AuthCodeOption {
	options := []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(o.age(most).Seconds())))}
	if o.Fresh {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	if len(o.ACRValues) > 0 {
		options = append(options, oauth2.SetAuthURLParam("acr_values", strings.Join(o.ACRValues, " ")))
	}
	return options
}

// stepsUp is the person who has to come back from a step-up: whose session it is begun from, "" for anybody.
func (a *Authority) stepsUp(ctx context.Context, o SignInOptions) (person string, err error) {
	if !o.stepUp() {
		return "", nil
	}
	who, err := a.Session(ctx, o.Session)
	if problem.Is(err, problem.Unauthenticated) {
		return "", nil
	}
	return who.ID, err
}

// checkProof holds the provider to what BeginSignIn asked for.
func (a *Authority) checkProof(f flow, p profile) error {
	if err := a.checkAuthTime(f, p.authTime); err != nil {
		return err
	}
	if len(f.ACRValues) > 0 && !slices.Contains(f.ACRValues, p.acr) { // "" is never among them
		return problem.New(problem.Unauthenticated, "acr_not_met",
			"A stronger kind of sign-in was asked for, and the identity provider did not say that this was one. Choose it there if you can, or ask an admin whether the provider knows it.").
			Because(fmt.Errorf("acr is %q, of acr_values %q", p.acr, f.ACRValues))
	}
	return nil
}

// checkAuthTime holds auth_time against max_age. The clocks may be apart by clockLeeway, a minute. A provider that does
// not say when the person authenticated may serve an ordinary sign-in, but none for which an age was asked.
func (a *Authority) checkAuthTime(f flow, authTime time.Time) error {
	asked := f.MaxAgeSeconds != nil
	oldest := a.now().Add(-a.cfg.SessionMax)
	switch {
	case asked && *f.MaxAgeSeconds == 0:
		oldest = f.CreatedAt // authenticated anew, since then
	case asked:
		oldest = a.now().Add(-time.Duration(*f.MaxAgeSeconds) * time.Second)
	}
	switch {
	case authTime.IsZero() && !asked:
		return nil
	case authTime.IsZero():
		return notFresh("does not say when you authenticated")
	case authTime.After(a.now().Add(clockLeeway)):
		return refusedSignIn(errFutureAuthTime)
	case authTime.Before(oldest.Add(-clockLeeway)):
		return notFresh("did not make you authenticate again")
	}
	return nil
}

func notFresh(how string) error {
	return problem.New(problem.Unauthenticated, "not_fresh",
		"A recent authentication was asked for, and the identity provider %s. Begin again; if it stays, tell an admin.", how)
}

func errOtherPerson(subject string) *problem.Error {
	return problem.New(problem.Forbidden, "other_person",
		"You were to sign in again, and somebody else did. Nothing changed. To become somebody else, sign out first.").
		Because(fmt.Errorf("it was %q who came back", subject))
}
