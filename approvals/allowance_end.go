package approvals

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// AllowanceState is the state of an allowance.
type AllowanceState string

// The states of an allowance. All but the first are terminal.
const (
	AllowanceOpen    AllowanceState = "open"
	AllowanceUsedUp  AllowanceState = "used_up"
	AllowanceExpired AllowanceState = "expired"
	AllowanceRevoked AllowanceState = "revoked"
)

func noSuchAllowance() error {
	return problem.New(problem.NotFound, "no_such_allowance", "There is no such allowance.")
}

// RevokeAllowance ends an allowance, and takes back what it approved and is not redeemed. It is for a person in a
// signed-in session: an admin, or one who could decide the request that opened it.
//
// It answers the id of the request that opened the allowance, also with a problem, where there is one.
//
// It needs identity.Vote. Problems: NotFound no_such_allowance, Forbidden, Invalid reason_missing with the field
// "reason", Conflict allowance_ended with the field "state".
func (q *Queue) RevokeAllowance(ctx context.Context, who identity.Principal, id, reason string) (approvalID string, err error) {
	refused := audit.Event{Kind: "allowance.refused", Who: who, TargetKind: "allowance", TargetID: id}
	if err := who.Can(identity.Vote, ""); err != nil {
		return "", q.refuse(ctx, refused, err)
	}
	origin, err := originOf(ctx, q.pool, id)
	if err != nil {
		return "", err
	}
	reason = strings.TrimSpace(reason)
	if why := told(reason, "Say why you end the allowance."); why != "" {
		return origin.ID, problem.New(problem.Invalid, "reason_missing", "The allowance was not ended.").Field("reason", why)
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if origin, err = lock(ctx, tx, origin.ID); err != nil { // requests are locked before allowances
			return nil, err
		}
		s, err := standing(ctx, tx, who, origin.ID)
		switch {
		case err != nil:
			return nil, err
		case !s.mayRevoke(who):
			return s.refusal(), nil
		}
		w, err := lockAllowance(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		was := w.State
		taken, err := q.takeAllowanceTx(ctx, tx, &origin, &w, who, reason)
		if err == nil && was != AllowanceOpen && taken == 0 {
			return problem.New(problem.Conflict, "allowance_ended", "This allowance is %s, and nothing is left to take back.",
				strings.ReplaceAll(string(was), "_", " ")).Field("state", string(was)), nil
		}
		return nil, err
	})
	return origin.ID, q.refuse(ctx, refused, err)
}

// endAllowanceTx ends the allowance of a request that is revoked, if it has one.
func (q *Queue) endAllowanceTx(ctx context.Context, tx pgx.Tx, r *row, m move) error {
	if r.Scope == nil {
		return nil
	}
	var id string
	if err := tx.QueryRow(ctx, `select id from allowances where approval_id = $1`, r.ID).Scan(&id); err != nil {
		return fmt.Errorf("looking for the allowance of %s: %w", r.ID, err)
	}
	w, err := lockAllowance(ctx, tx, id)
	if err != nil {
		return err
	}
	_, err = q.takeAllowanceTx(ctx, tx, r, &w, m.who, m.reason)
	return err
}

