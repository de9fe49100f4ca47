package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/desired"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Setup is what a person says about a channel.
type Setup struct {
	Name          string
	Kind          Kind // never changes
	TeamID        string
	Topics        []string
	Address       string // of a webhook or a chat, or addresses of mail; "" in a change: it stays
	DigestSeconds int
}

const maxDigest = 86400

// Create makes a channel. The secret with which a webhook's receiver verifies messages is shown now and never again;
// other kinds have none. It needs identity.ChangeChannel.
//
// Problems: Invalid invalid_channel.
func (n *Notifier) Create(ctx context.Context, who identity.Principal, s Setup) (id, shownSecret string, err error) {
	if err := who.Can(identity.ChangeChannel, ""); err != nil {
		return "", "", err
	}
	t, err := n.clean(&s, true)
	if err != nil {
		return "", "", err
	}
	err = postgres.InTx(ctx, n.pool, func(tx pgx.Tx) (err error) {
		id, shownSecret, err = n.createTx(ctx, tx, who, s, t)
		return err
	})
	return id, shownSecret, err
}

func (n *Notifier) createTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s Setup, t target) (id, shownSecret string, err error) {
	if err := tx.QueryRow(ctx, `select new_id('chn')`).Scan(&id); err != nil {
		return "", "", fmt.Errorf("making an id for a channel: %w", err)
	}
	sealedTarget, err := n.seal(purposeTarget, id, t)
	if err != nil {
		return "", "", err
	}
	var sealedSecrets []byte
	if s.Kind == Webhook {
		first := newSecret()
		shownSecret = first.Text
		if sealedSecrets, err = n.seal(purposeSecrets, id, []secret{first}); err != nil {
			return "", "", err
		}
	}
	_, err = tx.Exec(ctx, `
		insert into channels (id, name, kind, team_id, topics, target, shown, secrets, digest_seconds, created_by)
		values (@id, @name, @kind, nullif(@team, ''), @topics, @target, @shown, @secrets, @digest, @by)`,
		pgx.StrictNamedArgs{
			"id": id, "name": s.Name, "kind": s.Kind, "team": s.TeamID, "topics": s.Topics, "target": sealedTarget,
			"shown": t.shown(), "secrets": sealedSecrets, "digest": s.DigestSeconds, "by": who.ID,
		})
	if err != nil {
		return "", "", refusedSetup(err, "creating channel %q: %w", s.Name)
	}
	return id, shownSecret, audit.Append(ctx, tx, channelEvent("channel.created", who, id, s.Name, s.facts(t)))
}

