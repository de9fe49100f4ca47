package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// How often a follower asks for the lock, and a leader proves that it has it.
const (
	campaignInterval = time.Second
	leaderProbe      = 2 * time.Second
)

var errLockTaken = errors.New("another process leads")

// RunAsLeader runs fn in exactly one of the processes that call it with the same
// lockID on the same database.
//
//	follower ── lock free ──▶ leader: fn(ctx) ── fn returns nil ──▶ RunAsLeader returns
//	    ▲                        │
//	    └── connection lost (fn's ctx is cancelled), or fn returns an error
//
// Leadership is an advisory lock held by a dedicated session, so PostgreSQL
// takes it away the moment the leader's process or connection dies. The leader
// notices a closed connection at once and a silent network within seconds, and
// for that long two may believe they lead: what fn writes must be safe against
// it, by a guard in the database. fn must return soon after its ctx ends.
//
// RunAsLeader returns nil when ctx ends or fn returns nil.
func RunAsLeader(ctx context.Context, pool *pgxpool.Pool, lockID int64, log *slog.Logger, fn func(ctx context.Context) error) error {
	for {
		err := leadOnce(ctx, pool, lockID, log, fn)
		switch {
		case err == nil, ctx.Err() != nil:
			return nil //nolint:nilerr // an end that was asked for is no error
		case !errors.Is(err, errLockTaken):
			log.Warn("leadership interrupted", slog.Int64("lock", lockID), slog.Any("error", err))
		}
		jitter := rand.N(campaignInterval / 4) //nolint:gosec // spreads load, hides nothing
		if !sleep(ctx, campaignInterval+jitter) {
			return nil
		}
	}
}

func leadOnce(ctx context.Context, pool *pgxpool.Pool, lockID int64, log *slog.Logger, fn func(context.Context) error) error {
	conn, err := connectDedicated(ctx, pool, "countersign leader", log)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	for {
		err := tryLock(ctx, conn, lockID)
		if err == nil {
			break
		}
		if !errors.Is(err, errLockTaken) {
			return err
		}
		if !sleep(ctx, campaignInterval) {
			return ctx.Err()
		}
	}
	log.Info("leading", slog.Int64("lock", lockID))
	return lead(ctx, conn, fn)
}

// tryLock asks without waiting: a session that waits for an advisory lock holds
// a snapshot, which would keep vacuum from cleaning up.
func tryLock(ctx context.Context, conn *pgx.Conn, lockID int64) error {
	var locked bool
	if err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1)`, lockID).Scan(&locked); err != nil {
		return fmt.Errorf("asking for leadership: %w", err)
	}
	if !locked {
		return errLockTaken
	}
	return nil
}

// lead runs fn beside a watch of the connection; the end of one ends the other.
func lead(ctx context.Context, conn *pgx.Conn, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		err := attend(ctx, conn, leaderProbe, func(*pgconn.Notification) {})
		cancel(fmt.Errorf("losing the leader's connection: %w", err))
	}()
	err := fn(ctx)
	lost := context.Cause(ctx)
	cancel(nil)
	<-watched
	if err != nil && lost != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return lost
	}
	return err
}
