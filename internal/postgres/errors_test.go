package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

func TestConstraintNamesWhatWasViolated(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mustExec(t, db, `create table shelf (name text constraint shelf_name unique, size int not null constraint shelf_size check (size > 0))`)
	mustExec(t, db, `insert into shelf values ('a', 1)`)
	for sql, want := range map[string]string{
		`insert into shelf values ('a', 1)`: "shelf_name",
		`insert into shelf values ('b', 0)`: "shelf_size",
		`insert into shelf values ('b')`:    "", // not null has no name
		`select 1 / 0`:                      "",
	} {
		_, err := db.Owner.Exec(t.Context(), sql)
		if got := postgres.Constraint(fmt.Errorf("wrapped: %w", err)); err == nil || got != want {
			t.Errorf("%s: error %v violates %q, want %q", sql, err, got, want)
		}
	}
	if got := postgres.Constraint(nil); got != "" {
		t.Errorf("no error violates %q", got)
	}
}

func TestInTx(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mustExec(t, db, `create table shelf (name text)`)
	refused := errors.New("refused")
	for _, outcome := range []error{nil, refused} {
		err := postgres.InTx(t.Context(), db.Owner, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `insert into shelf values ('a')`); err != nil {
				return err
			}
			return outcome
		})
		if !errors.Is(err, outcome) {
			t.Errorf("got %v, want %v", err, outcome)
		}
	}
	if got := count(t, db, `select count(*) from shelf`); got != 1 {
		t.Errorf("%d rows after a commit and a rollback, want 1", got)
	}
}

func TestIsSerialization(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mustExec(t, db, `create table counter as select 0 as n`)
	strict := pgx.TxOptions{IsoLevel: pgx.RepeatableRead}
	tx, err := db.Owner.BeginTx(t.Context(), strict)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) // it is the loser
	if _, err := tx.Exec(t.Context(), `select n from counter`); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `update counter set n = n + 1`)
	if _, err = tx.Exec(t.Context(), `update counter set n = n + 1`); !postgres.IsSerialization(err) {
		t.Errorf("losing a race is not a serialization error: %v", err)
	}
}

func TestIsUnavailable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, refused := pgx.Connect(t.Context(), "postgres://u@127.0.0.1:1/d?sslmode=disable")
	_, noSocket := pgx.Connect(t.Context(), "postgres://u@/d?host="+filepath.Join(t.TempDir(), "none"))
	_, noDatabase := pgx.Connect(t.Context(), pgxIn(t, db.RuntimeDSN, "absent"))
	_, badSyntax := db.Runtime.Exec(t.Context(), `select from from`)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, callerLeft := db.Runtime.Exec(cancelled, `select 1`)
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"connection refused":  {refused, true},
		"no socket":           {noSocket, true},
		"terminated":          {terminated(t, db), true},
		"used after the end":  {afterTheEnd(t, db), true},
		"end of stream":       {fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), true},
		"no such database":    {noDatabase, false},
		"syntax error":        {badSyntax, false},
		"the caller gave up":  {callerLeft, false},
		"something unrelated": {errors.New("no"), false},
		"no error":            {nil, false},
	} {
		if got := postgres.IsUnavailable(test.err); got != test.want {
			t.Errorf("%s: got %v, want %v (%v)", name, got, test.want, test.err)
		}
	}
}

// terminated returns what a statement in flight sees when an administrator
// ends its session.
func terminated(t *testing.T, db *pgtest.DB) error {
	t.Helper()
	conn, err := db.Runtime.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	pid := conn.Conn().PgConn().PID()
	time.AfterFunc(100*time.Millisecond, func() {
		_, _ = db.NewPool(t).Exec(t.Context(), `select pg_terminate_backend($1)`, pid)
	})
	_, err = conn.Exec(t.Context(), `select pg_sleep(10)`)
	return err
}

func afterTheEnd(t *testing.T, db *pgtest.DB) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.RuntimeDSN)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), `select 1`)
	return err
}

func mustExec(t *testing.T, db *pgtest.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Owner.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func count(t *testing.T, db *pgtest.DB, sql string, args ...any) (n int) {
	t.Helper()
	if err := db.Owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// pgxIn returns dsn with another database.
func pgxIn(t *testing.T, dsn, name string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d", cfg.User, name, cfg.Host, cfg.Port)
}
