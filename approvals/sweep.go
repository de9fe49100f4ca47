package approvals

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/internal/problem"
)

const (
	sweepEvery = time.Second
	sweepBatch = 100 // rows of one kind in one pass
)

// Run sweeps until ctx ends. One process is enough, but more do no harm.
func (q *Queue) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if _, err := q.Sweep(ctx); err != nil && ctx.Err() == nil {
			q.cfg.Log.WarnContext(ctx, "sweeping approval requests was interrupted", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Sweep does what time or the policy makes due, each in a transaction of its own: pending requests that nobody decided
// have their fallback asked, and expire; approved ones that nobody claimed or redeemed are closed and their tokens expire;
// executed calls without an outcome become indeterminate; open requests of another epoch, or which a newer policy denies,
// are superseded or revoked; what was kept for long enough is wiped. It returns how many it changed; what it could not do
// is left for the next time.
func (q *Queue) Sweep(ctx context.Context) (int, error) {
	changed := 0
	var failures []error
	for _, duty := range q.duties() {
		n, err := q.sweep(ctx, duty.due, duty.do)
		changed += n
		if err != nil {
			failures = append(failures, err)
		}
	}
	n, err := q.purge(ctx)
	return changed + n, errors.Join(append(failures, err)...)
}

// duty is something that time makes due: a query for the ids of what is due, of which it is given the number that it
// may answer, and what to do about one of them.
type duty struct {
	due string
	do  func(ctx context.Context, id string) (did bool, err error)
}

// duties are what a sweep does, in this order.
func (q *Queue) duties() []duty {
	return []duty{
		{dueRequests, q.sweepRequest},
		{dueEscalations, q.sweepRequest},
		{dueExpiries, q.sweepToken},
		{dueOutcomes, q.sweepOutcome},
		{dueReviews, q.sweepPolicy},
		{dueAllowances, q.sweepAllowance},
		{dueAllowancePolicy, q.sweepAllowancePolicy},
		{dueOverdue, q.sweepOverdue},
	}
}

// What is due: ids of requests, oldest duty first.
const (
	dueRequests = `
		(select id from approvals where state = 'pending' and expires_at <= clock_timestamp() order by expires_at limit $1)
		union all
		(select id from approvals where state = 'approved' and claim_by <= clock_timestamp() order by claim_by limit $1)`
	dueEscalations = `
		select id from approvals where state = 'pending' and escalate_at <= clock_timestamp() order by escalate_at limit $1`
	dueExpiries = `
		select approval_id from confirmations where state = 'issued' and expires_at <= clock_timestamp() order by expires_at limit $1`
	dueOutcomes = `
		select approval_id from confirmations where state = 'redeemed' and outcome_by <= clock_timestamp() order by outcome_by limit $1`
	dueReviews = `
		select a.id from approvals a cross join registry_head h
		where a.state in ('pending', 'approved')
		  and (a.generation < h.generation or a.epoch <> h.epoch
		       or a.grants && array(select g.id from grants g where g.ended_at is null and g.not_after <= clock_timestamp()))
		order by a.changed_at limit $1`
)

func (q *Queue) sweep(ctx context.Context, due string, do func(context.Context, string) (bool, error)) (int, error) {
	rows, _ := q.pool.Query(ctx, due, sweepBatch)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("looking for what is due: %w", err)
	}
	changed := 0
	var failures []error
	for _, id := range ids {
		did, err := do(ctx, id)
		switch {
		case did:
			changed++
		case problem.Is(err, problem.Unavailable), problem.Is(err, problem.Conflict): // somebody acts on it, or the policy is moving
		case err != nil:
			failures = append(failures, err)
		}
	}
	return changed, errors.Join(failures...)
}

func (q *Queue) sweepRequest(ctx context.Context, id string) (did bool, err error) {
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		r, err := lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		did, err = q.lapseTx(ctx, tx, &r)
		return nil, err
	})
	return did && err == nil, err
}

func (q *Queue) sweepToken(ctx context.Context, id string) (did bool, err error) {
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		r, err := lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		c, ok, err := lockConfirmation(ctx, tx, id)
		if err != nil || !ok || c.State != TokenIssued || c.ExpiresAt.After(r.Now) {
			return nil, err
		}
		did = true
		if err := endTokenTx(ctx, tx, &r, c, TokenExpired, system, "not_redeemed"); err != nil {
			return nil, err
		}
		return nil, touchTx(ctx, tx, &r)
	})
	return did && err == nil, err
}

func (q *Queue) sweepOutcome(ctx context.Context, id string) (did bool, err error) {
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		r, err := lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		var confirmationID string
		err = tx.QueryRow(ctx, `
			update confirmations set state = 'indeterminate'
			where approval_id = $1 and state = 'redeemed' and outcome_by <= clock_timestamp()
			returning id`, id).Scan(&confirmationID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("marking the call of %s as indeterminate: %w", id, err)
		}
		did = true
		event := r.confirmationEvent("confirmation.indeterminate", confirmationID, system, map[string]any{"reason": "no_outcome"})
		if err := audit.Append(ctx, tx, event); err != nil {
			return nil, err
		}
		if err := q.announceTx(ctx, tx, &r, "confirmation.indeterminate", false); err != nil {
			return nil, err
		}
		return nil, touchTx(ctx, tx, &r)
	})
	return did && err == nil, err
}

// sweepPolicy judges an open request under a policy that is newer than the one it was judged by, or when the time of the
// grant that would allow it is over.
func (q *Queue) sweepPolicy(ctx context.Context, id string) (did bool, err error) {
	r, err := load(ctx, q.pool, id)
	if err != nil {
		return false, err
	}
	j, err := q.judgeRow(ctx, &r)
	if err != nil {
		return false, err
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		did, err = q.reviewTx(ctx, tx, &r, j)
		return nil, err
	})
	if errors.Is(err, errMoved) {
		return false, nil
	}
	return did && err == nil, err
}

func (q *Queue) reviewTx(ctx context.Context, tx pgx.Tx, r *row, j *judgement) (did bool, err error) {
	before := r.Version
	switch r.State {
	case Pending:
		err = q.followPolicyTx(ctx, tx, r, j)
	case Approved:
		_, err = q.withdrawTx(ctx, tx, r, j)
	default:
		return false, nil
	}
	if err != nil || r.Version != before {
		return true, err
	}
	_, err = tx.Exec(ctx, `update approvals set generation = @generation, guardrails = @guardrails, grants = @grants where id = @id`,
		pgx.StrictNamedArgs{"id": r.ID, "generation": j.generation, "guardrails": j.guardrails, "grants": j.grants})
	if err != nil {
		return false, fmt.Errorf("noting what %s was judged by: %w", r.ID, err)
	}
	return false, nil
}
