package approvals

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/internal/problem"
	"countersign/policy"
)

// candidate is what the database says of a token, and of the request it belongs to. The zero value is a token
// that is not known.
type candidate struct {
	ID           string
	ApprovalID   string
	GatewayID    string
	State        ConfirmationState
	Expired      bool
	Answerable   bool // redeemed, and its outcome is not overdue
	Epoch        int64
	HeadEpoch    int64
	Now          time.Time
	GatewayLives bool
	RedemptionID string
	Instance     string
	RequestState State
	ServerName   string
	ToolName     string
	CallDigest   []byte
	Call         []byte
	Principal    []byte
	Terms        policy.Approval
	Granters     []string
	CreatedAt    time.Time
	Escalated    bool
	Emergency    bool
}

func (c candidate) terms() terms {
	return terms{demand: c.Terms, granters: c.Granters, escalated: c.Escalated, emergency: c.Emergency}
}

func (c candidate) head() head {
	return head{Epoch: c.HeadEpoch, Now: c.Now, ServerName: c.ServerName, GatewayLives: c.GatewayLives}
}

func (q *Queue) candidate(ctx context.Context, hash tokenHash) (candidate, error) {
	rows, _ := q.pool.Query(ctx, `
		select c.id, c.approval_id, c.gateway_id, c.state, c.expires_at <= clock_timestamp() as expired,
		       coalesce(c.state = 'redeemed' and c.outcome_by > clock_timestamp(), false) as answerable,
		       c.epoch, h.epoch as head_epoch, coalesce(c.redemption_id, '') as redemption_id, c.instance,
		       a.state as request_state, s.name as server_name, a.tool_name,
		       clock_timestamp() as now, g.revoked_at is null as gateway_lives,
		       c.call_digest, a.call, a.principal, a.created_at, a.terms, a.granters,
		       a.escalated_at is not null as escalated, a.emergency
		from confirmations c join approvals a on a.id = c.approval_id
		     join servers s on s.id = a.server_id join gateways g on g.id = c.gateway_id cross join registry_head h
		where c.token_hash = @hash`, pgx.StrictNamedArgs{"hash": hash[:]})
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[candidate])
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return candidate{}, fmt.Errorf("reading a confirmation: %w", err)
	}
	return c, nil
}

// replay is the code of no refusal: the same attempt asks again for an answer that it was given.
const replay = "replay"

// refusal says why an attempt on c is not to be, or "" when all but the policy is right. Each reason but
// replay is final: a token never gets better.
func (a attempt) refusal(c candidate) string {
	switch {
	case c.ID == "":
		return "unknown"
	case c.GatewayID != a.who.GatewayID:
		return "wrong_gateway"
	case string(c.CallDigest) != string(a.digest[:]):
		return "wrong_call"
	case c.State == Redeemed && c.RedemptionID == a.id && c.Instance == a.instance && c.Answerable:
		return replay
	case c.State == TokenRevoked:
		return "revoked"
	case c.State == TokenExpired:
		return "expired"
	case c.State != TokenIssued:
		return "used"
	case c.Epoch != c.HeadEpoch:
		return "void"
	case c.RequestState != Approved:
		return "revoked"
	case c.Expired:
		return "expired"
	}
	return ""
}

// explain answers an attempt that did not redeem, and records why.
func (q *Queue) explain(ctx context.Context, a attempt, c candidate, why string) (Redemption, error) {
	if why == replay {
		return Redemption{Replayed: true, ApprovalID: c.ApprovalID}, nil
	}
	return Redemption{}, q.refuse(ctx, a.refused(c, why), answer(why))
}

// answer is what the gateway is told. One that does not hold the token learns only that it does not.
func answer(why string) error {
	switch why {
	case "wrong_call":
		return problem.New(problem.Conflict, "call_digest_mismatch",
			"This token is for another call. It was not used up; ask for approval of this one.")
	case "revoked":
		return problem.New(problem.Gone, "confirmation_revoked", "The approval was taken back. Ask again.")
	case "expired":
		return problem.New(problem.Gone, "confirmation_expired", "The token was not redeemed in time. Ask again.")
	case "used":
		return problem.New(problem.Gone, "confirmation_used",
			"This token was redeemed already. The call may have been executed; do not repeat it.")
	case "void":
		return problem.New(problem.Gone, "confirmation_void",
			"The control plane was restored from a copy since this token was issued. Ask again.")
	}
	return problem.New(problem.Forbidden, "confirmation_unknown", "This gateway holds no such token.")
}

// refused is the audit event of a refusal. It names the confirmation when there is one, never the token.
func (a attempt) refused(c candidate, why string) audit.Event {
	return audit.Event{
		Kind: "confirmation.refused", Who: a.who,
		TargetKind: "confirmation", TargetID: c.ID, TargetName: strings.TrimSpace(c.ServerName + " " + c.ToolName),
		Detail: map[string]any{
			"reason": why, "approval": c.ApprovalID, "redemption": a.id, "instance": a.instance, "digest": a.digest.String(),
		},
	}
}
