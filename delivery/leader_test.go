package delivery

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/policy"
	"countersign/registry"
)

func TestAnotherReplicaTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start()
	edge := w.enrol(first, "edge", "*")
	w.upTo(first, edge.AudienceID, w.generation())
	second := w.start()
	w.upTo(second, edge.AudienceID, w.generation())
	first.stop()
	w.offer(second, edge.Gateway, "com.acme/orders")
	s := w.upTo(second, edge.AudienceID, w.generation())
	if len(s.Index.Document().Servers) != 1 {
		t.Error("the second leader lost the server")
	}
}

func TestALeaderWhoseConnectionDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start(), w.start()
	edge := w.enrol(a, "edge", "*")
	for range 3 {
		w.offer(b, edge.Gateway, fmt.Sprintf("com.acme/s%d", rand.Int32()))
		w.upTo(a, edge.AudienceID, w.generation())
		ended := w.count(`
			select count(pg_terminate_backend(l.pid)) from pg_locks l
			where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())`)
		if ended != 1 {
			t.Errorf("%d leaders", ended)
		}
	}
	w.grant(a, "lists", "*")
	generation := w.generation()
	if x, y := w.upTo(a, edge.AudienceID, generation), w.upTo(b, edge.AudienceID, generation); x.ETag != y.ETag {
		t.Errorf("%s and %s", x.ETag, y.ETag)
	}
}

func TestTwoLeadersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.NewPool(t))
	edge := w.enrol(r, "edge", "*")
	slow := leader{Delivery: r.Delivery, failed: map[string]int64{}, all: true}
	old, err := slow.read(w.ctx)
	w.must(err)
	w.offer(r, edge.Gateway, "com.acme/orders")
	quick := leader{Delivery: w.build(w.db.NewPool(t)).Delivery, failed: map[string]int64{}, all: true}
	w.must(quick.step(w.ctx))
	revision := w.count(`select revision from audiences`)
	for _, a := range old.audiences { // the slow one wakes up with what it read before
		_, err := slow.compile(w.ctx, old, a)
		w.must(err)
	}
	if got := w.count(`select revision from audiences`); got != revision || w.count(`select count(*) from revisions`) != 1 {
		t.Errorf("the slow leader put revision %d in place of %d", got, revision)
	}
	var wg sync.WaitGroup
	w.grant(r, "lists", "*")
	for range 8 {
		l := leader{Delivery: w.build(r.pool).Delivery, failed: map[string]int64{}, all: true}
		wg.Go(func() {
			if err := l.step(w.ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.count(`select count(*) from revisions`); n != 2 {
		t.Errorf("%d revisions", n)
	}
}

func TestANewEpochIsCompiledAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	before := w.upTo(r, edge.AudienceID, w.generation())
	_, err := w.db.Runtime.Exec(w.ctx, `update registry_head set epoch = epoch + 1, generation = generation + 1`)
	w.must(err)
	r.hub.Wake(w.ctx, registry.TopicPolicy)
	after := waitFor(w, "the new epoch", func() (*Snapshot, bool) { s := r.Current(edge.AudienceID); return s, s.Epoch == 2 })
	if after.Index.Document().Epoch != 2 || before.Epoch != 1 {
		t.Errorf("epoch %d after %d", after.Epoch, before.Epoch)
	}
	r.hub.Wake(w.ctx, registry.TopicPolicy)
}

// What is put back from a backup without a new epoch is not followed: gateways hold more.
func TestAnEarlierEpochIsNotFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.NewPool(t))
	edge := w.enrol(r, "edge", "*")
	l := leader{Delivery: r.Delivery, failed: map[string]int64{}, all: true}
	for _, epoch := range []int64{2, 1} {
		_, err := w.db.Runtime.Exec(w.ctx, `update registry_head set epoch = $1, generation = generation + 1`, epoch)
		w.must(err)
		w.must(l.step(w.ctx))
		w.must(r.catchUp(w.ctx))
		if s := r.Current(edge.AudienceID); s.Epoch != 2 {
			t.Errorf("the registry is at epoch %d, served is %d", epoch, s.Epoch)
		}
	}
}

