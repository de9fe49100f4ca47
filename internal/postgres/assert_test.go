package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

func TestAssertLesser(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	super, err := postgres.Open(t.Context(), db.SuperuserDSN, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(super.Close)
	accept := func(pool *pgxpool.Pool, why string) {
		t.Helper()
		if err := postgres.AssertLesser(t.Context(), pool); err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
	refuse := func(pool *pgxpool.Pool, why string) {
		t.Helper()
		if err := postgres.AssertLesser(t.Context(), pool); err == nil {
			t.Errorf("%s: accepted", why)
		}
	}
	accept(db.Runtime, "the runtime role")
	refuse(db.Owner, "the owner")
	refuse(super, "a superuser")
	for _, privilege := range []string{"update", "delete", "truncate", "update (detail)"} {
		mustExec(t, db, `grant `+privilege+` on audit_events to countersign_runtime`)
		refuse(db.Runtime, "a role that may "+privilege)
		mustExec(t, db, `revoke `+privilege+` on audit_events from countersign_runtime`)
		accept(db.Runtime, "a role that may no longer "+privilege)
	}
	mustExec(t, db, `alter table audit_events rename to elsewhere`)
	refuse(db.Runtime, "no audit log")
}

func TestAssertDurable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	err := postgres.AssertDurable(t.Context(), db.Runtime)
	if err == nil || !strings.Contains(err.Error(), "fsync is off") || !strings.Contains(err.Error(), "full_page_writes is off") {
		t.Errorf("a volatile server: got %v, want both settings named", err)
	}
	s := pgtest.NewServer(t, true)
	for suffix, want := range map[string]bool{
		"":                                 true,
		"&synchronous_commit=remote_apply": true,
		"&synchronous_commit=off":          false,
		"&synchronous_commit=local":        false,
	} {
		pool, err := postgres.Open(t.Context(), s.RuntimeDSN+suffix, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if err := postgres.AssertDurable(t.Context(), pool); (err == nil) != want {
			t.Errorf("durable server with %q: got %v, want acceptance %v", suffix, err, want)
		}
		pool.Close()
	}
}

func TestOpenSessionsSpeakUTCAndTimeOut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for setting, want := range map[string]string{
		"timezone": "UTC", "application_name": "countersign", "statement_timeout": "30s",
		"lock_timeout": "10s", "synchronous_commit": "on",
	} {
		var got string
		if err := db.Runtime.QueryRow(t.Context(), `select current_setting($1)`, setting).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
	var now time.Time
	if err := db.Runtime.QueryRow(t.Context(), `select clock_timestamp()`).Scan(&now); err != nil {
		t.Fatal(err)
	}
	if now.Location() != time.UTC {
		t.Errorf("a timestamp arrives in %v", now.Location())
	}
	pool, err := postgres.Open(t.Context(), db.RuntimeDSN+"&statement_timeout=7s&pool_max_conns=3", quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var got string
	if err := pool.QueryRow(t.Context(), `show statement_timeout`).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != "7s" || pool.Config().MaxConns != 3 {
		t.Errorf("the DSN does not win: timeout %s, %d connections", got, pool.Config().MaxConns)
	}
}

func TestOpenReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, dsn := range []string{"postgres://%zz", pgxIn(t, db.RuntimeDSN, "absent")} {
		if _, err := postgres.Open(t.Context(), dsn, quiet()); err == nil {
			t.Errorf("%s: opened", dsn)
		}
	}
}
