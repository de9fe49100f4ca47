package registry

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/problem"
)

func head(t *testing.T, pool *pgxpool.Pool) (epoch int64, lineage string) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `select epoch, lineage from registry_head`).Scan(&epoch, &lineage); err != nil {
		t.Fatal(err)
	}
	return epoch, lineage
}

func TestEpochFollowsTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.CheckLineage(w.ctx))
	epoch, lineage := head(t, w.db.Owner)
	if epoch != 1 || strings.Count(lineage, "/") != 3 {
		t.Fatalf("the first look makes epoch %d of %q", epoch, lineage)
	}
	w.must(w.CheckLineage(w.ctx))
	if again, _ := head(t, w.db.Owner); again != 1 {
		t.Fatalf("the same database makes epoch %d", again)
	}
	for name, sql := range map[string]string{
		"another cluster":  `update registry_head set lineage = regexp_replace(lineage, '^\d+', '7000000000000000001')`,
		"another timeline": `update registry_head set lineage = regexp_replace(lineage, '/[0-9A-F]{8}/', '/0000000A/')`,
		"another database": `update registry_head set lineage = regexp_replace(lineage, '/\d+/(\d+)$', '/1/\1')`,
		"another table":    `update registry_head set lineage = regexp_replace(lineage, '/\d+$', '/1')`,
	} {
		before, _ := head(t, w.db.Owner)
		version := w.count(`select version from key_set`)
		_, err := w.db.Owner.Exec(w.ctx, sql)
		w.must(err)
		if w.count(`select policy_is(epoch, generation)::int from registry_head`) != 0 {
			t.Errorf("%s: an approval would be redeemed before the epoch has moved", name)
		}
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if err := w.CheckLineage(w.ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if after, now := head(t, w.db.Owner); after != before+1 || now != lineage {
			t.Errorf("%s: epoch %d after %d, of %q", name, after, before, now)
		}
		if w.count(`select version from key_set`) <= version {
			t.Errorf("%s: gateways may have seen a later set of keys", name)
		}
		if w.count(`select policy_is(epoch, generation)::int from registry_head`) != 1 {
			t.Errorf("%s: nothing would be redeemed any more", name)
		}
	}
	if n := w.count(`select count(*) from audit_events where kind = 'epoch.moved' and detail ->> 'remembered' <> detail ->> 'found'`); n != 4 {
		t.Errorf("%d events", n)
	}
}

func TestEpochByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	operator := identity.Principal{Kind: identity.System, ID: "operator"}
	epoch, err := BumpEpoch(w.ctx, w.db.Runtime, operator, " files were put back ")
	if err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if n := w.count(`select count(*) from audit_events where kind = 'epoch.moved' and detail ->> 'reason' = 'files were put back' and actor_id = 'operator'`); n != 1 {
		t.Errorf("%d events", n)
	}
	_, err = BumpEpoch(w.ctx, w.db.Runtime, operator, " ")
	wantProblem(t, err, problem.Invalid, "invalid_reason")
	_, err = BumpEpoch(w.ctx, w.db.Runtime, w.admin, "because")
	wantProblem(t, err, problem.Forbidden, "operator_only")
}

// Who cannot see which database it is on goes on, and says so.
func TestLineageThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	super, err := pgx.Connect(w.ctx, w.db.SuperuserDSN)
	w.must(err)
	t.Cleanup(func() { _ = super.Close(context.WithoutCancel(w.ctx)) })
	_, err = super.Exec(w.ctx, `revoke execute on function pg_control_system() from public`)
	w.must(err)
	var log bytes.Buffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	w.must(w.CheckLineage(w.ctx))
	if !strings.Contains(log.String(), "epoch bump") {
		t.Errorf("it says %q", log.String())
	}
	if w.count(`select policy_is(epoch, generation)::int from registry_head`) != 1 {
		t.Error("nothing can be redeemed")
	}
}
