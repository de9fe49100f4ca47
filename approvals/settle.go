package approvals

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// Settlement is what a person found out about a call whose outcome nobody reported: they looked at the system behind
// the tool. It settles what is recorded, and executes nothing.
type Settlement struct {
	Ran    bool   // the call was executed
	Reason string // how they know
}

// Settle ends the doubt about an executed call that is indeterminate: it ran (succeeded) or it did not (failed). It is
// for a person in a signed-in session who could decide the request, and never for its caller. A gateway that reports
// later what the person said changes nothing; one that reports otherwise is refused (outcome_differs), and recorded.
//
// It needs identity.Vote. Problems: Forbidden (own_call, own_agent, not_a_member, …), Invalid (settlement_incomplete)
// with the field "reason", NotFound, Conflict with the state (not_indeterminate).
func (q *Queue) Settle(ctx context.Context, who identity.Principal, id string, s Settlement) (Request, error) {
	if err := who.Can(identity.Vote, ""); err != nil {
		return Request{}, err
	}
	s.Reason = strings.TrimSpace(s.Reason)
	if why := told(s.Reason, "Say how you know."); why != "" {
		return Request{}, problem.New(problem.Invalid, "settlement_incomplete", "The call was not settled.").Field("reason", why)
	}
	var r row
	err := q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		standing, err := standing(ctx, tx, who, id)
		if err != nil {
			return nil, err
		}
		if !standing.mayRevoke(who) || standing.Code == "own_call" {
			return standing.refusal(), nil
		}
		return settleTx(ctx, tx, &r, who, s)
	})
	if err != nil {
		return Request{}, q.refuse(ctx, audit.Event{Kind: "confirmation.refused", Who: who, TargetKind: "approval", TargetID: id}, err)
	}
	return r.view(), nil
}

// told is what is wrong with a text that somebody has to give; need is the sentence where there is none.
func told(s, need string) string {
	if s == "" {
		return need
	}
	return badText(s)
}

func settleTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, s Settlement) (refusal, err error) {
	c, ok, err := lockConfirmation(ctx, tx, r.ID)
	switch {
	case err != nil:
		return nil, err
	case !ok || c.State != Indeterminate:
		return r.conflict("not_indeterminate", "There is no doubt about this call, or none any more. Nothing was changed."), nil
	}
	to := Failed
	if s.Ran {
		to = Succeeded
	}
	outcome := map[string]any{"status": to, "settled_by": who.ID, "settled_by_name": who.Name, "reason": s.Reason}
	_, err = tx.Exec(ctx, `
		update confirmations set state = @state, finished_at = clock_timestamp(), outcome = outcome || @outcome::jsonb where id = @id`,
		pgx.StrictNamedArgs{"id": c.ID, "state": to, "outcome": outcome})
	if err != nil {
		return nil, fmt.Errorf("settling the outcome of %s: %w", c.ID, err)
	}
	detail := map[string]any{"status": to, "ran": s.Ran, "reason": s.Reason}
	if err := audit.Append(ctx, tx, r.confirmationEvent("confirmation.settled", c.ID, who, detail)); err != nil {
		return nil, err
	}
	return nil, touchTx(ctx, tx, r)
}
