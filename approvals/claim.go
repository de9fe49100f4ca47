package approvals

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// Claimed is the token of an approved request, in clear, this once.
type Claimed struct {
	Token     Token
	ExpiresIn time.Duration
}

// Claim hands the token of an approved request to the gateway that asked, after the policy was evaluated
// again. Claiming again, after a lost answer, makes a new token and kills the old one; at most three times.
//
// Refusals: NotFound (also for another gateway's request), Forbidden (policy_denied: the approval is revoked),
// Conflict with the fields "state" and "version" (not_approved, claim_too_late, token_revealed), RateLimited (too_many_claims).
// They are recorded as confirmation.refused.
func (q *Queue) Claim(ctx context.Context, who identity.Principal, id string) (Claimed, error) {
	if err := asGateway(who); err != nil {
		return Claimed{}, err
	}
	var claimed Claimed
	err := settled(func() (err error) {
		claimed, err = q.claim(ctx, who, id)
		return err
	})
	if err != nil {
		return Claimed{}, q.refuse(ctx, audit.Event{Kind: "confirmation.refused", Who: who, TargetKind: "approval", TargetID: id}, err)
	}
	return claimed, nil
}

func (q *Queue) claim(ctx context.Context, who identity.Principal, id string) (Claimed, error) {
	r, err := q.ofGateway(ctx, who, id)
	if err != nil {
		return Claimed{}, err
	}
	var j *judgement
	if r.State == Approved {
		if j, err = q.judgeRow(ctx, &r); err != nil {
			return Claimed{}, err
		}
	}
	token, hash, err := mintToken()
	if err != nil {
		return Claimed{}, err
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		r, err = lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if refusal, err = q.claimableTx(ctx, tx, &r, j); refusal != nil || err != nil {
			return refusal, err
		}
		return q.issueTx(ctx, tx, &r, who, hash, q.cfg.RedeemWithin)
	})
	return Claimed{Token: token, ExpiresIn: q.cfg.RedeemWithin}, err
}

// ofGateway reads a request that who itself asked for; others do not exist for it.
func (q *Queue) ofGateway(ctx context.Context, who identity.Principal, id string) (row, error) {
	r, err := load(ctx, q.pool, id)
	if err == nil && r.GatewayID != who.GatewayID {
		return row{}, found(pgx.ErrNoRows, id)
	}
	return r, err
}

func (q *Queue) claimableTx(ctx context.Context, tx pgx.Tx, r *row, j *judgement) (refusal, err error) {
	if _, err := q.lapseTx(ctx, tx, r); err != nil {
		return nil, err
	}
	if r.State != Approved {
		return r.conflict("not_approved", "This request is %s. There is no token to claim.", r.State), nil
	}
	if r.RevealedAt != nil {
		return r.conflict("token_revealed", "The caller was shown the token of this approval. There is no other."), nil
	}
	if r.ClaimBy == nil || !r.ClaimBy.After(r.Now) { // its token is out and lives, but there is no other
		return r.conflict("claim_too_late", "The time to claim this approval is over."), nil
	}
	if j == nil { // approved a moment ago, after it was read
		return nil, errMoved
	}
	return q.withdrawTx(ctx, tx, r, j)
}

// withdrawTx takes an approval back when the policy no longer stands behind it. The refusal says so.
func (q *Queue) withdrawTx(ctx context.Context, tx pgx.Tx, r *row, j *judgement) (refusal, err error) {
	current, err := j.current(ctx, tx)
	switch {
	case err != nil:
		return nil, err
	case !current:
		return nil, errMoved
	}
	why := j.withdraws(r.terms())
	if why == "" {
		return nil, nil
	}
	err = q.moveTx(ctx, tx, r, move{to: Revoked, reason: why, who: system, kind: "approval.revoked"})
	return deniedByPolicy(why), err
}

// issueTx makes the one live token of an approved request, to be redeemed within a time.
func (q *Queue) issueTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, hash tokenHash, within time.Duration) (refusal, err error) {
	last, again, err := lockConfirmation(ctx, tx, r.ID)
	if err != nil {
		return nil, err
	}
	rotations := 0
	if again {
		rotations = last.Rotations + 1
	}
	if rotations > maxRotations {
		return problem.New(problem.RateLimited, "too_many_claims",
			"The token of this approval was claimed %d times. Let it run out and ask again.", rotations), nil
	}
	if again && last.State == TokenIssued && !last.ExpiresAt.After(r.Now) {
		if err := endTokenTx(ctx, tx, r, last, TokenExpired, system, "not_redeemed"); err != nil {
			return nil, err
		}
		last.State = TokenExpired
	}
	if again && last.State == TokenIssued {
		return nil, rotateTx(ctx, tx, r, who, last.ID, rotations, hash, within)
	}
	return nil, insertTokenTx(ctx, tx, r, who, rotations, hash, within)
}

func rotateTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, id string, rotations int, hash tokenHash, within time.Duration) error {
	_, err := tx.Exec(ctx, `
		update confirmations
		   set token_hash = @hash, rotations = @rotations, issued_at = clock_timestamp(),
		       expires_at = clock_timestamp() + @redeem_within::interval
		 where id = @id and state = 'issued'`,
		pgx.StrictNamedArgs{"id": id, "hash": hash[:], "rotations": rotations, "redeem_within": within})
	if err != nil {
		return fmt.Errorf("rotating the token of %s: %w", r.ID, err)
	}
	return audit.Append(ctx, tx, r.confirmationEvent("confirmation.rotated", id, who, map[string]any{"rotations": rotations}))
}

func insertTokenTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, rotations int, hash tokenHash, within time.Duration) error {
	var id string
	err := tx.QueryRow(ctx, `
		insert into confirmations (approval_id, token_hash, gateway_id, call_digest, epoch, rotations, expires_at)
		values (@approval, @hash, @gateway, @digest, @epoch, @rotations, clock_timestamp() + @redeem_within::interval)
		returning id`,
		pgx.StrictNamedArgs{
			"approval": r.ID, "hash": hash[:], "gateway": r.GatewayID, "digest": r.CallDigest, "epoch": r.Epoch,
			"rotations": rotations, "redeem_within": within,
		}).Scan(&id)
	if err != nil {
		return fmt.Errorf("issuing the token of %s: %w", r.ID, err)
	}
	return audit.Append(ctx, tx, r.confirmationEvent("confirmation.issued", id, who, map[string]any{
		"digest": r.digest().String(), "expires_in": within.String(),
	}))
}
