package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Kind is how a channel is told.
type Kind string

// The kinds of channel.
const (
	Webhook Kind = "webhook" // a program: signed JSON
	Slack   Kind = "slack"   // a chat with incoming webhooks that understand those of Slack
	Email   Kind = "email"
)

// State is how a channel is.
type State string

// The states of a channel.
const (
	Active  State = "active"
	Failing State = "failing" // the last attempts failed; it is still tried
	Paused  State = "paused"  // nothing is told, and nothing later of what happens meanwhile
	Ended   State = "ended"
)

// Channel is where people or programs are told, without what is secret about it.
type Channel struct {
	ID            string
	Name          string
	Kind          Kind
	TeamID        string // only what this team is asked; "": everything
	TeamName      string
	Topics        []string
	Shown         string // what may be shown of the address
	DigestSeconds int    // 0: each notice at once
	Version       int64
	CreatedByName string
	CreatedAt     time.Time
	PausedAt      *time.Time
	PausedBecause string
	FailingSince  *time.Time
	DeliveredAt   *time.Time
	LastError     string
	OverlapUntil  *time.Time // the secret before the present one signs as well until then
	EndedAt       *time.Time
	Waiting       int // deliveries that are not finished
}

// State is how the channel is.
func (c Channel) State() State {
	switch {
	case c.EndedAt != nil:
		return Ended
	case c.PausedAt != nil:
		return Paused
	case c.FailingSince != nil:
		return Failing
	}
	return Active
}

const channelColumns = `
	c.id, c.name, c.kind, coalesce(c.team_id, '') as team_id, coalesce(m.name, '') as team_name, c.topics, c.shown, c.digest_seconds,
	c.version, coalesce(p.name, c.created_by) as created_by_name, c.created_at, c.paused_at, c.paused_because, c.failing_since,
	c.delivered_at, c.last_error, case when c.overlap_until > clock_timestamp() then c.overlap_until end as overlap_until, c.ended_at,
	(select count(*)::int from deliveries d where d.channel_id = c.id and d.state = 'waiting') as waiting`

const channelTables = `
	from channels c
	left join teams m on m.id = c.team_id
	left join people p on p.id = c.created_by`

// Channels lists the channels that are not ended, by name. It needs identity.ReadChannels.
func (n *Notifier) Channels(ctx context.Context, who identity.Principal) ([]Channel, error) {
	if err := who.Can(identity.ReadChannels, ""); err != nil {
		return nil, err
	}
	rows, _ := n.pool.Query(ctx, `select `+channelColumns+channelTables+` where c.ended_at is null order by lower(c.name), c.id limit 1000`)
	channels, err := pgx.CollectRows(rows, pgx.RowToStructByName[Channel])
	if err != nil {
		return nil, fmt.Errorf("listing channels: %w", err)
	}
	return channels, nil
}

// Channel reads a channel, ended or not. It needs identity.ReadChannels. Problems: NotFound no_such_channel.
func (n *Notifier) Channel(ctx context.Context, who identity.Principal, id string) (Channel, error) {
	if err := who.Can(identity.ReadChannels, ""); err != nil {
		return Channel{}, err
	}
	rows, _ := n.pool.Query(ctx, `select `+channelColumns+channelTables+` where c.id = $1`, id)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Channel])
	if errors.Is(err, pgx.ErrNoRows) {
		return Channel{}, noSuchChannel()
	}
	if err != nil {
		return Channel{}, fmt.Errorf("reading channel %q: %w", id, err)
	}
	return c, nil
}

func noSuchChannel() error {
	return problem.New(problem.NotFound, "no_such_channel", "There is no such channel.")
}
