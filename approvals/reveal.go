package approvals

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// Revealed is the token of an approved request in clear, for its caller, this once.
type Revealed struct {
	Token     Token
	ExpiresIn time.Duration
}

// Reveal shows the token of an approved request to the person who is its caller, so that they can hand it to a server
// that enforces by itself, as the argument confirmation_token of the call. It works once, for a gateway that is embedded
// in a server, before the server itself has claimed a token; afterwards the server cannot claim one. The policy is
// evaluated again, as it is for a claim.
//
// It needs identity.ReadApprovals, in a signed-in session. Problems: NotFound no_such_approval; Forbidden
// interactive_only, not_the_caller, policy_denied (the approval is revoked); Conflict with the fields "state" and
// "version": not_embedded, not_approved, claim_too_late, token_revealed, token_claimed; RateLimited too_many_claims. They
// are recorded as confirmation.refused.
func (q *Queue) Reveal(ctx context.Context, who identity.Principal, id string) (Revealed, error) {
	var revealed Revealed
	err := who.Can(identity.ReadApprovals, "")
	if err == nil && (who.Kind != identity.Person || who.SessionID == "") {
		err = problem.New(problem.Forbidden, "interactive_only", "A person has to do this in a signed-in session.")
	}
	if err == nil {
		err = settled(func() (err error) {
			revealed, err = q.reveal(ctx, who, id)
			return err
		})
	}
	if err != nil {
		return Revealed{}, q.refuse(ctx, audit.Event{Kind: "confirmation.refused", Who: who, TargetKind: "approval", TargetID: id}, err)
	}
	return revealed, nil
}

// reveal is one attempt, under the policy as it is now.
func (q *Queue) reveal(ctx context.Context, who identity.Principal, id string) (Revealed, error) {
	r, err := load(ctx, q.pool, id)
	if err != nil {
		return Revealed{}, err
	}
	var j *judgement
	if r.State == Approved {
		if j, err = q.judgeRow(ctx, &r); err != nil {
			return Revealed{}, err
		}
	}
	token, hash, err := mintToken()
	if err != nil {
		return Revealed{}, err
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		if refusal, err = revealable(ctx, tx, who, &r); refusal != nil || err != nil {
			return refusal, err
		}
		if refusal, err = q.claimableTx(ctx, tx, &r, j); refusal != nil || err != nil {
			return refusal, err
		}
		return q.revealTx(ctx, tx, &r, who, hash)
	})
	return Revealed{Token: token, ExpiresIn: q.cfg.RevealFor}, err
}

// revealable refuses everybody but the caller, as the database knows them now, and gateways that claim by themselves.
func revealable(ctx context.Context, tx pgx.Tx, who identity.Principal, r *row) (refusal, err error) {
	var own, embedded bool
	err = tx.QueryRow(ctx, `
		select `+caller+` and p.disabled_at is null, g.kind = 'embedded'
		from people p cross join approvals a join gateways g on g.id = a.gateway_id
		where p.id = @person and p.issuer = @issuer and p.subject = @subject and a.id = @id`,
		pgx.StrictNamedArgs{"person": who.ID, "issuer": who.Issuer, "subject": who.Subject, "id": r.ID}).Scan(&own, &embedded)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("reading who called in %s: %w", r.ID, err)
	case !own:
		return problem.New(problem.Forbidden, "not_the_caller", "Only the caller of this call is shown its token."), nil
	case !embedded:
		return r.conflict("not_embedded", "The gateway that asked claims the token by itself. Nobody is shown it."), nil
	}
	return nil, nil
}

// revealTx makes the one token of a request that is shown, unless there is one already.
func (q *Queue) revealTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, hash tokenHash) (refusal, err error) {
	last, again, err := lockConfirmation(ctx, tx, r.ID)
	switch {
	case err != nil:
		return nil, err
	case again && last.State == TokenIssued && last.ExpiresAt.After(r.Now):
		return r.conflict("token_claimed", "The server has claimed the token by itself. It needs none from you."), nil
	}
	if refusal, err := q.issueTx(ctx, tx, r, who, hash, q.cfg.RevealFor); refusal != nil || err != nil {
		return refusal, err
	}
	revealed, err := oneRow(ctx, tx, `
		update approvals a set revealed_at = clock_timestamp(), version = version + 1, changed_at = clock_timestamp()
		where id = @id and state = 'approved' and revealed_at is null
		returning `+columns, pgx.StrictNamedArgs{"id": r.ID})
	if err != nil {
		return nil, fmt.Errorf("noting that the token of %s is revealed: %w", r.ID, err)
	}
	*r = revealed
	return nil, audit.Append(ctx, tx, r.event("confirmation.revealed", who, map[string]any{"expires_in": q.cfg.RevealFor.String()}))
}
