//go:build unix

// Package pgtest gives each parallel test a private PostgreSQL database.
//
//	db := pgtest.New(t)   // migrated, empty, gone when the test ends
//	db.Runtime            // what the server would have
//	db.Owner              // for arranging what the runtime may not write
//
// One volatile server runs for each test process. It starts with the first New
// and needs no TestMain: it ends with the process, and a small janitor process
// then removes its files, even after SIGKILL. A database is copied from a
// template that was migrated once, which takes some 20 to 40 ms.
//
// With TEST_DATABASE_URL, the URL of a superuser, the databases are made on
// that server instead.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/postgres"
)

// DB is one test's database.
type DB struct {
	Owner   *pgxpool.Pool // as countersign_owner; two connections
	Runtime *pgxpool.Pool // as countersign_runtime, as the server connects

	OwnerDSN     string
	RuntimeDSN   string
	SuperuserDSN string
}

// New returns a private, migrated database. It is dropped when tb ends.
func New(tb testing.TB) *DB {
	tb.Helper()
	c := sharedCluster(tb)
	name := "countersign_test_" + strings.ToLower(rand.Text()[:12])
	c.admin(tb, "create database "+name+" template "+c.template+" owner "+postgres.OwnerRole)
	tb.Cleanup(func() { c.admin(tb, "drop database "+name+" with (force)") })
	db := &DB{
		OwnerDSN:     c.dsn(postgres.OwnerRole, name),
		RuntimeDSN:   c.dsn(postgres.RuntimeRole, name),
		SuperuserDSN: c.dsn(c.superuser, name),
	}
	db.Owner = open(tb, db.OwnerDSN, 2)
	db.Runtime = db.NewPool(tb)
	return db
}

// NewPool returns another pool of eight connections as countersign_runtime, as
// a second replica would have. It is closed when tb ends.
func (db *DB) NewPool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	return open(tb, db.RuntimeDSN, 8)
}

func open(tb testing.TB, dsn string, conns int) *pgxpool.Pool {
	tb.Helper()
	dsn = fmt.Sprintf("%s&pool_max_conns=%d", dsn, conns)
	pool, err := postgres.Open(tb.Context(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatalf("opening a pool on the test database: %v", err)
	}
	tb.Cleanup(func() { closePool(tb, pool) })
	return pool
}

// closePool fails a test that never gave a connection back, which would
// otherwise wait for it forever.
func closePool(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		tb.Errorf("%d connections were not given back to the pool: rows not closed, or a transaction left open",
			pool.Stat().AcquiredConns())
	}
}

// admin runs one statement as superuser, on a connection of its own: a pool's
// goroutines would outlive the test.
func (c *cluster) admin(tb testing.TB, sql string) {
	tb.Helper()
	if err := c.exec(context.WithoutCancel(tb.Context()), sql); err != nil {
		tb.Errorf("%s: %v", sql, err)
	}
}

func (c *cluster) exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.dsn(c.superuser, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx) // nothing is pending on it
	_, err = conn.Exec(ctx, sql)
	return err
}
