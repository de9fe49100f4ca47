package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// trial is what rules have to stand: the open tests, and which guardrails they leave out.
type trial struct {
	tests     []PolicyTest
	emergency map[string]bool // ids of guardrails that suspend something
}

func readTrial(ctx context.Context, tx pgx.Tx) (t trial, err error) {
	if t.tests, err = readTests(ctx, tx); err != nil {
		return t, err
	}
	rows, _ := tx.Query(ctx, `select id from guardrails where emergency and ended_at is null`)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return t, fmt.Errorf("reading which guardrails suspend something: %w", err)
	}
	t.emergency = make(map[string]bool, len(ids))
	for _, id := range ids {
		t.emergency[id] = true
	}
	return t, nil
}

// withhold puts the rules that are in force in the place of the present ones while a test fails, and keeps why. What is
// suspended, held or gone by now counts all the same. It reports whether there is anything to publish: rules that nothing
// is known of any more cannot be put back, and then each audience keeps the revision that it has.
func (l *leader) withhold(ctx context.Context, s *state) (bool, error) {
	failures, err := s.trial.failures(s.Snapshot, s.at)
	if err != nil || len(failures) == 0 {
		return true, nil //nolint:nilerr // rules that cannot be compiled are told where each audience is
	}
	s.refutation = refutation(failures)
	err = pgx.BeginTxFunc(ctx, l.pool, registry.ReadOnly, func(tx pgx.Tx) error { return l.putBack(ctx, tx, s) })
	switch {
	case problem.Is(err, problem.NotFound):
		return false, l.refuse(ctx, *s)
	case err != nil:
		return false, err
	}
	for _, a := range s.audiences {
		if err := l.say(ctx, a, s.Generation, s.withheld()); err != nil {
			return false, err
		}
	}
	return true, nil
}

// refuse says with every audience that has to be compiled why it is not.
func (l *leader) refuse(ctx context.Context, s state) error {
	for _, a := range s.audiences {
		if l.wants(a) {
			if err := l.fail(ctx, a, s.Generation, s.refutation); err != nil {
				return err
			}
		}
	}
	l.hub.Wake(ctx, TopicRevisions)
	return nil
}

// putBack takes the rules that were published last, and the suspensions of now.
func (l *leader) putBack(ctx context.Context, tx pgx.Tx, s *state) error {
	s.rules = 0
	for _, a := range s.audiences {
		s.rules = max(s.rules, a.RulesGeneration)
	}
	grants, guardrails, err := l.registry.RulesAt(ctx, tx, s.rules)
	if err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, `select id from guardrails where emergency`)
	suspensions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("reading which guardrails suspend something: %w", err)
	}
	guardrails = slices.DeleteFunc(guardrails, func(g policy.SourceGuardrail) bool { return slices.Contains(suspensions, g.ID) })
	for _, g := range s.Guardrails {
		if s.trial.emergency[g.ID] {
			guardrails = append(guardrails, g)
		}
	}
	s.Grants, s.Guardrails = grants, guardrails
	return nil
}

// refutation says which tests fail: `policy test "Refunds wait": expected hold, got allow (allowed), by "Support"`.
func refutation(failures []TestResult) error {
	first := failures[0]
	more := ""
	if n := len(failures) - 1; n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("policy test %q: %s%s", first.Name, first.Fault, more) //nolint:err113 // it is told, never compared
}

// failures gives the tests that fail of these rules.
func (t trial) failures(rules registry.Snapshot, at time.Time) ([]TestResult, error) {
	results, err := t.run(rules, at)
	return slices.DeleteFunc(results, func(r TestResult) bool { return r.Passed }), err
}

// run holds the tests against rules alone: as if every server were active and every tool as it is pinned, and without
// the guardrails of an emergency.
func (t trial) run(s registry.Snapshot, at time.Time) ([]TestResult, error) {
	if len(t.tests) == 0 {
		return nil, nil
	}
	ix, err := t.calm(s, at)
	if err != nil {
		return nil, err
	}
	results := make([]TestResult, 0, len(t.tests))
	for _, test := range t.tests {
		results = append(results, test.run(ix, at))
	}
	return results, nil
}

// calm is the policy of the servers that tests name, with nothing held or suspended.
func (t trial) calm(s registry.Snapshot, at time.Time) (*policy.Index, error) {
	named := map[string]bool{}
	for _, test := range t.tests {
		named[test.Given.Server] = true
	}
	var servers []policy.Server
	for _, server := range s.Servers {
		if !named[server.Name] {
			continue
		}
		server.State, server.Tools = policy.Active, slices.Clone(server.Tools)
		for i := range server.Tools {
			server.Tools[i].Held = false
		}
		servers = append(servers, server)
	}
	s.Servers = servers
	s.Guardrails = slices.DeleteFunc(slices.Clone(s.Guardrails), func(g policy.SourceGuardrail) bool { return t.emergency[g.ID] })
	document, _, err := compileAll(s, at)
	if err != nil {
		return nil, err
	}
	return policy.NewIndex(document)
}
