package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

const (
	signInLifetime   = 10 * time.Minute
	verifierSealedAs = "sign-in verifier"
)

// SignIn is a flow that began.
type SignIn struct {
	Cookie string // set it for this browser alone: HttpOnly, SameSite=Lax, ten minutes
	URL    string // then send the browser here
}

// Browser is what is known of the browser that comes back.
type Browser struct {
	Session   string // the session cookie it still holds, "" for none: that session ends
	IP        string
	UserAgent string
	RequestID string
}

// SignedIn is a flow that ended well.
type SignedIn struct {
	Cookie     string // the new session's secret; it is not kept anywhere else
	ReturnPath string // a path of ours
	Who        identity.Principal
}

// BeginSignIn starts a flow that proves what o asks for. The error is a problem: Invalid as of SignInOptions, or
// Unavailable when the provider does not answer.
func (a *Authority) BeginSignIn(ctx context.Context, o SignInOptions) (SignIn, error) {
	if err := o.check(a.cfg.SessionMax); err != nil {
		return SignIn{}, err
	}
	found, err := a.console.discover(ctx)
	if err != nil {
		return SignIn{}, err
	}
	person, err := a.stepsUp(ctx, o)
	if err != nil {
		return SignIn{}, err
	}
	cookie, state, nonce, verifier := newSecret(), rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	hash := hashSecret(cookie)
	sealed, err := a.seal.Seal(verifierSealedAs, []byte(verifier), hash)
	if err != nil {
		return SignIn{}, fmt.Errorf("beginning a sign-in: %w", err)
	}
	_, err = a.pool.Exec(ctx, `
		insert into signins (cookie_hash, state, nonce, verifier, return_path, person_id, max_age_seconds, acr_values, expires_at)
		values (@hash, @state, @nonce, @verifier, @path, nullif(@person, ''), @max_age, @acr_values, clock_timestamp() + @lifetime::interval)`,
		pgx.StrictNamedArgs{
			"hash": hash, "state": state, "nonce": nonce, "verifier": sealed, "path": safePath(o.ReturnPath),
			"person": person, "max_age": o.maxAgeSeconds(), "acr_values": orEmpty(o.ACRValues), "lifetime": signInLifetime,
		})
	if err != nil {
		return SignIn{}, fmt.Errorf("beginning a sign-in: %w", err)
	}
	options := append(o.parameters(a.cfg.SessionMax), oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	return SignIn{Cookie: cookie, URL: a.oauth(found).AuthCodeURL(state, options...)}, nil
}

func (a *Authority) oauth(found *discovered) *oauth2.Config {
	return &oauth2.Config{
		ClientID: a.cfg.ClientID, ClientSecret: a.cfg.ClientSecret, Endpoint: found.Endpoint(),
		RedirectURL: a.cfg.PublicURL + CallbackPath, Scopes: a.cfg.Scopes,
	}
}

// flow is a row of signins, read by deleting it.
type flow struct {
	State      string
	Nonce      string
	Verifier   []byte
	ReturnPath string
	CreatedAt  time.Time
	Alive      bool

	PersonID      string // who steps up, "" for a sign-in of anybody
	MaxAgeSeconds *int   // nil: not asked for
	ACRValues     []string
}

// FinishSignIn takes the provider's answer, for the browser that holds flowCookie. The flow is spent
// whatever comes of it. On success there is a new session and the browser's old one has ended; after a
// refusal the old one goes on, and ReturnPath alone is given. Every refusal is a problem. Unauthenticated is what a new attempt may
// cure: signin_over, signin_refused, not_fresh, acr_not_met. Forbidden: person_disabled, and
// other_person when somebody else steps up than whose session it was begun from. Unavailable is a
// provider that does not answer. Refusals of flows that had begun are in the audit log.
func (a *Authority) FinishSignIn(ctx context.Context, flowCookie string, query url.Values, b Browser) (SignedIn, error) {
	f, verifier, err := a.takeFlow(ctx, flowCookie)
	if err != nil {
		return SignedIn{}, err
	}
	done, err := a.finish(ctx, f, verifier, query, b)
	if refusal := (*problem.Error)(nil); errors.As(err, &refusal) && refusal.Kind != problem.Unavailable {
		a.log.WarnContext(ctx, "refused a sign-in", slog.Any("error", refusal), slog.String("request_id", b.RequestID))
		refused := audit.Event{Kind: "signin.refused", Who: identity.Principal{IP: b.IP, RequestID: b.RequestID}}
		if f.PersonID != "" {
			refused.TargetKind, refused.TargetID = "person", f.PersonID
		}
		err = audit.Refused(ctx, a.pool, refused, refusal)
	}
	if err != nil {
		return SignedIn{ReturnPath: f.ReturnPath}, err
	}
	return done, nil
}

// takeFlow finds and ends the flow of a cookie. Two callbacks with one cookie have one winner.
func (a *Authority) takeFlow(ctx context.Context, cookie string) (flow, string, error) {
	if !isSecret(cookie) {
		return flow{}, "", errNoFlow()
	}
	hash := hashSecret(cookie)
	rows, _ := a.pool.Query(ctx, `
		delete from signins where cookie_hash = @hash
		returning state, nonce, verifier, return_path, created_at, expires_at > clock_timestamp() as alive,
		          coalesce(person_id, '') as person_id, max_age_seconds, acr_values`,
		pgx.StrictNamedArgs{"hash": hash})
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[flow])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return flow{}, "", errNoFlow()
	case err != nil:
		return flow{}, "", fmt.Errorf("finishing a sign-in: %w", err)
	case !f.Alive:
		return flow{}, "", errNoFlow()
	}
	verifier, err := a.seal.Open(verifierSealedAs, f.Verifier, hash)
	if err != nil {
		return flow{}, "", fmt.Errorf("finishing a sign-in: %w", err)
	}
	return f, string(verifier), nil
}

