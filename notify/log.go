package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Delivery is one message to a channel, with its attempts.
type Delivery struct {
	ID         string
	MessageID  string // as the receiver knows it
	About      string // notices, test or alive
	State      string // waiting, delivered, failed or cancelled
	Collecting bool   // a digest that is not due yet
	Topics     []string
	Notices    int
	ApprovalID string // when it is about one request
	CreatedAt  time.Time
	DueAt      time.Time // when it is tried next, while it waits
	FinishedAt *time.Time
	Attempts   []Attempt // oldest first
}

// Attempt is one try to deliver.
type Attempt struct {
	At     time.Time `json:"at"`
	Status int       `json:"status"` // of HTTP; 0: there was no answer, or it was mail
	Error  string    `json:"error"`  // "": it was taken
	TookMS int       `json:"took_ms"`
}

// Deliveries lists the messages to a channel, newest first, a page at a time: after is the id of the last of the page
// before. It needs identity.ReadChannels. Problems: NotFound no_such_channel.
func (n *Notifier) Deliveries(ctx context.Context, who identity.Principal, channelID, after string, limit int) ([]Delivery, error) {
	if _, err := n.Channel(ctx, who, channelID); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > 200 {
		limit = 50
	}
	rows, _ := n.pool.Query(ctx, `
		select d.id, coalesce(nullif(d.again_of, ''), d.id) as message_id, d.about, d.state, d.collecting, cardinality(d.notice_ids) as notices,
		       array(select distinct t.topic from notices t where t.id = any (d.notice_ids) order by t.topic) as topics,
		       case when cardinality(d.notice_ids) = 1
		            then coalesce((select t.approval_id from notices t where t.id = d.notice_ids[1]), '') else '' end as approval_id,
		       d.created_at, d.due_at, d.finished_at,
		       coalesce((select jsonb_agg(jsonb_build_object('at', a.at, 'status', a.status, 'error', a.error, 'took_ms', a.took_ms) order by a.attempt)
		                 from delivery_attempts a where a.delivery_id = d.id), '[]') as attempts
		from deliveries d
		where d.channel_id = @channel
		  and (@after = '' or (d.created_at, d.id) < (select b.created_at, b.id from deliveries b where b.id = @after))
		order by d.created_at desc, d.id desc limit @limit`,
		pgx.StrictNamedArgs{"channel": channelID, "after": after, "limit": limit})
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Delivery])
	if err != nil {
		return nil, fmt.Errorf("listing deliveries of channel %q: %w", channelID, err)
	}
	return list, nil
}

// Redeliver delivers a message of a channel again, with its id, so that a receiver which has it can tell: one that
// waits is tried at once. It needs identity.ChangeChannel.
//
// Problems: NotFound no_such_channel, no_such_delivery; Conflict channel_closed for a channel that is paused or ended;
// Gone delivery_gone for one whose notices are gone.
func (n *Notifier) Redeliver(ctx context.Context, who identity.Principal, channelID, deliveryID string) error {
	if err := who.Can(identity.ChangeChannel, ""); err != nil {
		return err
	}
	err := postgres.InTx(ctx, n.pool, func(tx pgx.Tx) error {
		c, err := lockChannel(ctx, tx, channelID)
		if err != nil {
			return err
		}
		if c.Paused || c.Ended {
			return problem.New(problem.Conflict, "channel_closed", "The channel is paused or ended: nothing is delivered to it.")
		}
		if err := againTx(ctx, tx, who, channelID, deliveryID); err != nil {
			return err
		}
		return audit.Append(ctx, tx, channelEvent("delivery.repeated", who, channelID, c.Name, map[string]any{"delivery": deliveryID}))
	})
	if err != nil {
		return err
	}
	n.hub.Wake(ctx, Wake)
	return nil
}

func againTx(ctx context.Context, tx pgx.Tx, who identity.Principal, channelID, deliveryID string) error {
	var state, about string
	err := tx.QueryRow(ctx, `select state, about from deliveries where id = $1 and channel_id = $2 for update`, deliveryID, channelID).Scan(&state, &about)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return problem.New(problem.NotFound, "no_such_delivery", "There is no such delivery.")
	case err != nil:
		return fmt.Errorf("reading delivery %q: %w", deliveryID, err)
	case about != aboutNotices:
		return problem.New(problem.Conflict, "not_again", "A test or a heartbeat is not delivered again. Test the channel instead.")
	}
	query := `
		insert into deliveries (channel_id, about, notice_ids, again_of, created_by)
		select channel_id, about, notice_ids, coalesce(nullif(again_of, ''), id), $2 from deliveries where id = $1 and notice_ids <> '{}'`
	if state == "waiting" {
		query = `update deliveries set due_at = least(due_at, clock_timestamp()) where id = $1 and $2 <> ''`
	}
	tag, err := tx.Exec(ctx, query, deliveryID, who.ID)
	if err != nil {
		return fmt.Errorf("delivering %q again: %w", deliveryID, err)
	}
	if tag.RowsAffected() == 0 {
		return problem.New(problem.Gone, "delivery_gone", "Nothing of this message is left to tell.")
	}
	return nil
}

// Test sends a message to a channel right now, paused or not, and says what came of it. It is not tried again. It needs
// identity.TestChannel. Problems: NotFound no_such_channel; Conflict channel_closed for one that is ended.
func (n *Notifier) Test(ctx context.Context, who identity.Principal, id string) (Attempt, error) {
	if err := who.Can(identity.TestChannel, ""); err != nil {
		return Attempt{}, err
	}
	var d delivery
	err := postgres.InTx(ctx, n.pool, func(tx pgx.Tx) error {
		c, err := lockChannel(ctx, tx, id)
		if err != nil {
			return err
		}
		if c.Ended {
			return problem.New(problem.Conflict, "channel_closed", "The channel is ended: nothing is delivered to it.")
		}
		d, err = testTx(ctx, tx, who, id, c)
		return err
	})
	if err != nil {
		return Attempt{}, err
	}
	ctx = context.WithoutCancel(ctx) // who does not wait for the answer leaves a record of it nevertheless
	res := n.attempt(ctx, d)
	if err := n.record(ctx, d, res); err != nil {
		return Attempt{}, err
	}
	return Attempt{At: d.Now, Status: res.status, Error: res.reason(), TookMS: int(res.took.Milliseconds())}, nil
}

// testTx makes the delivery of a test, leased by us from the start.
func testTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, c locked) (delivery, error) {
	d := delivery{ChannelID: id, ChannelName: c.Name, Kind: c.Kind, Target: c.Target, Secrets: c.Secrets, About: aboutTest, Attempts: 1}
	err := tx.QueryRow(ctx, `
		insert into deliveries (channel_id, about, attempts, due_at, created_by)
		values ($1, 'test', 1, clock_timestamp() + $2::interval, $3)
		returning id, id, created_at, created_at`, id, leaseFor, who.ID).Scan(&d.ID, &d.MessageID, &d.CreatedAt, &d.Now)
	if err != nil {
		return delivery{}, fmt.Errorf("testing channel %s: %w", id, err)
	}
	return d, audit.Append(ctx, tx, channelEvent("channel.tested", who, id, c.Name, map[string]any{"delivery": d.ID}))
}
