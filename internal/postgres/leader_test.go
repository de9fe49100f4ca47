package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

// superuser returns a connection that may end others' sessions.
func superuser(t *testing.T, db *pgtest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.SuperuserDSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// replicas counts how many lead now, at most, and in total.
type replicas struct {
	now, most, total atomic.Int32
}

// lead is the work of a leader: it stays until its context ends.
func (r *replicas) lead(ctx context.Context) error {
	now := r.now.Add(1)
	r.total.Add(1)
	for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
	}
	<-ctx.Done()
	r.now.Add(-1)
	return ctx.Err()
}

func TestOneOfManyLeads(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var r replicas
	cancels := make([]context.CancelFunc, 3)
	var wg sync.WaitGroup
	for i := range cancels {
		var ctx context.Context
		ctx, cancels[i] = context.WithCancel(t.Context())
		pool := db.NewPool(t)
		wg.Go(func() {
			if err := postgres.RunAsLeader(ctx, pool, 42, quiet(), r.lead); err != nil {
				t.Error(err)
			}
		})
	}
	for i, cancel := range cancels {
		led := int32(i + 1)
		eventually(t, 30*time.Second, "the next leader", func() bool { return r.total.Load() >= 1 && r.now.Load() == 1 })
		if got := r.total.Load(); got > led {
			t.Errorf("%d leaders so far, want at most %d", got, led)
		}
		cancel()
	}
	wg.Wait()
	if got := r.most.Load(); got != 1 {
		t.Errorf("%d led at once", got)
	}
}

func TestLeaderStopsWhenItsConnectionIsLost(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var r replicas
	runInBackground(t, func(ctx context.Context) {
		_ = postgres.RunAsLeader(ctx, db.Runtime, 43, quiet(), r.lead)
	})
	eventually(t, 30*time.Second, "a leader", func() bool { return r.now.Load() == 1 })
	cut := time.Now()
	_, err := superuser(t, db).Exec(t.Context(), `select pg_terminate_backend(pid) from pg_locks
		where locktype = 'advisory' and objid = 43 and database = (select oid from pg_database where datname = current_database())`)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the leader to step down", func() bool { return r.now.Load() == 0 || r.total.Load() > 1 })
	if took := time.Since(cut); took > 10*time.Second {
		t.Errorf("stepping down took %v", took)
	}
	eventually(t, 30*time.Second, "it to lead again", func() bool { return r.total.Load() == 2 && r.now.Load() == 1 })
}

func TestLeaderTriesAgainAfterAnErrorAndEndsWhenDone(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	attempts := 0
	err := postgres.RunAsLeader(t.Context(), db.Runtime, 44, quiet(), func(context.Context) error {
		attempts++
		if attempts < 2 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || attempts != 2 {
		t.Errorf("%d attempts (%v), want 2", attempts, err)
	}
}

func TestLocksOfDifferentWorkAreIndependent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var compile, sweep replicas
	runInBackground(t, func(ctx context.Context) { _ = postgres.RunAsLeader(ctx, db.Runtime, 45, quiet(), compile.lead) })
	runInBackground(t, func(ctx context.Context) { _ = postgres.RunAsLeader(ctx, db.Runtime, 46, quiet(), sweep.lead) })
	eventually(t, 30*time.Second, "both to lead", func() bool { return compile.now.Load() == 1 && sweep.now.Load() == 1 })
}
