package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// Pause stops a channel: what waits for it is cancelled, and what happens meanwhile is not told later. It needs
// identity.ChangeChannel. Problems: NotFound no_such_channel; Conflict channel_changed.
func (n *Notifier) Pause(ctx context.Context, who identity.Principal, id string, version int64) error {
	return n.changing(ctx, who, id, version, func(tx pgx.Tx, before locked) error {
		if before.Paused {
			return nil
		}
		return pauseTx(ctx, tx, who, id, before.Name, "")
	})
}

// pauseTx pauses a channel that the transaction has locked.
func pauseTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id, name, because string) error {
	_, err := tx.Exec(ctx, `
		update channels set paused_at = clock_timestamp(), paused_because = $2, version = version + 1, changed_at = clock_timestamp()
		where id = $1 and paused_at is null`, id, because)
	if err != nil {
		return fmt.Errorf("pausing channel %s: %w", id, err)
	}
	if err := cancelTx(ctx, tx, id); err != nil {
		return err
	}
	detail := map[string]any{}
	if because != "" {
		detail["reason"] = because
	}
	return audit.Append(ctx, tx, channelEvent("channel.paused", who, id, name, detail))
}

// cancelTx cancels what waits for a channel that the transaction has locked.
func cancelTx(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `
		update deliveries set state = 'cancelled', collecting = false, finished_at = clock_timestamp()
		where channel_id = $1 and state = 'waiting'`, id)
	if err != nil {
		return fmt.Errorf("cancelling what waits for channel %s: %w", id, err)
	}
	return nil
}

// Resume lets a paused channel be told again, from now on. It needs identity.ChangeChannel. Problems: NotFound
// no_such_channel; Conflict channel_changed.
func (n *Notifier) Resume(ctx context.Context, who identity.Principal, id string, version int64) error {
	return n.changing(ctx, who, id, version, func(tx pgx.Tx, before locked) error {
		if !before.Paused {
			return nil
		}
		_, err := tx.Exec(ctx, `
			update channels
			   set paused_at = null, paused_because = '', failures = 0, failing_since = null, last_error = '',
			       version = version + 1, changed_at = clock_timestamp()
			 where id = $1`, id)
		if err != nil {
			return fmt.Errorf("resuming channel %s: %w", id, err)
		}
		return audit.Append(ctx, tx, channelEvent("channel.resumed", who, id, before.Name, nil))
	})
}

// End ends a channel for good: what waits for it is cancelled, and its address and secrets are forgotten. It needs
// identity.ChangeChannel. Problems: NotFound no_such_channel; Conflict channel_changed.
func (n *Notifier) End(ctx context.Context, who identity.Principal, id string, version int64) error {
	return n.changing(ctx, who, id, version, func(tx pgx.Tx, before locked) error {
		_, err := tx.Exec(ctx, `
			update channels
			   set ended_at = clock_timestamp(), ended_by = $2, target = '', secrets = null, overlap_until = null,
			       version = version + 1, changed_at = clock_timestamp()
			 where id = $1`, id, who.ID)
		if err != nil {
			return fmt.Errorf("ending channel %s: %w", id, err)
		}
		if err := cancelTx(ctx, tx, id); err != nil {
			return err
		}
		return audit.Append(ctx, tx, channelEvent("channel.ended", who, id, before.Name, nil))
	})
}

// RotateSecret gives a webhook another signing secret, shown now and never again. For a day messages carry a signature
// with each, so that the receiver can follow. It needs identity.ChangeChannel.
//
// Problems: NotFound no_such_channel; Conflict channel_changed; Invalid no_secret for what is no webhook.
func (n *Notifier) RotateSecret(ctx context.Context, who identity.Principal, id string, version int64) (shownSecret string, err error) {
	err = n.changing(ctx, who, id, version, func(tx pgx.Tx, before locked) error {
		if before.Kind != Webhook {
			return problem.New(problem.Invalid, "no_secret", "Only a webhook has a signing secret. Nothing was changed.")
		}
		var now time.Time
		if err := tx.QueryRow(ctx, `select clock_timestamp()`).Scan(&now); err != nil {
			return fmt.Errorf("reading the database's clock: %w", err)
		}
		var secrets []secret
		if err := n.open(purposeSecrets, id, before.Secrets, &secrets); err != nil {
			return err
		}
		secrets = rotated(secrets, now)
		sealed, err := n.seal(purposeSecrets, id, secrets)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			update channels set secrets = $2, overlap_until = $3, version = version + 1, changed_at = clock_timestamp()
			where id = $1`, id, sealed, now.Add(overlap))
		if err != nil {
			return fmt.Errorf("rotating the secret of channel %s: %w", id, err)
		}
		shownSecret = secrets[0].Text
		return audit.Append(ctx, tx, channelEvent("channel.secret_rotated", who, id, before.Name, map[string]any{"overlap_until": now.Add(overlap)}))
	})
	return shownSecret, err
}
