package notify

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leaseBatch  = 32
	leasePerOne = 4 // deliveries to one channel at a time; a failing one gets one
)

// leaseFor is longer than an attempt and its record can take, so that nobody else tries meanwhile.
const leaseFor = 4 * sendTimeout

// delivery is a delivery that is leased, with what its channel is told with.
type delivery struct {
	ID          string
	MessageID   string // the same over all attempts, and when it is delivered again by hand
	ChannelID   string
	ChannelName string
	Kind        Kind
	Target      []byte
	Secrets     []byte
	About       string
	NoticeIDs   []int64
	Attempts    int // this one included
	CreatedAt   time.Time
	Now         time.Time // by the database
}

// leaseSQL picks what is due and moves its due time ahead; a digest that is due stops collecting and loses what needs
// no decision any more. Each channel has its share, and one that is slow holds up nobody but itself.
const leaseSQL = `
	with picked as (
		select d.id, d.collecting
		from channels c
		cross join lateral (
			select id, collecting from deliveries
			where channel_id = c.id and state = 'waiting' and due_at <= clock_timestamp()
			order by due_at limit case when c.failing_since is null then @each::int else 1 end
			for update skip locked
		) d
		where c.ended_at is null and c.paused_at is null and c.id <> all (@busy::text[])
		limit @batch
	), leased as (
		update deliveries d
		   set due_at = clock_timestamp() + @lease, attempts = d.attempts + 1, collecting = false,
		       notice_ids = case when p.collecting then (` + stillToldSQL + `) else d.notice_ids end
		  from picked p
		 where d.id = p.id
		returning d.id, d.again_of, d.channel_id, d.about, d.notice_ids, d.attempts, d.created_at
	)
	select l.id, coalesce(nullif(l.again_of, ''), l.id) as message_id, l.channel_id, c.name as channel_name, c.kind, c.target, c.secrets,
	       l.about, l.notice_ids, l.attempts, l.created_at, clock_timestamp() as now
	from leased l join channels c on c.id = l.channel_id`

// stillToldSQL leaves out requests that were decided while the digest collected.
const stillToldSQL = `
	select coalesce(array_agg(n.id order by n.id), '{}')
	from notices n left join approvals a on a.id = n.approval_id
	where n.id = any (d.notice_ids) and (n.topic not in ('` + topicRequested + `', '` + topicEscalated + `') or a.state = 'pending')`

func (n *Notifier) lease(ctx context.Context) ([]delivery, error) {
	rows, _ := n.pool.Query(ctx, leaseSQL, pgx.StrictNamedArgs{
		"each": leasePerOne, "batch": leaseBatch, "lease": leaseFor, "busy": n.busy.list(),
	})
	leased, err := pgx.CollectRows(rows, pgx.RowToStructByName[delivery])
	if err != nil {
		return nil, fmt.Errorf("leasing deliveries: %w", err)
	}
	return leased, nil
}

// busy counts what this process is delivering to each channel.
type busy struct {
	mu       sync.Mutex
	channels map[string]int
}

func (b *busy) add(channel string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.channels[channel] += n; b.channels[channel] == 0 {
		delete(b.channels, channel)
	}
}

func (b *busy) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]string, 0, len(b.channels))
	for id := range b.channels {
		list = append(list, id)
	}
	return list
}
