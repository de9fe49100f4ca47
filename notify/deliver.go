package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/internal/postgres"
)

// waits are the pauses before the second try and those after it: ten tries in three days.
var waits = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 18 * time.Hour, 22 * time.Hour,
}

const (
	aliveTries   = 2 // a late heartbeat is of no use
	failingAfter = 3 // attempts without success
	maxRetry     = 24 * time.Hour
	recordWithin = 10 * time.Second
)

// result is what came of one attempt.
type result struct {
	status int           // of HTTP; 0: there was no answer, or it is mail
	err    error         // nil: the receiver took it
	never  bool          // trying again is of no use
	gone   bool          // the receiver wants nothing any more
	after  time.Duration // how long the receiver asked us to wait
	took   time.Duration
}

// deliver makes one attempt and records it.
func (n *Notifier) deliver(ctx context.Context, d delivery) error {
	if d.About == aboutNotices && len(d.NoticeIDs) == 0 {
		return n.cancel(ctx, d)
	}
	res := n.attempt(ctx, d)
	ctx, cancel := context.WithTimeout(ctx, recordWithin)
	defer cancel()
	return n.record(ctx, d, res)
}

// attempt composes the message and sends it. It never fails otherwise than with a result.
func (n *Notifier) attempt(ctx context.Context, d delivery) result {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	started := time.Now()
	res := n.send(ctx, d)
	res.took = time.Since(started)
	return res
}

func (n *Notifier) send(ctx context.Context, d delivery) result {
	var t target
	var secrets []secret
	err := errors.Join(n.open(purposeTarget, d.ChannelID, d.Target, &t), n.open(purposeSecrets, d.ChannelID, d.Secrets, &secrets))
	if err != nil {
		return result{err: fmt.Errorf("reading the channel's address: %w", err)}
	}
	m, err := n.compose(ctx, d)
	if err != nil {
		return result{err: err}
	}
	switch d.Kind {
	case Webhook:
		return n.sendWebhook(ctx, t, secrets, d, m)
	case Slack:
		return n.sendSlack(ctx, t, m)
	case Email:
		return n.sendMail(ctx, t, d, m)
	}
	return result{err: fmt.Errorf("%q is no kind of channel", d.Kind), never: true}
}

// next says whether there is another attempt, and how long to wait for it.
func (d delivery) next(res result) (wait time.Duration, again bool) {
	switch {
	case res.never, res.gone, d.About == aboutTest, d.Attempts > len(waits), d.About == aboutAlive && d.Attempts >= aliveTries:
		return 0, false
	}
	wait = waits[d.Attempts-1]
	wait += rand.N(wait/5 + 1) //nolint:gosec // spreads load, hides nothing
	return max(wait, min(res.after, maxRetry)), true
}

// record writes what came of an attempt: in the log, to the delivery and to its channel. When the delivery is finished
// already, since its channel was paused meanwhile, only the log is written.
func (n *Notifier) record(ctx context.Context, d delivery, res result) error {
	return postgres.InTx(ctx, n.pool, func(tx pgx.Tx) error {
		c, err := lockChannel(ctx, tx, d.ChannelID)
		if err != nil {
			return err
		}
		if err := logTx(ctx, tx, d, res); err != nil {
			return err
		}
		if err := finishTx(ctx, tx, d, res); err != nil {
			return err
		}
		if c.Ended {
			return nil
		}
		if err := markTx(ctx, tx, d, res); err != nil || !res.gone || c.Paused {
			return err
		}
		return pauseTx(ctx, tx, system, d.ChannelID, c.Name, "The receiver answered 410: it wants nothing any more.")
	})
}

func logTx(ctx context.Context, tx pgx.Tx, d delivery, res result) error {
	_, err := tx.Exec(ctx, `
		insert into delivery_attempts (delivery_id, attempt, status, error, took_ms) values (@id, @attempt, @status, @error, @took)
		on conflict on constraint delivery_attempts_once do nothing`,
		pgx.StrictNamedArgs{
			"id": d.ID, "attempt": d.Attempts, "status": res.status, "error": res.reason(), "took": res.took.Milliseconds(),
		})
	if err != nil {
		return fmt.Errorf("logging an attempt of %s: %w", d.ID, err)
	}
	return nil
}

func finishTx(ctx context.Context, tx pgx.Tx, d delivery, res result) error {
	state, wait := "delivered", time.Duration(0)
	if res.err != nil {
		state = "failed"
		if pause, again := d.next(res); again {
			state, wait = "waiting", pause
		}
	}
	_, err := tx.Exec(ctx, `
		update deliveries
		   set state = @state, due_at = clock_timestamp() + @wait, finished_at = case when @state = 'waiting' then null else clock_timestamp() end
		 where id = @id and state = 'waiting' and attempts = @attempt`,
		pgx.StrictNamedArgs{"id": d.ID, "attempt": d.Attempts, "state": state, "wait": wait})
	if err != nil {
		return fmt.Errorf("recording delivery %s: %w", d.ID, err)
	}
	return nil
}

// markTx keeps how the channel is, and audits when it begins to fail and when it works again.
func markTx(ctx context.Context, tx pgx.Tx, d delivery, res result) error {
	if res.err == nil {
		var failed bool
		err := tx.QueryRow(ctx, `
			with before as (select failing_since is not null as failed from channels where id = $1)
			update channels set delivered_at = clock_timestamp(), failures = 0, failing_since = null, last_error = '' where id = $1
			returning (select failed from before)`, d.ChannelID).Scan(&failed)
		if err != nil {
			return fmt.Errorf("noting that channel %s works: %w", d.ChannelID, err)
		}
		if !failed {
			return nil
		}
		return audit.Append(ctx, tx, channelEvent("channel.recovered", system, d.ChannelID, d.ChannelName, nil))
	}
	var failures int
	err := tx.QueryRow(ctx, `
		update channels
		   set failures = failures + 1, last_error = @error,
		       failing_since = case when failures + 1 >= @after then coalesce(failing_since, clock_timestamp()) end
		 where id = @id returning failures`,
		pgx.StrictNamedArgs{"id": d.ChannelID, "error": res.reason(), "after": failingAfter}).Scan(&failures)
	if err != nil {
		return fmt.Errorf("noting that channel %s fails: %w", d.ChannelID, err)
	}
	if failures != failingAfter {
		return nil
	}
	detail := map[string]any{"reason": res.reason(), "delivery": d.ID}
	return audit.Append(ctx, tx, channelEvent("channel.failing", system, d.ChannelID, d.ChannelName, detail))
}

// cancel ends a digest that has nothing left to say.
func (n *Notifier) cancel(ctx context.Context, d delivery) error {
	_, err := n.pool.Exec(ctx, `
		update deliveries set state = 'cancelled', attempts = attempts - 1, finished_at = clock_timestamp()
		where id = $1 and state = 'waiting' and attempts = $2`, d.ID, d.Attempts)
	if err != nil {
		return fmt.Errorf("cancelling delivery %s: %w", d.ID, err)
	}
	return nil
}

// accepted reports whether an answer of HTTP means that the receiver took the message.
func accepted(status int) bool { return status >= http.StatusOK && status < http.StatusMultipleChoices }
