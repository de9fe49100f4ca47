package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// probeTimeout bounds the answer to a ping on a dedicated connection. A silent
// network cut is therefore noticed within one probe interval and this.
const probeTimeout = 3 * time.Second

// connectDedicated opens a connection of its own to the pool's database, for
// work that must not take a place in the pool: listening, and holding a lock.
func connectDedicated(ctx context.Context, pool *pgxpool.Pool, name string, log *slog.Logger) (*pgx.Conn, error) {
	cfg := pool.Config().ConnConfig
	prepareConn(cfg, log)
	cfg.RuntimeParams["application_name"] = name
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting %s: %w", name, err)
	}
	return conn, nil
}

// attend watches conn until ctx ends or the connection is lost, and returns the
// reason. It hands over each notification; a connection that the server closes
// is noticed at once, a dead network at the next probe.
func attend(ctx context.Context, conn *pgx.Conn, probe time.Duration, notified func(*pgconn.Notification)) error {
	for {
		wait, cancel := context.WithTimeout(ctx, probe)
		n, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil:
			notified(n)
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		default:
			if err := ping(ctx, conn); err != nil {
				return err
			}
		}
	}
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return conn.Ping(ctx)
}

// hangUp closes conn, also after ctx ended, without waiting long for a server
// that may be gone.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
