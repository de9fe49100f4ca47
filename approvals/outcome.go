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
)

// Outcome is how an executed call ended, as its gateway reports it: Succeeded, Failed, or Indeterminate when
// it was sent and no answer came. It holds sizes and times, nothing of the answer. It has the fields of
// client.Outcome, with a status of our own type.
type Outcome struct {
	Status        ConfirmationState
	Error         string
	ResponseBytes int64
	DurationMS    int64
}

// Outcome records how a redeemed call ended. Reporting the same status again changes nothing; a late report
// settles an indeterminate call. Refusals: NotFound (also for another gateway's), Invalid, and Conflict
// (outcome_differs) when another outcome was reported before, or a person settled it otherwise; that is recorded as
// confirmation.refused.
func (q *Queue) Outcome(ctx context.Context, who identity.Principal, redemptionID string, o Outcome) error {
	if err := asGateway(who); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	refused := audit.Event{Kind: "confirmation.refused", Who: who, TargetKind: "confirmation", Detail: map[string]any{"status": o.Status}}
	err := q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		id, approvalID, err := executionOf(ctx, tx, who, redemptionID)
		if err != nil {
			return nil, err
		}
		refused.TargetID, refused.Detail["approval"] = id, approvalID
		r, err := lock(ctx, tx, approvalID)
		if err != nil {
			return nil, err
		}
		return q.finishTx(ctx, tx, &r, who, id, o)
	})
	if problem.Is(err, problem.Conflict) {
		return q.refuse(ctx, refused, err)
	}
	return err
}

func (o *Outcome) validate() error {
	if o.Status != Succeeded && o.Status != Failed && o.Status != Indeterminate {
		return problem.New(problem.Invalid, "outcome_incomplete", "The outcome cannot be read. Nothing was recorded.").
			Field("status", "succeeded, failed or indeterminate")
	}
	if len(o.Error) > maxReason {
		o.Error = o.Error[:maxReason]
	}
	o.Error = strings.ReplaceAll(strings.ToValidUTF8(o.Error, "\uFFFD"), "\x00", "\uFFFD")
	o.ResponseBytes, o.DurationMS = max(0, o.ResponseBytes), max(0, o.DurationMS)
	return nil
}

func executionOf(ctx context.Context, tx pgx.Tx, who identity.Principal, redemptionID string) (id, approvalID string, err error) {
	err = tx.QueryRow(ctx, `
		select id, approval_id from confirmations where redemption_id = @redemption and gateway_id = @gateway`,
		pgx.StrictNamedArgs{"redemption": redemptionID, "gateway": who.GatewayID}).Scan(&id, &approvalID)
	switch {
	case errors.Is(err, pgx.ErrNoRows), err != nil && badText(redemptionID) != "":
		return "", "", problem.New(problem.NotFound, "no_such_redemption", "This gateway redeemed nothing under this id.")
	case err != nil:
		return "", "", fmt.Errorf("looking for a redemption: %w", err)
	}
	return id, approvalID, nil
}

func (q *Queue) finishTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, id string, o Outcome) (refusal, err error) {
	was, err := lockConfirmationState(ctx, tx, id)
	switch {
	case err != nil:
		return nil, err
	case was == o.Status:
		return nil, nil
	case was != Redeemed && was != Indeterminate, o.Status == Indeterminate && was != Redeemed:
		return problem.New(problem.Conflict, "outcome_differs", "This call was reported as %s before.", was).
			Field("status", string(was)), nil
	}
	detail := map[string]any{"status": o.Status, "error": o.Error, "response_bytes": o.ResponseBytes, "duration_ms": o.DurationMS}
	_, err = tx.Exec(ctx, `
		update confirmations set state = @state, finished_at = clock_timestamp(), outcome = @outcome where id = @id`,
		pgx.StrictNamedArgs{"id": id, "state": o.Status, "outcome": detail})
	if err != nil {
		return nil, fmt.Errorf("recording the outcome of %s: %w", id, err)
	}
	kind := "confirmation.finished"
	if o.Status == Indeterminate {
		kind = "confirmation.indeterminate"
	}
	if err := audit.Append(ctx, tx, r.confirmationEvent(kind, id, who, detail)); err != nil {
		return nil, err
	}
	if o.Status == Indeterminate {
		if err := q.announceTx(ctx, tx, r, kind, false); err != nil {
			return nil, err
		}
	}
	return nil, touchTx(ctx, tx, r)
}

func lockConfirmationState(ctx context.Context, tx pgx.Tx, id string) (s ConfirmationState, err error) {
	if err := tx.QueryRow(ctx, `select state from confirmations where id = $1 for update`, id).Scan(&s); err != nil {
		return "", fmt.Errorf("reading confirmation %s: %w", id, err)
	}
	return s, nil
}

// touchTx lets those who show the request see that something about it changed.
func touchTx(ctx context.Context, tx pgx.Tx, r *row) error {
	_, err := tx.Exec(ctx, `update approvals set changed_at = clock_timestamp() where id = $1`, r.ID)
	if err != nil {
		return fmt.Errorf("marking approval request %s as changed: %w", r.ID, err)
	}
	return nil
}