// Change makes a channel what s says; its kind stays, and so does its address when s has none. It needs
// identity.ChangeChannel. version is the one that the person saw.
//
// Problems: NotFound no_such_channel; Conflict channel_changed; Invalid invalid_channel.
func (n *Notifier) Change(ctx context.Context, who identity.Principal, id string, version int64, s Setup) error {
	return n.changing(ctx, who, id, version, func(tx pgx.Tx, before locked) error {
		s.Kind = before.Kind
		t, err := n.clean(&s, false)
		if err != nil {
			return err
		}
		if s.Address == "" {
			if err := n.open(purposeTarget, id, before.Target, &t); err != nil {
				return err
			}
		}
		sealed, err := n.seal(purposeTarget, id, t)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			update channels
			   set name = @name, team_id = nullif(@team, ''), topics = @topics, target = @target, shown = @shown, digest_seconds = @digest,
			       version = version + 1, changed_at = clock_timestamp()
			 where id = @id`,
			pgx.StrictNamedArgs{
				"id": id, "name": s.Name, "team": s.TeamID, "topics": s.Topics, "target": sealed, "shown": t.shown(), "digest": s.DigestSeconds,
			})
		if err != nil {
			return refusedSetup(err, "changing channel %q: %w", id)
		}
		detail := s.facts(t)
		detail["address_changed"] = s.Address != ""
		detail["before"] = map[string]any{
			"name": before.Name, "address": before.Shown, "topics": before.Topics, "team_id": before.TeamID, "digest_seconds": before.DigestSeconds,
		}
		return audit.Append(ctx, tx, channelEvent("channel.changed", who, id, s.Name, detail))
	})
}

// locked is a channel that a transaction has locked.
type locked struct {
	Name          string
	Kind          Kind
	TeamID        string
	Topics        []string
	Target        []byte
	Shown         string
	Secrets       []byte
	DigestSeconds int
	Version       int64
	Paused        bool
	Ended         bool
}

func lockChannel(ctx context.Context, tx pgx.Tx, id string) (locked, error) {
	rows, _ := tx.Query(ctx, `
		select name, kind, coalesce(team_id, '') as team_id, topics, target, shown, secrets, digest_seconds, version,
		       paused_at is not null as paused, ended_at is not null as ended
		from channels where id = $1 for update`, id)
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[locked])
	if errors.Is(err, pgx.ErrNoRows) {
		return locked{}, noSuchChannel()
	}
	if err != nil {
		return locked{}, fmt.Errorf("locking channel %q: %w", id, err)
	}
	return c, nil
}

// changing runs fn in a transaction that holds the channel, which is of that version and not ended.
func (n *Notifier) changing(ctx context.Context, who identity.Principal, id string, version int64, fn func(tx pgx.Tx, before locked) error) error {
	if err := who.Can(identity.ChangeChannel, ""); err != nil {
		return err
	}
	return postgres.InTx(ctx, n.pool, func(tx pgx.Tx) error {
		before, err := lockChannel(ctx, tx, id)
		if err != nil {
			return err
		}
		if before.Version != version || before.Ended {
			return problem.New(problem.Conflict, "channel_changed", "Somebody changed or ended this channel while you looked at it. Nothing was changed by you.")
		}
		return fn(tx, before)
	})
}

func channelEvent(kind string, who identity.Principal, id, name string, detail map[string]any) audit.Event {
	return audit.Event{Kind: kind, Who: who, TargetKind: "channel", TargetID: id, TargetName: name, Detail: detail}
}

// facts are s for the audit log.
func (s Setup) facts(t target) map[string]any {
	return map[string]any{
		"kind": s.Kind, "address": t.shown(), "topics": s.Topics, "team_id": s.TeamID, "digest_seconds": s.DigestSeconds,
	}
}

// clean trims s and says everything that is wrong with it.
func (n *Notifier) clean(s *Setup, fresh bool) (target, error) {
	invalid := problem.New(problem.Invalid, "invalid_channel", "The channel cannot be kept as it was typed. Nothing was changed.")
	s.Name, s.Address = strings.TrimSpace(s.Name), strings.TrimSpace(s.Address)
	if s.Name == "" || utf8.RuneCountInString(s.Name) > 100 || desired.Visible(s.Name) != s.Name {
		invalid.Field("name", "Give it a name of 1 to 100 characters.")
	}
	switch {
	case !slices.Contains([]Kind{Webhook, Slack, Email}, s.Kind):
		invalid.Field("kind", "Choose a webhook, a chat or mail.")
	case s.Kind == Email && n.cfg.Mail == nil:
		invalid.Field("kind", "This control plane sends no mail: an operator has to set COUNTERSIGN_SMTP_URL and COUNTERSIGN_MAIL_FROM.")
	}
	var t target
	if fresh || s.Address != "" {
		var complaint string
		if t, complaint = readTarget(s.Kind, s.Address, n.cfg.Guard); complaint != "" {
			invalid.Field("address", complaint)
		}
	}
	list, ok := chosen(s.Topics)
	if s.Topics = list; !ok {
		invalid.Field("topics", "Choose what it is told, among the topics listed.")
	}
	if s.DigestSeconds < 0 || s.DigestSeconds > maxDigest {
		invalid.Field("digest", "A digest is sent after at most a day.")
	}
	if len(invalid.Fields) > 0 {
		return target{}, invalid
	}
	return t, nil
}

// refusedSetup tells what the database refused, where it is for a person.
func refusedSetup(err error, format, what string) error {
	invalid := problem.New(problem.Invalid, "invalid_channel", "The channel cannot be kept as it was typed. Nothing was changed.")
	switch postgres.Constraint(err) {
	case "channels_name":
		return invalid.Field("name", "There is another channel of this name.")
	case "channels_team_id_fkey":
		return invalid.Field("team", "There is no such team.")
	}
	return fmt.Errorf(format, what, err)
}
