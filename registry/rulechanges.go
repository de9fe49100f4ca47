package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
)

// RuleChange is how a grant or guardrail differs between two generations. Its texts are visible and fit for a terminal.
type RuleChange struct {
	Kind      ChangeKind           `json:"kind"`
	What      string               `json:"what"` // grant or guardrail
	ID        string               `json:"id"`
	Key       string               `json:"key"`
	Name      string               `json:"name"`
	Fields    []desired.Difference `json:"fields,omitempty"`
	Emergency bool                 `json:"emergency,omitempty"` // see Suspension
	At        time.Time            `json:"at"`                  // when it was changed last between the two
	By        string               `json:"by"`                  // name of who did
	ByID      string               `json:"by_id"`
}

// changedRow is the state of a rule at one of two generations, and how it came to move between them.
type changedRow struct {
	RuleID string
	Kind   string
	Row    ruleRow
	Before bool
	At     time.Time
	By     string
	ByID   string
}

// RuleChangesTx says how the grants and guardrails of the generation to differ from those of from, guardrails last. tx
// sees one state of the database. Problem: NotFound no_such_generation.
func (r *Registry) RuleChangesTx(ctx context.Context, tx pgx.Tx, from, to int64) ([]RuleChange, error) {
	for _, generation := range []int64{from, to} {
		if err := knownGeneration(ctx, tx, generation); err != nil {
			return nil, err
		}
	}
	rows, _ := tx.Query(ctx, `
		with moved as (
		  select rule_id, max(from_generation) as generation from rule_versions
		  where from_generation > @low and from_generation <= @high
		  group by rule_id)
		select v.rule_id, v.kind, v.row, b.before, n.at, coalesce(e.actor_name, '') as by, coalesce(e.actor_id, '') as by_id
		from moved m
		join generations n on n.generation = m.generation
		left join audit_events e on e.id = n.event_id
		cross join (values (true, @from::bigint), (false, @to::bigint)) as b (before, generation)
		join rule_versions v on v.rule_id = m.rule_id and not v.ended
		  and v.from_generation <= b.generation and (v.to_generation is null or v.to_generation > b.generation)
		order by v.kind, v.rule_id`,
		pgx.StrictNamedArgs{"from": from, "to": to, "low": min(from, to), "high": max(from, to)})
	states, err := pgx.CollectRows(rows, pgx.RowToStructByName[changedRow])
	if err != nil {
		return nil, fmt.Errorf("comparing the rules of two generations: %w", err)
	}
	now := present{teams: map[string]presentTeam{}, names: map[string]string{}, strays: map[string]bool{}}
	if err := now.readTeams(ctx, tx); err != nil {
		return nil, err
	}
	return now.ruleChanges(states)
}

// ruleChanges pairs the states before and after; those of a rule stand together.
func (p present) ruleChanges(states []changedRow) ([]RuleChange, error) {
	var all []RuleChange
	for len(states) > 0 {
		n := 1
		if len(states) > 1 && states[1].RuleID == states[0].RuleID {
			n = 2
		}
		c, err := p.ruleChange(states[:n])
		if err != nil {
			return nil, err
		}
		if c.Kind != Changes || len(c.Fields) > 0 {
			all = append(all, c)
		}
		states = states[n:]
	}
	return all, nil
}

// ruleChange compares the one or two states of a rule.
func (p present) ruleChange(states []changedRow) (RuleChange, error) {
	last := states[len(states)-1]
	var before, after []desired.Field
	for _, s := range states {
		fields, err := p.fieldsOf(s)
		if err != nil {
			return RuleChange{}, err
		}
		if s.Before {
			before = fields
		} else {
			after, last = fields, s
		}
	}
	c := RuleChange{
		Kind: Changes, What: last.Kind, ID: last.RuleID, Key: desired.Visible(last.Row.Key), Name: desired.Visible(last.Row.Name),
		Fields: desired.Differences(before, after), Emergency: last.Row.Emergency, At: last.At, By: last.By, ByID: last.ByID,
	}
	switch {
	case before == nil:
		c.Kind = Adds
	case after == nil:
		c.Kind = Ends
	}
	return c, nil
}

// fieldsOf writes a state in the words of files.
func (p present) fieldsOf(s changedRow) ([]desired.Field, error) {
	if s.Kind == "grant" {
		g, err := s.Row.desiredGrant()
		return g.Fields(), err
	}
	g, err := s.Row.desiredGuardrail(p)
	return g.Fields(), err
}
