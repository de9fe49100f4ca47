package approvals

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// announced are the transitions that people are told of by way of their channels.
var announced = map[string]bool{
	"approval.requested": true, "approval.escalated": true, "approval.approved": true, "approval.denied": true,
	"approval.expired": true, "approval.superseded": true, "approval.revoked": true, "confirmation.indeterminate": true,
}

// announceTx has the people be told who are asked to decide r, when the transaction commits. A notice leaves the control
// plane: it holds ids and names, and nothing of the arguments or of what anybody gave as a reason.
func (q *Queue) announceTx(ctx context.Context, tx pgx.Tx, r *row, topic string, urgent bool) error {
	if q.cfg.Announce == nil {
		return nil
	}
	risk := policy.Destructive
	if err := tx.QueryRow(ctx, `select coalesce(risk, @risk) from tools where id = @tool`,
		pgx.StrictNamedArgs{"tool": r.ToolID, "risk": risk}).Scan(&risk); err != nil {
		return fmt.Errorf("reading the risk of what %s asks for: %w", r.ID, err)
	}
	err := q.cfg.Announce(ctx, tx, Notice{
		Topic: topic, ApprovalID: r.ID, TeamIDs: r.TeamIDs, Urgent: urgent,
		Data: map[string]any{
			"server": r.ServerName, "tool": r.ToolName, "risk": string(risk), "state": string(r.State),
			"agent": r.Agent, "caller_name": r.CallerName,
		},
	})
	if err != nil {
		return fmt.Errorf("announcing %s of %s: %w", topic, r.ID, err)
	}
	return nil
}
