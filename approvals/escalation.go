package approvals

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
)

// toEscalate reports whether those who were asked first had their time, by the clock that was read under the lock.
func (r *row) toEscalate() bool {
	return r.State == Pending && r.EscalateAt != nil && !r.EscalateAt.After(r.Now)
}

// escalateTx asks the fallback as well. Those who were asked before may still decide, and the time to decide stays as
// it was.
func (q *Queue) escalateTx(ctx context.Context, tx pgx.Tx, r *row) error {
	t := r.terms()
	t.escalated = true
	quorum, teams := t.summary()
	moved, err := oneRow(ctx, tx, `
		update approvals a
		   set escalated_at = clock_timestamp(), escalate_at = null, quorum = @quorum, team_ids = @teams,
		       version = version + 1, changed_at = clock_timestamp()
		 where id = @id and state = 'pending' and version = @version and escalate_at <= clock_timestamp()
		returning `+columns,
		pgx.StrictNamedArgs{"id": r.ID, "version": r.Version, "quorum": quorum, "teams": teams})
	if err != nil {
		return fmt.Errorf("escalating approval request %s: %w", r.ID, err)
	}
	*r = moved
	err = audit.Append(ctx, tx, r.event("approval.escalated", system, map[string]any{
		"digest": r.digest().String(), "version": r.Version, "fallback": r.Terms.Fallback, "teams": r.TeamIDs,
	}))
	if err != nil {
		return err
	}
	return q.announceTx(ctx, tx, r, "approval.escalated", false)
}
