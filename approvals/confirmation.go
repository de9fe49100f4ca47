package approvals

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
)

// ConfirmationState is the state of a confirmation; see the package comment.
type ConfirmationState string

// The states of a confirmation.
const (
	TokenIssued   ConfirmationState = "issued"
	TokenExpired  ConfirmationState = "expired"
	TokenRevoked  ConfirmationState = "revoked"
	Redeemed      ConfirmationState = "redeemed"
	Succeeded     ConfirmationState = "succeeded"
	Failed        ConfirmationState = "failed"
	Indeterminate ConfirmationState = "indeterminate"
)

// confirmation is the newest confirmation of a request.
type confirmation struct {
	ID        string
	State     ConfirmationState
	Rotations int
	ExpiresAt time.Time
}

// lockConfirmation locks the newest confirmation of a request that is locked already; ok is false when there
// is none. Its clock is to be read afterwards, or the request's, which no later redemption can have passed:
// to redeem takes the request's lock.
func lockConfirmation(ctx context.Context, tx pgx.Tx, approvalID string) (c confirmation, ok bool, err error) {
	rows, _ := tx.Query(ctx, `
		select id, state, rotations, expires_at from confirmations
		where approval_id = @approval
		order by issued_at desc, id desc
		limit 1
		for update`, pgx.StrictNamedArgs{"approval": approvalID})
	c, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[confirmation])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return confirmation{}, false, nil
	case err != nil:
		return confirmation{}, false, fmt.Errorf("reading the confirmation of %s: %w", approvalID, err)
	}
	return c, true, nil
}

// endTokenTx ends an issued token unused: as expired or as revoked.
func endTokenTx(ctx context.Context, tx pgx.Tx, r *row, c confirmation, to ConfirmationState, who identity.Principal, reason string) error {
	tag, err := tx.Exec(ctx, `update confirmations set state = @to where id = @id and state = 'issued'`,
		pgx.StrictNamedArgs{"id": c.ID, "to": to})
	if err != nil {
		return fmt.Errorf("ending confirmation %s: %w", c.ID, err)
	}
	if tag.RowsAffected() != 1 {
		return fmt.Errorf("ending confirmation %s: it is %s, not issued", c.ID, c.State)
	}
	return audit.Append(ctx, tx, r.confirmationEvent("confirmation."+string(to), c.ID, who, map[string]any{"reason": reason}))
}

// revokeTokenTx revokes the token of a locked request, if one is out.
func revokeTokenTx(ctx context.Context, tx pgx.Tx, r *row, m move) error {
	c, ok, err := lockConfirmation(ctx, tx, r.ID)
	if err != nil || !ok || c.State != TokenIssued {
		return err
	}
	return endTokenTx(ctx, tx, r, c, TokenRevoked, m.who, m.reason)
}

// confirmationEvent is an audit event about a confirmation of the request.
func (r *row) confirmationEvent(kind, id string, who identity.Principal, detail map[string]any) audit.Event {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["approval"] = r.ID
	return audit.Event{
		Kind: kind, Who: who, Detail: detail,
		TargetKind: "confirmation", TargetID: id, TargetName: r.ServerName + " " + r.ToolName,
	}
}

// lapseTx does to a locked request what time did: a pending one expires, or has its fallback asked as well; an approved
// one that nobody claimed or redeemed in time is closed. It reports whether it did any of this. Whoever meets such a
// request first does it; the sweep does it to those that nobody meets.
func (q *Queue) lapseTx(ctx context.Context, tx pgx.Tx, r *row) (bool, error) {
	switch {
	case r.State == Pending && !r.ExpiresAt.After(r.Now):
		return true, q.moveTx(ctx, tx, r, move{to: Expired, reason: "nobody_decided", who: system, kind: "approval.expired"})
	case r.toEscalate():
		return true, q.escalateTx(ctx, tx, r)
	case r.State == Approved && r.ClaimBy != nil && !r.ClaimBy.After(r.Now):
		return q.lapseApprovedTx(ctx, tx, r)
	}
	return false, nil
}

// lapseApprovedTx closes an approved request that cannot be claimed any more, unless its token still lives.
func (q *Queue) lapseApprovedTx(ctx context.Context, tx pgx.Tx, r *row) (bool, error) {
	reason := "not_claimed"
	c, ok, err := lockConfirmation(ctx, tx, r.ID)
	switch {
	case err != nil:
		return false, err
	case ok && c.State == TokenIssued && c.ExpiresAt.After(r.Now):
		return false, nil
	case ok && c.State == TokenIssued:
		if err := endTokenTx(ctx, tx, r, c, TokenExpired, system, "not_redeemed"); err != nil {
			return false, err
		}
	}
	if ok {
		reason = "not_redeemed"
	}
	return true, q.moveTx(ctx, tx, r, move{to: Closed, reason: reason, who: system, kind: "approval.closed"})
}
