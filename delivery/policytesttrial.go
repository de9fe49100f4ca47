package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

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

// refuted reports whether a test fails, and if so says so with every audience that has to be compiled: what they have
// stays in force.
func (l *leader) refuted(ctx context.Context, s state) (bool, error) {
	failures, err := s.trial.failures(s.Snapshot, s.at)
	if err != nil || len(failures) == 0 {
		return false, nil //nolint:nilerr // rules that cannot be compiled are told where each audience is
	}
	for _, a := range s.audiences {
		if l.wants(a) {
			if err := l.fail(ctx, a, s.Generation, refutation(failures)); err != nil {
				return true, err
			}
		}
	}
	l.hub.Wake(ctx, TopicRevisions)
	return true, nil
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
