package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/problem"
	"countersign/policy"
)

// ruleRow is a row of grants or guardrails as rule_versions keeps it. What it does not name does not matter here.
type ruleRow struct {
	ID        string          `json:"id"`
	Key       string          `json:"key"`
	Version   int64           `json:"version"`
	Name      string          `json:"name"`
	Subject   json.RawMessage `json:"subject"`
	Exempt    json.RawMessage `json:"exempt"` // guardrails only, and so is Effect
	Resource  json.RawMessage `json:"resource"`
	Effect    json.RawMessage `json:"effect"`
	Condition string          `json:"condition"`
	NotBefore *time.Time      `json:"not_before"` // grants only, and so is NotAfter
	NotAfter  *time.Time      `json:"not_after"`
	Reason    string          `json:"reason"`
	Emergency bool            `json:"emergency"`
}

// ruleState is a state of a rule.
type ruleState struct {
	RuleID string
	Kind   string
	Row    ruleRow
}

// rulesAt selects, of rule_versions v, what held at @generation.
const rulesAt = `
	v.from_generation <= @generation and (v.to_generation is null or v.to_generation > @generation) and not v.ended`

// RulesAt gives the grants and guardrails that held at a generation, by id: with the servers of that time, what a
// compile of it read. Problem: NotFound no_such_generation, when it is yet to come or before history begins.
func (r *Registry) RulesAt(ctx context.Context, tx pgx.Tx, generation int64) (grants []policy.SourceGrant, guardrails []policy.SourceGuardrail, err error) {
	states, err := statesAt(ctx, tx, generation)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range states {
		if s.Kind == "grant" {
			g, err := s.Row.grant()
			if err != nil {
				return nil, nil, fmt.Errorf("grant %s: %w", s.RuleID, err)
			}
			grants = append(grants, g)
			continue
		}
		g, err := s.Row.guardrail()
		if err != nil {
			return nil, nil, fmt.Errorf("guardrail %s: %w", s.RuleID, err)
		}
		guardrails = append(guardrails, g)
	}
	return grants, guardrails, nil
}

// statesAt reads what held at a generation, by id.
func statesAt(ctx context.Context, tx pgx.Tx, generation int64) ([]ruleState, error) {
	if err := knownGeneration(ctx, tx, generation); err != nil {
		return nil, err
	}
	rows, _ := tx.Query(ctx, `
		select v.rule_id, v.kind, v.row from rule_versions v where `+rulesAt+` order by v.rule_id`,
		pgx.StrictNamedArgs{"generation": generation})
	states, err := pgx.CollectRows(rows, pgx.RowToStructByName[ruleState])
	if err != nil {
		return nil, fmt.Errorf("reading the rules of generation %d: %w", generation, err)
	}
	return states, nil
}

// knownGeneration refuses a generation of which nothing is known.
func knownGeneration(ctx context.Context, tx pgx.Tx, generation int64) error {
	var known bool
	err := tx.QueryRow(ctx, `
		select @generation between (select min(generation) from generations) and (select generation from registry_head)`,
		pgx.StrictNamedArgs{"generation": generation}).Scan(&known)
	switch {
	case err != nil:
		return fmt.Errorf("looking for a generation: %w", err)
	case !known:
		return problem.New(problem.NotFound, "no_such_generation", "Nothing is known of such a generation of the policy.")
	}
	return nil
}

func (r ruleRow) grant() (g policy.SourceGrant, err error) {
	g.Grant = policy.Grant{ID: r.ID, Name: r.Name, Condition: r.Condition, NotBefore: r.NotBefore, NotAfter: r.NotAfter}
	g.Subject, g.Resource, err = parseRule(string(r.Subject), string(r.Resource))
	return g, err
}

func (r ruleRow) guardrail() (policy.SourceGuardrail, error) {
	text := guardrailText{
		subject: string(r.Subject), exempt: string(r.Exempt), resource: string(r.Resource), condition: r.Condition, effect: string(r.Effect),
	}
	return text.parse(r.ID, r.Name)
}
