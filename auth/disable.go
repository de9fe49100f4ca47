package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// DisablePerson switches somebody off: every session of theirs is over with the commit, and no sign-in makes a
// new one. It says nothing about calls through a gateway, which policy decides. It needs
// identity.EnrolGateway: an admin in a session. Doing it again ends sessions that should not be there, and
// nothing else.
//
// Problems: Invalid invalid_reason; NotFound no_such_person; Conflict own_account.
func (a *Authority) DisablePerson(ctx context.Context, who identity.Principal, personID, reason string) error {
	return postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error { return a.DisablePersonTx(ctx, tx, who, personID, reason) })
}

// DisablePersonTx is DisablePerson in the caller's transaction.
func (a *Authority) DisablePersonTx(ctx context.Context, tx pgx.Tx, who identity.Principal, personID, reason string) error {
	if err := maySwitch(who, personID, &reason); err != nil {
		return err
	}
	name, moved, err := switchPersonTx(ctx, tx, personID, true)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `update sessions set ended_at = clock_timestamp() where person_id = @id and ended_at is null`,
		pgx.StrictNamedArgs{"id": personID})
	if err != nil {
		return fmt.Errorf("ending the sessions of person %q: %w", personID, err)
	}
	if !moved && tag.RowsAffected() == 0 {
		return nil
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "person.disabled", Who: who, TargetKind: "person", TargetID: personID, TargetName: name,
		Detail: map[string]any{"reason": reason, "sessions_ended": tag.RowsAffected()},
	})
}

// EnablePerson lets somebody sign in again. It needs identity.EnrolGateway: an admin in a session.
//
// Problems: Invalid invalid_reason; NotFound no_such_person; Conflict own_account.
func (a *Authority) EnablePerson(ctx context.Context, who identity.Principal, personID, reason string) error {
	return postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error { return a.EnablePersonTx(ctx, tx, who, personID, reason) })
}

// EnablePersonTx is EnablePerson in the caller's transaction.
func (a *Authority) EnablePersonTx(ctx context.Context, tx pgx.Tx, who identity.Principal, personID, reason string) error {
	if err := maySwitch(who, personID, &reason); err != nil {
		return err
	}
	name, moved, err := switchPersonTx(ctx, tx, personID, false)
	if err != nil || !moved {
		return err
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "person.enabled", Who: who, TargetKind: "person", TargetID: personID, TargetName: name, Detail: map[string]any{"reason": reason},
	})
}

// maySwitch says whether who may switch a person on or off, and trims the reason.
func maySwitch(who identity.Principal, personID string, reason *string) error {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return err
	}
	if who.Kind == identity.Person && who.ID == personID {
		return problem.New(problem.Conflict, "own_account", "This is your own account. Ask another admin.")
	}
	return cleanReason(reason)
}

// cleanReason trims a reason that the log keeps. Problem: Invalid invalid_reason.
func cleanReason(reason *string) error {
	if *reason = strings.TrimSpace(*reason); *reason == "" || plain(*reason) != *reason { // too long, or not visible
		return problem.New(problem.Invalid, "invalid_reason", "Nothing was changed.").
			Field("reason", "Say why in at most 500 characters, for the one who asks later.")
	}
	return nil
}

// switchPersonTx sets or clears disabled_at, and reports whether that was a change.
func switchPersonTx(ctx context.Context, tx pgx.Tx, id string, off bool) (name string, moved bool, err error) {
	err = tx.QueryRow(ctx, `
		with known as (select id, name, disabled_at is not null as off from people where id = @id for update),
		     moved as (update people p set disabled_at = case when @off then clock_timestamp() end from known k where p.id = k.id and k.off <> @off)
		select name, off <> @off from known`,
		pgx.StrictNamedArgs{"id": id, "off": off}).Scan(&name, &moved)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", false, problem.New(problem.NotFound, "no_such_person", "There is no such person.")
	}
	if err != nil {
		return "", false, fmt.Errorf("switching person %q: %w", id, err)
	}
	return name, moved, nil
}
