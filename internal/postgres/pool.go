// Package postgres is the ground the control plane stands on: how it reaches
// PostgreSQL, how the schema gets there, how processes wake and outvote each
// other through it, and the embedded server of `countersign up`.
//
//	Open            a pool whose sessions speak UTC and time out
//	AssertDurable   refuses a database that may forget what it acknowledged
//	AssertLesser    refuses a role that may rewrite the audit log
//	Migrate         brings the schema forward; each migration commits with its number
//	CheckSchema     refuses a schema this binary was not built for
//	Hub             LISTEN/NOTIFY as a hint: it wakes, it never carries the truth
//	RunAsLeader     one of several replicas does the work
//	Start           a private PostgreSQL as a child of this process
//
// Two database roles exist. countersign_owner owns the schema and only runs
// migrations; countersign_runtime is what the server connects as, and cannot
// change the audit log.
package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The database roles of an installation.
const (
	OwnerRole   = "countersign_owner"
	RuntimeRole = "countersign_runtime"
)

// openPatience is how long Open waits for a database that is still starting.
const openPatience = 10 * time.Second

// sessionDefaults hold for each session unless the DSN says otherwise.
var sessionDefaults = map[string]string{
	"application_name":                    "countersign",
	"timezone":                            "UTC",
	"statement_timeout":                   "30s",
	"lock_timeout":                        "10s",
	"idle_in_transaction_session_timeout": "60s",
	"jit":                                 "off", // our statements are short: compiling them costs more than running them
}

// Open connects a pool to dsn and waits a few seconds for a database that is
// still starting. Session parameters and pool sizes (pool_max_conns, …) in the
// DSN win over the defaults. Timestamps arrive in UTC.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*pgxpool.Pool, error) {
	return OpenTraced(ctx, dsn, log, nil)
}

// OpenTraced is Open with somebody who is told of every query.
func OpenTraced(ctx context.Context, dsn string, log *slog.Logger, tracer pgx.QueryTracer) (*pgxpool.Pool, error) {
	cfg, err := poolConfig(dsn, log)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the connection pool: %w", err)
	}
	if err := awaitDatabase(ctx, pool, log); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	return pool, nil
}

func poolConfig(dsn string, log *slog.Logger) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		cfg.MaxConns = 16
	}
	if !strings.Contains(dsn, "pool_max_conn_lifetime_jitter") {
		cfg.MaxConnLifetimeJitter = 5 * time.Minute
	}
	prepareConn(cfg.ConnConfig, log)
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name:  "timestamptz",
			OID:   pgtype.TimestamptzOID,
			Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	return cfg, nil
}

func prepareConn(cfg *pgx.ConnConfig, log *slog.Logger) {
	for name, value := range sessionDefaults {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		log.Debug("notice from PostgreSQL", slog.String("severity", n.Severity), slog.String("notice", n.Message))
	}
}

// awaitDatabase pings until the database answers, an error tells that waiting
// is of no use, or patience ends.
func awaitDatabase(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		err := pool.Ping(ctx)
		if err == nil || !IsUnavailable(err) {
			return err
		}
		log.Info("waiting for PostgreSQL", slog.Any("error", err))
		if !sleep(ctx, delay) {
			return err
		}
	}
}

// InTx runs fn in a transaction that is committed when fn returns nil and
// rolled back otherwise. fn's error comes back as it is.
func InTx(ctx context.Context, pool *pgxpool.Pool, fn func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, fn)
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
