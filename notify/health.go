package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Health is how notifying goes, over all replicas.
type Health struct {
	BeatAt    time.Time  // when a notifier last looked
	Stalled   bool       // that is longer ago than any pause between two looks
	Waiting   int        // notices and deliveries that are due
	OldestDue *time.Time // since when the oldest of them is
	Failing   []string   // names of channels that fail
	Channels  int        // that are told something
}

// stalledAfter is longer than the pause between two looks, and than the database may be away in a restart.
const stalledAfter = time.Minute

// Health says whether a notifier lives and whether people are told. It asks for no permission, since names of channels
// are all it tells.
func (n *Notifier) Health(ctx context.Context) (Health, error) {
	rows, _ := n.pool.Query(ctx, `
		with due as (
			select at as since from notices where taken_at is null
			union all
			select d.due_at from deliveries d join channels c on c.id = d.channel_id
			where d.state = 'waiting' and d.due_at <= clock_timestamp() and c.paused_at is null and c.ended_at is null
		)
		select n.beat_at, n.beat_at < clock_timestamp() - $1::interval as stalled,
		       (select count(*)::int from due) as waiting, (select min(since) from due) as oldest_due,
		       array(select name from channels where failing_since is not null and paused_at is null and ended_at is null order by lower(name)) as failing,
		       (select count(*)::int from channels where paused_at is null and ended_at is null) as channels
		from notifier n`, stalledAfter)
	h, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Health])
	if err != nil {
		return Health{}, fmt.Errorf("reading how notifying goes: %w", err)
	}
	return h, nil
}

// keepLog is how long the log of deliveries is kept.
const keepLog = 90 * 24 * time.Hour

// tidy forgets what is finished and old, a batch of each.
func (n *Notifier) tidy(ctx context.Context) error {
	_, err := n.pool.Exec(ctx, `
		with old as (
			select id from deliveries where state <> 'waiting' and finished_at < clock_timestamp() - $1::interval order by finished_at limit 10000
		), tried as (
			delete from delivery_attempts a using old where a.delivery_id = old.id returning a.delivery_id
		)
		delete from deliveries d using old where d.id = old.id and (select count(*) from tried) >= 0`, keepLog)
	if err == nil {
		_, err = n.pool.Exec(ctx, `
			delete from notices where id in (select id from notices where taken_at < clock_timestamp() - $1::interval order by id limit 10000)`, keepLog)
	}
	if err != nil {
		return fmt.Errorf("forgetting old deliveries: %w", err)
	}
	return nil
}
