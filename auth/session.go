package auth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

const idTokenSealedAs = "session id token"

func errSessionOver() *problem.Error {
	return problem.New(problem.Unauthenticated, "session_over", "You are not signed in, or no longer. Sign in.")
}

// newSession is what startSession needs.
type newSession struct {
	profile profile
	hash    []byte
	idToken string
	browser Browser
	flow    flow
}

// startSession remembers the person, ends the session that the browser held, and opens a new one.
func (a *Authority) startSession(ctx context.Context, n newSession) (identity.Principal, error) {
	var who identity.Principal
	sealed, err := a.seal.Seal(idTokenSealedAs, []byte(n.idToken), n.hash)
	if err != nil {
		return who, fmt.Errorf("starting a session: %w", err)
	}
	err = postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error {
		person, err := a.rememberTx(ctx, tx, n.profile)
		if err != nil {
			return err
		}
		if n.flow.PersonID != "" && person != n.flow.PersonID {
			return errOtherPerson(n.profile.subject)
		}
		replaced, err := endByHashTx(ctx, tx, n.browser.Session)
		if err != nil {
			return err
		}
		var id string
		err = tx.QueryRow(ctx, `
			insert into sessions (token_hash, person_id, auth_time, amr, acr, id_token, user_agent, ip, expires_at)
			values (@hash, @person, @auth_time, @amr, @acr, @id_token, @user_agent, @ip, clock_timestamp() + @max::interval)
			returning id`,
			pgx.StrictNamedArgs{
				"hash": n.hash, "person": person, "auth_time": authTimeOf(n.profile), "amr": orEmpty(n.profile.amr), "acr": n.profile.acr, "id_token": sealed,
				"user_agent": plain(n.browser.UserAgent), "ip": plain(n.browser.IP), "max": a.cfg.SessionMax,
			}).Scan(&id)
		if err != nil {
			return fmt.Errorf("starting a session: %w", err)
		}
		if who, err = a.sessionOf(ctx, tx, n.hash); err != nil {
			return err
		}
		who.IP, who.RequestID = n.browser.IP, n.browser.RequestID
		return audit.Append(ctx, tx, audit.Event{
			Kind: "session.started", Who: who, TargetKind: "session", TargetID: id, TargetName: who.Name,
			Detail: map[string]any{
				"amr": orEmpty(who.AMR), "acr": who.ACR, "roles": who.Roles, "replaces": replaced,
				"fresh": n.flow.MaxAgeSeconds != nil && *n.flow.MaxAgeSeconds == 0, "step_up": n.flow.PersonID != "",
			},
		})
	})
	return who, err
}

// authTimeOf is the epoch when the provider does not say: such a session is never fresh.
func authTimeOf(p profile) time.Time {
	if p.authTime.IsZero() {
		return time.Unix(0, 0)
	}
	return p.authTime
}

// endByHashTx ends the session of a cookie, if there is one, and returns its id.
func endByHashTx(ctx context.Context, tx pgx.Tx, cookie string) (string, error) {
	if !isSecret(cookie) {
		return "", nil
	}
	var id string
	err := tx.QueryRow(ctx, `
		update sessions set ended_at = clock_timestamp() where token_hash = @hash and ended_at is null returning id`,
		pgx.StrictNamedArgs{"hash": hashSecret(cookie)}).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("ending the session before: %w", err)
	}
	return id, nil
}

// sessionRow is a live session with its person.
type sessionRow struct {
	ID       string
	PersonID string
	AuthTime time.Time
	AMR      []string
	ACR      string
	Name     string
	Email    string
	Issuer   string
	Subject  string
	Groups   []string
	Teams    []string
	Stale    bool // its last use was not noted for a while
}

// Session returns who holds a session's secret, as the database says at this moment: groups as of the
// sign-in, teams and roles as of now. The error is a problem of kind Unauthenticated when the session
// has ended, was idle or open for too long, or its person is disabled.
func (a *Authority) Session(ctx context.Context, cookie string) (identity.Principal, error) {
	if !isSecret(cookie) {
		return identity.Principal{}, errSessionOver()
	}
	return a.sessionOf(ctx, a.pool, hashSecret(cookie))
}