// Notifications are a kindness: here none is ever sent, and those who listen for them are cut off.
func TestWithoutNotifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start(), w.start()
	mute := w.build(w.db.NewPool(t))
	edge := w.enrol(mute, "edge", "*")
	w.offer(mute, edge.Gateway, "com.acme/orders")
	w.grant(mute, "reading", "*")
	cut := w.count(`select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'countersign listen' and datname = current_database()`)
	began := time.Now()
	w.upTo(a, edge.AudienceID, w.generation())
	w.upTo(b, edge.AudienceID, w.generation())
	t.Logf("%d listeners were cut off; both replicas had it after %v", cut, time.Since(began).Round(time.Millisecond))
}

func TestANewConfigurationIsANewRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start()
	edge := w.enrol(first, "edge", "*")
	before := w.upTo(first, edge.AudienceID, w.generation())
	first.stop()
	second := w.build(w.db.NewPool(t))
	second.cfg.MaxStaleSeconds = 60
	l := leader{Delivery: second.Delivery, failed: map[string]int64{}, all: true}
	w.must(l.step(w.ctx))
	w.must(l.step(w.ctx))
	w.must(second.catchUp(w.ctx))
	after := second.Current(edge.AudienceID)
	if after.Revision <= before.Revision || after.Index.Document().MaxStaleSeconds != 60 {
		t.Errorf("revision %d after %d", after.Revision, before.Revision)
	}
}

func TestEveryRevisionEqualsARecompute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start(), w.start()
	edge := w.enrol(a, "edge", "*")
	w.offer(a, edge.Gateway, "com.acme/orders")

	const writers, edits = 10, 5
	open := make(map[int64][]string) // generation → ids of the grants open at it
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range writers {
		r := a
		if i%2 == 1 {
			r = b
		}
		wg.Go(func() {
			for j := range edits {
				g := w.grant(r, fmt.Sprintf("g%d.%d", i, j), "com.acme/*")
				if j%2 == 1 {
					if _, err := r.registry.EndGrant(w.ctx, w.admin, g.ID, g.Version, ""); err != nil {
						t.Error(err)
					}
				}
				// What is true at some generation, read as a compile would.
				err := pgx.BeginTxFunc(w.ctx, r.pool, registry.ReadOnly, func(tx pgx.Tx) error {
					s, err := r.registry.SnapshotTx(w.ctx, tx)
					if err != nil {
						return err
					}
					ids := []string{}
					for _, g := range s.Grants {
						ids = append(ids, g.ID)
					}
					mu.Lock()
					defer mu.Unlock()
					open[s.Generation] = ids
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	final := w.upTo(a, edge.AudienceID, w.generation())
	if other := w.upTo(b, edge.AudienceID, w.generation()); other.ETag != final.ETag {
		t.Errorf("%s and %s", final.ETag, other.ETag)
	}

	revisions, err := a.Revisions(w.ctx, w.admin, edge.AudienceID, 200)
	w.must(err)
	compared := 0
	for _, r := range revisions {
		text, err := a.Document(w.ctx, w.admin, edge.AudienceID, r.Epoch, r.Revision)
		w.must(err)
		document, err := policy.Decode(text)
		w.must(err)
		ids := []string{}
		for _, g := range document.Grants {
			ids = append(ids, g.ID)
		}
		if want, known := open[r.Revision]; known {
			compared++
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("revision %d: %s", r.Revision, diff)
			}
		}
	}
	if n := len(final.Index.Document().Grants); n != writers*(edits-edits/2) {
		t.Errorf("%d grants: an edit was lost", n)
	}
	t.Logf("%d revisions for %d edits, %d compared", len(revisions), writers*(edits+edits/2), compared)
}