// takeAllowanceTx revokes a locked allowance of a locked request, and everything that it approved and that is not
// redeemed. It returns how much that was.
func (q *Queue) takeAllowanceTx(ctx context.Context, tx pgx.Tx, origin *row, w *allowance, who identity.Principal, reason string) (int, error) {
	if w.State == AllowanceOpen {
		if err := closeAllowanceTx(ctx, tx, origin, w, AllowanceRevoked, who, reason); err != nil {
			return 0, err
		}
	}
	rows, _ := tx.Query(ctx, `select id from approvals where allowance_id = $1 and state = 'approved' order by id`, w.ID)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("looking for what allowance %s approved: %w", w.ID, err)
	}
	taken := 0
	for _, id := range ids {
		r, err := lock(ctx, tx, id)
		if err != nil {
			return taken, err
		}
		if r.State != Approved { // redeemed while we waited
			continue
		}
		taken++
		detail := map[string]any{"allowance": w.ID, "origin": w.ApprovalID}
		if err := q.moveTx(ctx, tx, &r, move{to: Revoked, reason: reason, who: who, kind: "approval.revoked", detail: detail}); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// closeAllowanceTx ends a locked open allowance.
func closeAllowanceTx(ctx context.Context, tx pgx.Tx, origin *row, w *allowance, to AllowanceState, who identity.Principal, reason string) error {
	_, err := tx.Exec(ctx, `
		update allowances set state = @to, state_reason = @reason, ended_at = clock_timestamp(), ended_by = @by
		where id = @id and state = 'open'`,
		pgx.StrictNamedArgs{"id": w.ID, "to": to, "reason": reason, "by": who.ID})
	if err != nil {
		return fmt.Errorf("ending allowance %s: %w", w.ID, err)
	}
	w.State = to
	if err := audit.Append(ctx, tx, origin.event("allowance."+string(to), who, map[string]any{
		"allowance": w.ID, "reason": reason, "used": w.Used, "uses": w.Uses,
	})); err != nil {
		return err
	}
	return touchTx(ctx, tx, origin)
}

// What is due of allowances: those whose time is up, and those that a newer policy has to be asked about.
const (
	dueAllowances = `
		select id from allowances where state = 'open' and expires_at <= clock_timestamp() order by expires_at limit $1`
	dueAllowancePolicy = `
		select w.id from allowances w cross join registry_head h
		where w.state = 'open' and (w.generation < h.generation or w.epoch <> h.epoch)
		order by w.created_at limit $1`
)

func (q *Queue) sweepAllowance(ctx context.Context, id string) (did bool, err error) {
	origin, err := originOf(ctx, q.pool, id)
	if err != nil {
		return false, err
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		if origin, err = lock(ctx, tx, origin.ID); err != nil {
			return nil, err
		}
		w, err := lockAllowance(ctx, tx, id)
		if err != nil || w.State != AllowanceOpen || w.ExpiresAt.After(w.Now) {
			return nil, err
		}
		did = true
		return nil, closeAllowanceTx(ctx, tx, &origin, &w, AllowanceExpired, system, "time_is_up")
	})
	return did && err == nil, err
}

// sweepAllowancePolicy judges the call that opened an allowance under a newer policy: when that denies it, the allowance
// ends. When it only asks for more than the approval had, each use finds out by itself.
func (q *Queue) sweepAllowancePolicy(ctx context.Context, id string) (did bool, err error) {
	origin, err := originOf(ctx, q.pool, id)
	if err != nil {
		return false, err
	}
	j, err := q.judgeRow(ctx, &origin)
	if err != nil {
		return false, err
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		if origin, err = lock(ctx, tx, origin.ID); err != nil {
			return nil, err
		}
		w, err := lockAllowance(ctx, tx, id)
		if err != nil || w.State != AllowanceOpen {
			return nil, err
		}
		if current, err := j.current(ctx, tx); err != nil || !current {
			return nil, err
		}
		if j.outcome == policy.Deny {
			did = true
			_, err = q.takeAllowanceTx(ctx, tx, &origin, &w, system, j.reason)
			return nil, err
		}
		if _, err := tx.Exec(ctx, `update allowances set generation = $2 where id = $1`, id, j.generation); err != nil {
			return nil, fmt.Errorf("noting the generation of allowance %s: %w", id, err)
		}
		return nil, nil
	})
	return did && err == nil, err
}

func originOf(ctx context.Context, db querier, allowanceID string) (row, error) {
	r, err := oneRow(ctx, db, `
		select `+columns+` from approvals a where a.id = (select approval_id from allowances where id = @id)`,
		pgx.StrictNamedArgs{"id": allowanceID})
	switch {
	case errors.Is(err, pgx.ErrNoRows), err != nil && badText(allowanceID) != "":
		return row{}, noSuchAllowance()
	case err != nil:
		return row{}, fmt.Errorf("reading the request that opened allowance %q: %w", allowanceID, err)
	}
	return r, nil
}