// queryer is a pool or a transaction.
type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (a *Authority) sessionOf(ctx context.Context, db queryer, hash []byte) (identity.Principal, error) {
	rows, _ := db.Query(ctx, `
		select s.id, s.person_id, s.auth_time, s.amr, s.acr, p.name, p.email, p.issuer, p.subject, p.groups,
		       array(select t.id from teams t where t.idp_groups && p.groups
		             union select m.team_id from team_members m where m.person_id = p.id order by 1) as teams,
		       s.last_seen_at < clock_timestamp() - least(@idle::interval / 4, interval '1 minute') as stale
		  from sessions s join people p on p.id = s.person_id
		 where s.token_hash = @hash
		   and s.ended_at is null
		   and s.expires_at > clock_timestamp()
		   and s.last_seen_at > clock_timestamp() - @idle::interval
		   and p.disabled_at is null`,
		pgx.StrictNamedArgs{"hash": hash, "idle": a.cfg.SessionIdle})
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[sessionRow])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return identity.Principal{}, errSessionOver()
	case err != nil:
		return identity.Principal{}, fmt.Errorf("reading the session: %w", err)
	}
	if row.Stale {
		if err := a.noteUse(ctx, row.ID); err != nil {
			return identity.Principal{}, err
		}
	}
	return identity.Principal{
		Kind: identity.Person, ID: row.PersonID, Name: row.Name, Email: row.Email, Issuer: row.Issuer, Subject: row.Subject,
		Groups: row.Groups, Roles: a.cfg.roles(row.Groups), Teams: row.Teams,
		SessionID: row.ID, AuthTime: row.AuthTime, AMR: row.AMR, ACR: row.ACR,
	}, nil
}

// noteUse puts off the end by idleness, a few times for each idle period rather than for each request.
func (a *Authority) noteUse(ctx context.Context, id string) error {
	_, err := a.pool.Exec(ctx, `update sessions set last_seen_at = clock_timestamp() where id = @id and ended_at is null`,
		pgx.StrictNamedArgs{"id": id})
	if err != nil {
		return fmt.Errorf("noting the use of a session: %w", err)
	}
	return nil
}

// Fresh says whether who authenticated recently enough for a sharp action. The error is a problem of
// kind Forbidden, code "fresh_signin_required": send the person through BeginSignIn with fresh.
func (a *Authority) Fresh(who identity.Principal) error {
	age := a.now().Sub(who.AuthTime)
	if who.Kind == identity.Person && who.SessionID != "" && age <= a.cfg.FreshFor && age > -clockLeeway {
		return nil
	}
	return problem.New(problem.Forbidden, "fresh_signin_required", "Sign in again to do this: your last sign-in is too long ago.")
}

// SignOut ends the session of who and returns where to send the browser: to the provider's logout,
// which comes back to after, or to after itself. The provider compares after exactly with what is
// registered for the client.
func (a *Authority) SignOut(ctx context.Context, who identity.Principal, after string) (next string, err error) {
	var hash, sealed []byte
	err = postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			update sessions set ended_at = clock_timestamp() where id = @id and ended_at is null
			returning token_hash, id_token`,
			pgx.StrictNamedArgs{"id": who.SessionID}).Scan(&hash, &sealed)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // it ended before, which is what was wanted
		}
		if err != nil {
			return fmt.Errorf("signing out: %w", err)
		}
		return audit.Append(ctx, tx, audit.Event{
			Kind: "session.ended", Who: who, TargetKind: "session", TargetID: who.SessionID, TargetName: who.Name,
			Detail: map[string]any{"how": "signed out"},
		})
	})
	if err != nil || sealed == nil {
		return after, err
	}
	idToken, err := a.seal.Open(idTokenSealedAs, sealed, hash)
	if err != nil {
		return after, fmt.Errorf("signing out: %w", err)
	}
	return a.logoutURL(ctx, string(idToken), after), nil
}

// logoutURL is the provider's end_session_endpoint (RP-initiated logout), or after when it has none or
// does not answer: our own session has ended in any case.
func (a *Authority) logoutURL(ctx context.Context, idToken, after string) string {
	found, err := a.console.discover(ctx)
	if err != nil || found.EndSession == "" {
		return after
	}
	u, err := url.Parse(found.EndSession)
	if err != nil {
		return after
	}
	q := u.Query()
	q.Set("id_token_hint", idToken)
	q.Set("client_id", a.cfg.ClientID)
	q.Set("post_logout_redirect_uri", after)
	u.RawQuery = q.Encode()
	return u.String()
}
