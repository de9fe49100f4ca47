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

func TestRuleChangesBetweenGenerations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.grant("a"), w.grant("b")
	from := w.generation()
	w.grant("c")
	_, err := w.EndGrant(w.ctx, w.admin, a.ID, a.Version, "")
	w.must(err)
	_, err = w.ChangeGrant(w.ctx, w.admin, b.ID, b.Version, NewGrant{Name: "b\u200b2", Subject: b.Subject, Resource: b.Resource})
	if err == nil {
		t.Fatal("a hidden character was saved")
	}
	b, err = w.ChangeGrant(w.ctx, w.admin, b.ID, b.Version, NewGrant{Name: "b2", Subject: b.Subject, Resource: b.Resource})
	w.must(err)
	rail, to, err := w.SuspendAgent(w.ctx, w.admin, "cursor", "")
	w.must(err)
	brief := func(from, to int64) map[string]string {
		t.Helper()
		found := map[string]string{}
		w.must(pgx.BeginTxFunc(w.ctx, w.db.Runtime, ReadOnly, func(tx pgx.Tx) error {
			changes, err := w.RuleChangesTx(w.ctx, tx, from, to)
			for _, c := range changes {
				if c.By != w.admin.Name || c.At.IsZero() || c.ID == "" || c.Emergency != (c.ID == rail.ID) || len(c.Fields) == 0 {
					t.Errorf("%+v", c)
				}
				found[c.Name] = string(c.Kind) + " " + c.What
			}
			return err
		}))
		return found
	}
	want := map[string]string{"c": "add grant", "a": "end grant", "b2": "change grant", "Suspended: agent cursor": "add guardrail"}
	if diff := cmp.Diff(want, brief(from, to)); diff != "" {
		t.Error(diff)
	}
	back := map[string]string{"c": "end grant", "a": "add grant", "b": "change grant", "Suspended: agent cursor": "end guardrail"}
	if diff := cmp.Diff(back, brief(to, from)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{}, brief(to, to)); diff != "" {
		t.Error(diff)
	}
	if _, err := w.ChangeGrant(w.ctx, w.admin, b.ID, b.Version, NewGrant{Name: "b", Subject: b.Subject, Resource: b.Resource}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{}, brief(to, to)); diff != "" {
		t.Error(diff)
	}
}
