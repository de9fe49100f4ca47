package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// at gives the ids and names of the grants and guardrails of a generation.
func (w *world) at(generation int64) (rules []string) {
	w.t.Helper()
	w.must(pgx.BeginTxFunc(w.ctx, w.db.Runtime, ReadOnly, func(tx pgx.Tx) error {
		grants, guardrails, err := w.RulesAt(w.ctx, tx, generation)
		for _, g := range grants {
			rules = append(rules, g.Name)
		}
		for _, g := range guardrails {
			rules = append(rules, g.Name)
		}
		return err
	}))
	return rules
}

func TestRulesAtEveryGeneration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := w.generation()
	first := w.at(begin)
	a := w.grant("a")
	withA := w.generation()
	b := w.grant("b")
	withB := w.generation()
	_, err := w.EndGrant(w.ctx, w.admin, a.ID, a.Version, "")
	w.must(err)
	withoutA := w.generation()
	rail, err := w.CreateGuardrail(w.ctx, w.admin, NewGuardrail{
		Name: "no", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{"*"}}, Effect: policy.Effect{Deny: true},
	})
	w.must(err)
	withRail := w.generation()

	for _, tt := range []struct {
		generation int64
		want       []string
	}{
		{begin, first},
		{withA, append([]string{"a"}, first...)},
		{withoutA, append([]string{"b"}, first...)},
	} {
		if diff := cmp.Diff(tt.want, w.at(tt.generation)); diff != "" {
			t.Errorf("generation %d: %s", tt.generation, diff)
		}
	}
	if n := len(w.at(withB)); n != 2+len(first) {
		t.Errorf("%d rules with both", n)
	}
	if n := len(w.at(withRail)); n != 2+len(first) {
		t.Errorf("%d rules with %s and %s", n, b.Name, rail.Name)
	}
	for _, unknown := range []int64{0, withRail + 1} {
		err := pgx.BeginTxFunc(w.ctx, w.db.Runtime, ReadOnly, func(tx pgx.Tx) error {
			_, _, err := w.RulesAt(w.ctx, tx, unknown)
			return err
		})
		wantProblem(t, err, problem.NotFound, "no_such_generation")
	}
}

// A rule that changed twice in one transaction was at no generation what it was in between.
func TestWhatWasReplacedAtOnceHeldNever(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.grant("a")
	w.must(postgres.InTx(w.ctx, w.db.Runtime, func(tx pgx.Tx) error {
		for i, name := range []string{"between", "in the end"} {
			n := NewGrant{Name: name, Subject: g.Subject, Resource: g.Resource}
			if err := changeGrantTx(w.ctx, tx, w.admin, g.ID, g.Version+int64(i), n); err != nil {
				return err
			}
		}
		_, err := BumpTx(w.ctx, tx)
		return err
	}))
	generation := w.generation()
	if diff := cmp.Diff("in the end", w.at(generation)[0]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("a", w.at(generation - 1)[0]); diff != "" {
		t.Error(diff)
	}
}

func TestHistoryCannotBeForged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grant("a")
	for _, sql := range []string{
		`update rule_versions set row = '{}'`,
		`update rule_versions set to_generation = 1`,
		`delete from rule_versions`,
		`insert into rule_versions (rule_id, kind, version, ended, row) values ('x', 'grant', 1, false, '{}')`,
		`insert into generations (generation, epoch) values (99, 1)`,
		`delete from generations`,
	} {
		if _, err := w.db.Runtime.Exec(w.ctx, sql); err == nil {
			t.Errorf("the server may %s", sql)
		}
	}
}

func TestMovesSayWhoAndWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.grant("a")
	ctx, moved := WatchMoves(w.ctx)
	_, err := w.EndGrant(ctx, w.admin, g.ID, g.Version, "")
	w.must(err)
	if moved.Generation() != w.generation() {
		t.Errorf("moved to %d, not %d", moved.Generation(), w.generation())
	}
	page, err := w.Moves(w.ctx, w.viewer, "", 1)
	w.must(err)
	m := page.Items[0]
	if m.Generation != w.generation() || m.Kind != "grant.ended" || m.ActorName != w.admin.Name || m.TargetName != "a" || m.At.IsZero() {
		t.Errorf("%+v", m)
	}
	page, err = w.Moves(w.ctx, w.viewer, page.Next, 1)
	w.must(err)
	if m := page.Items[0]; m.Kind != "grant.created" || m.Generation != w.generation()-1 {
		t.Errorf("%+v", m)
	}
}

// grant makes one for everything.
func (w *world) grant(name string) Grant {
	w.t.Helper()
	g, err := w.CreateGrant(w.ctx, w.admin, NewGrant{
		Name: name, Subject: policy.Subject{Users: []string{"tomas"}}, Resource: policy.Resource{Servers: []string{"*"}},
	})
	w.must(err)
	return g
}
