package approvals

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// viewWithin is how long a page waits for its view to be recorded.
const viewWithin = 500 * time.Millisecond

// View records when a person who may decide a pending request first saw it: how long people take, and whether anybody
// looks. It is a measure, no evidence, so it never fails the page: an error is one for the log.
func (q *Queue) View(ctx context.Context, who identity.Principal, id string) error {
	if err := who.Can(identity.Vote, ""); err != nil || badText(id) != "" {
		return nil // who may not vote decides nothing
	}
	ctx, stop := context.WithTimeout(ctx, viewWithin)
	defer stop()
	_, err := q.pool.Exec(ctx, `
		insert into approval_views (approval_id, person_id)
		select a.id, p.id from approvals a cross join people p
		where a.id = @id and p.id = @person and a.state = 'pending' and not `+caller+` and `+member+`
		on conflict do nothing`,
		pgx.StrictNamedArgs{"id": id, "person": who.ID})
	if err != nil {
		return fmt.Errorf("recording that %s was seen: %w", id, err)
	}
	return nil
}