func errNoFlow() *problem.Error {
	return problem.New(problem.Unauthenticated, "signin_over",
		"This sign-in is over: it was used already, took longer than ten minutes, or began in another browser. Begin again.")
}

// refusedSignIn tells the person nothing that came from outside; the cause is for the log.
func refusedSignIn(cause error) *problem.Error {
	return problem.New(problem.Unauthenticated, "signin_refused",
		"The answer of the identity provider could not be accepted, so you are not signed in. Begin again.").Because(cause)
}

func (a *Authority) finish(ctx context.Context, f flow, verifier string, query url.Values, b Browser) (SignedIn, error) {
	found, err := a.console.discover(ctx)
	if err != nil {
		return SignedIn{}, err
	}
	code, err := a.readAnswer(found, f, query)
	if err != nil {
		return SignedIn{}, err
	}
	p, idToken, err := a.exchange(ctx, found, f, code, verifier)
	if err != nil {
		return SignedIn{}, err
	}
	cookie := newSecret()
	who, err := a.startSession(ctx, newSession{
		profile: p, hash: hashSecret(cookie), idToken: idToken, browser: b, flow: f,
	})
	if err != nil {
		return SignedIn{}, err
	}
	return SignedIn{Cookie: cookie, ReturnPath: f.ReturnPath, Who: who}, nil
}

// readAnswer checks that the answer is to this flow and from this provider, and returns its code.
func (a *Authority) readAnswer(found *discovered, f flow, query url.Values) (string, error) {
	for _, name := range []string{"state", "iss", "code", "error"} {
		if len(query[name]) > 1 {
			return "", refusedSignIn(fmt.Errorf("the parameter %s is given twice", name))
		}
	}
	issuer := query.Get("iss")
	switch {
	case !equal(query.Get("state"), f.State):
		return "", refusedSignIn(errors.New("the state is another flow's"))
	case issuer != "" && issuer != a.cfg.Issuer, issuer == "" && found.IssuerInAnswer:
		return "", refusedSignIn(errors.New("the answer is another provider's, or does not say whose it is"))
	case query.Has("error"):
		return "", refusedSignIn(fmt.Errorf("the provider answered with the error %q", plain(query.Get("error"))))
	case query.Get("code") == "":
		return "", refusedSignIn(errors.New("there is no code"))
	}
	return query.Get("code"), nil
}

// purgeSignIns clears away flows that nobody will finish.
func (a *Authority) purgeSignIns(ctx context.Context) error {
	if _, err := a.pool.Exec(ctx, `delete from signins where expires_at < clock_timestamp()`); err != nil {
		return fmt.Errorf("clearing sign-ins: %w", err)
	}
	return nil
}

// safePath is path when it leads to a page of ours and nowhere else, and "/" otherwise. Browsers read
// //host and /\host as another host, and drop tabs and line ends.
func safePath(path string) string {
	u, err := url.Parse(path)
	switch {
	case err != nil, len(path) > 2000, u.IsAbs(), u.Host != "", u.User != nil, u.Opaque != "":
		return "/"
	case !strings.HasPrefix(path, "/"), strings.HasPrefix(path, "//"), strings.HasPrefix(u.Path, "//"), strings.ContainsAny(path+u.Path, "\\"):
		return "/"
	case strings.ContainsFunc(path+u.Path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "/"
	case u.Path == "/signin", strings.HasPrefix(u.Path, "/auth/"), strings.HasPrefix(u.Path, "/oauth/"):
		return "/" // it would begin again, for ever
	}
	return path
}
