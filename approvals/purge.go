package approvals

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
)

// purgeBatch is how many requests one pass wipes, so that no transaction is long.
const purgeBatch = 500

// purge wipes the sealed calls and callers of requests that ended longer ago than they are to be kept; what was decided,
// by whom and about which digest, stays. Something is kept for longer while somebody may still have to look at it: as
// long as a review or an allowance of the request is open. It returns how many it wiped.
func (q *Queue) purge(ctx context.Context) (wiped int, err error) {
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			update approvals set call = '', principal = '', purged_at = clock_timestamp()
			where id in (
				select a.id from approvals a
				where a.purged_at is null and a.state not in ('pending', 'approved')
				  and a.changed_at < clock_timestamp() - @keep_for::interval
				  and not exists (select from reviews v where v.approval_id = a.id and v.closed_at is null)
				  and not exists (select from allowances w where w.approval_id = a.id and w.state = 'open')
				order by a.changed_at
				limit @most
				for no key update of a skip locked)
			returning id`, pgx.StrictNamedArgs{"keep_for": q.cfg.KeepFor, "most": purgeBatch})
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("wiping what was kept for long enough: %w", err)
		}
		wiped = len(ids)
		if wiped == 0 {
			return nil
		}
		return audit.Append(ctx, tx, audit.Event{
			Kind: "approval.purged", Who: system, TargetKind: "approval",
			Detail: map[string]any{"count": wiped, "kept_for": q.cfg.KeepFor.String()},
		})
	})
	return wiped, err
}
