package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// SessionInfo is a live session, for a page that lists them.
type SessionInfo struct {
	ID         string
	PersonID   string
	PersonName string
	AuthTime   time.Time
	AMR        []string
	ACR        string
	UserAgent  string
	IP         string
	CreatedAt  time.Time
	LastSeenAt time.Time
	ExpiresAt  time.Time
}

// Sessions lists the live sessions of a person, "" for one's own, newest first. Those of others are
// for admins.
func (a *Authority) Sessions(ctx context.Context, who identity.Principal, personID string) ([]SessionInfo, error) {
	if personID == "" {
		personID = who.ID
	}
	if err := maySee(who, personID); err != nil {
		return nil, err
	}
	rows, _ := a.pool.Query(ctx, `
		select s.id, s.person_id, p.name as person_name, s.auth_time, s.amr, s.acr, s.user_agent, s.ip,
		       s.created_at, s.last_seen_at, s.expires_at
		  from sessions s join people p on p.id = s.person_id
		 where s.person_id = @person
		   and s.ended_at is null
		   and s.expires_at > clock_timestamp()
		   and s.last_seen_at > clock_timestamp() - @idle::interval
		 order by s.created_at desc, s.id`,
		pgx.StrictNamedArgs{"person": personID, "idle": a.cfg.SessionIdle})
	sessions, err := pgx.CollectRows(rows, pgx.RowToStructByName[SessionInfo])
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	return sessions, nil
}

// EndSession ends one session: one's own, or anyone's for an admin. A session that has ended, or that
// who may not see, is NotFound.
func (a *Authority) EndSession(ctx context.Context, who identity.Principal, id string) error {
	if who.Kind != identity.Person || who.SessionID == "" {
		return problem.New(problem.Forbidden, "interactive_only", "A person has to do this in a signed-in session.")
	}
	return postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error {
		var name string
		err := tx.QueryRow(ctx, `
			update sessions s set ended_at = clock_timestamp()
			  from people p
			 where s.id = @id and p.id = s.person_id and s.ended_at is null and (p.id = @person or @admin)
			returning p.name`,
			pgx.StrictNamedArgs{"id": id, "person": who.ID, "admin": who.Has(identity.Admin)}).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return problem.New(problem.NotFound, "no_such_session", "There is no such session, or it has ended.")
		}
		if err != nil {
			return fmt.Errorf("ending session %q: %w", id, err)
		}
		return audit.Append(ctx, tx, audit.Event{
			Kind: "session.ended", Who: who, TargetKind: "session", TargetID: id, TargetName: name,
			Detail: map[string]any{"how": "ended from the list"},
		})
	})
}

// maySee says whether who may look at the sessions of a person.
func maySee(who identity.Principal, personID string) error {
	switch {
	case who.Kind == identity.System:
		return nil
	case who.Kind != identity.Person || who.SessionID == "":
		return problem.New(problem.Forbidden, "interactive_only", "A person has to do this in a signed-in session.")
	case who.ID != personID && !who.Has(identity.Admin):
		return problem.New(problem.Forbidden, "not_allowed", "You may see your own sessions. Those of others are for admins.")
	}
	return nil
}
