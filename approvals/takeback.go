package approvals

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Cancel ends a request on behalf of its caller, through the gateway that asked or by the caller in a signed-in session:
// pending → cancelled, approved → revoked together with its token. Cancelling what was cancelled so answers its state
// again; what ended otherwise is a Conflict (not_open). Another gateway's request is NotFound, and another person's is
// Forbidden (not_your_call).
func (q *Queue) Cancel(ctx context.Context, who identity.Principal, id string) (Request, error) {
	r, err := q.ofCaller(ctx, who, id)
	if err != nil {
		return Request{}, err
	}
	const reason = "by_caller"
	err = q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		if _, err := q.lapseTx(ctx, tx, &r); err != nil {
			return nil, err
		}
		switch {
		case r.State == Pending:
			return nil, q.moveTx(ctx, tx, &r, move{to: Cancelled, reason: reason, who: who, kind: "approval.cancelled"})
		case r.State == Approved:
			return nil, q.moveTx(ctx, tx, &r, move{to: Revoked, reason: reason, who: who, kind: "approval.revoked"})
		case r.StateReason == reason:
			return nil, nil
		}
		return r.conflict("not_open", "This request is %s. There is nothing to cancel.", r.State), nil
	})
	return r.view(), err
}

// ofCaller reads a request that is who's to cancel: a gateway's that it asked for, a person's that they are the caller of.
func (q *Queue) ofCaller(ctx context.Context, who identity.Principal, id string) (row, error) {
	if who.Kind != identity.Person || who.SessionID == "" {
		if err := asGateway(who); err != nil {
			return row{}, err
		}
		return q.ofGateway(ctx, who, id)
	}
	r, err := load(ctx, q.pool, id)
	if err == nil && (r.CallerIssuer != who.Issuer || r.CallerSubject != who.Subject) {
		return row{}, problem.New(problem.Forbidden, "not_your_call", "Only the caller can cancel a request. You can deny it, if you may decide.")
	}
	return r, err
}

// Revoke takes an approval back before its token is redeemed; an issued token is revoked in the same
// transaction. It is for a person in a signed-in session: an admin, or one who could decide the request.
// Refusals: Forbidden, Invalid (no reason), NotFound, Conflict with the state (not_approved), which is also
// the answer when the call was executed a moment before.
func (q *Queue) Revoke(ctx context.Context, who identity.Principal, id, reason string) (Request, error) {
	if err := who.Can(identity.Vote, ""); err != nil {
		return Request{}, err
	}
	reason = strings.TrimSpace(reason)
	why := badText(reason)
	if reason == "" {
		why = "Say why you take the approval back."
	}
	if why != "" {
		return Request{}, problem.New(problem.Invalid, "reason_missing", "The approval was not taken back.").Field("reason", why)
	}
	var r row
	err := q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		s, err := standing(ctx, tx, who, id)
		if err != nil {
			return nil, err
		}
		if !s.mayRevoke(who) {
			return s.refusal(), nil
		}
		if _, err := q.lapseTx(ctx, tx, &r); err != nil {
			return nil, err
		}
		if r.State != Approved {
			return r.conflict("not_approved", "This request is %s. There is no approval to take back.", r.State), nil
		}
		return nil, q.moveTx(ctx, tx, &r, move{to: Revoked, reason: reason, who: who, kind: "approval.revoked"})
	})
	return r.view(), err
}

// mayRevoke: whoever may or did vote, and every admin who is a person.
func (s Standing) mayRevoke(who identity.Principal) bool {
	return s.May || s.Code == "already_voted" || (who.Kind == identity.Person && who.Has(identity.Admin))
}
