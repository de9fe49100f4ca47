package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

// listening counts the connections of hubs to this database.
const listening = `select count(*) from pg_stat_activity
	where datname = current_database() and application_name = 'countersign listen' and query like 'listen%'`

// runHub runs a hub on pool until the test ends. Its tick is too slow to help.
func runHub(t *testing.T, pool *pgxpool.Pool) *postgres.Hub {
	t.Helper()
	hub := postgres.NewHub(pool, quiet())
	hub.SetTick(time.Hour)
	runInBackground(t, hub.Run)
	return hub
}

// runInBackground ends run with the test and waits for it.
func runInBackground(t *testing.T, run func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func awaitListeners(t *testing.T, db *pgtest.DB, n int) {
	t.Helper()
	conn := superuser(t, db)
	eventually(t, 30*time.Second, "the hubs to listen", func() bool {
		var got int
		if err := conn.QueryRow(t.Context(), listening).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got == n
	})
}

func wantWake(t *testing.T, wake <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-wake:
	case <-time.After(30 * time.Second):
		t.Fatalf("not woken by %s", why)
	}
}

func wantSilence(t *testing.T, wake <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-wake:
		t.Fatalf("woken by %s", why)
	case <-time.After(200 * time.Millisecond):
	}
}

// settle takes the wake-ups of connecting.
func settle(wake <-chan struct{}) {
	for {
		select {
		case <-wake:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

func TestHubWakesThisProcessAndOthers(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	here, there := runHub(t, db.Runtime), runHub(t, db.NewPool(t))
	awaitListeners(t, db, 2)
	local, stopLocal := here.Subscribe("policy")
	defer stopLocal()
	remote, stopRemote := there.Subscribe("policy")
	defer stopRemote()
	other, stopOther := there.Subscribe("approvals")
	defer stopOther()
	settle(local)
	settle(remote)
	settle(other)

	here.Wake(t.Context(), "policy")
	wantWake(t, local, "its own process")
	wantWake(t, remote, "the other process")
	wantSilence(t, other, "somebody else's topic")

	mustExec(t, db, `select pg_notify('countersign', 'approvals')`)
	wantWake(t, other, "a notification from SQL")
}

func TestHubCoalesces(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	hub := postgres.NewHub(db.Runtime, quiet())
	wake, stop := hub.Subscribe("policy")
	for range 1000 {
		hub.Wake(t.Context(), "policy")
	}
	wantWake(t, wake, "a thousand calls")
	wantSilence(t, wake, "a call that was coalesced")
	stop()
	stop() // ending twice is harmless
	hub.Wake(t.Context(), "policy")
	wantSilence(t, wake, "a call after the subscription ended")
}

func TestHubWorksWithoutADatabase(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://u@127.0.0.1:1/d?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	hub := runHub(t, pool)
	wake, stop := hub.Subscribe("policy")
	defer stop()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	started := time.Now()
	hub.Wake(cancelled, "policy")
	if took := time.Since(started); took > time.Second {
		t.Errorf("waking took %v while the database is away", took)
	}
	wantWake(t, wake, "its own process")
}

func TestHubTicksWhenNotificationsAreLost(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	hub := postgres.NewHub(db.Runtime, quiet())
	hub.SetTick(50 * time.Millisecond)
	wake, stop := hub.Subscribe("policy")
	defer stop()
	runInBackground(t, hub.Run)
	for range 5 {
		wantWake(t, wake, "the tick")
	}
}

func TestHubReconnects(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	hub := runHub(t, db.Runtime)
	awaitListeners(t, db, 1)
	wake, stop := hub.Subscribe("policy")
	defer stop()
	settle(wake)
	cutListeners(t, db)
	wantWake(t, wake, "the reconnect: a notification may have been lost")
	awaitListeners(t, db, 1)
	settle(wake)
	mustExec(t, db, `select pg_notify('countersign', 'policy')`)
	wantWake(t, wake, "a notification after the reconnect")
}

func cutListeners(t *testing.T, db *pgtest.DB) {
	t.Helper()
	_, err := superuser(t, db).Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and application_name = 'countersign listen'`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestHubSendsWhatWasWokenBeforeItsEnd(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	there := runHub(t, db.NewPool(t))
	awaitListeners(t, db, 1)
	wake, stop := there.Subscribe("policy")
	defer stop()
	settle(wake)
	here := postgres.NewHub(db.Runtime, quiet())
	here.Wake(t.Context(), "policy")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	here.Run(ended)
	wantWake(t, wake, "a process on its way out")
}
