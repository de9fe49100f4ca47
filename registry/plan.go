package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/desired"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// PlanOptions say how files and the registry are compared.
type PlanOptions struct {
	Prune bool // end what the files do not name; without it, that stays

	rulesOnly bool // of what is not named, end grants and guardrails only
}

// ChangeKind is what a plan does to an object.
type ChangeKind string

// The kinds of change.
const (
	Adds    ChangeKind = "add"
	Changes ChangeKind = "change"
	Ends    ChangeKind = "end"
)

// PlannedChange is what a plan does to one object. All of its text is visible and fit for a terminal.
type PlannedChange struct {
	Kind        ChangeKind           `json:"kind"`
	What        string               `json:"what"` // team, server, grant or guardrail
	Key         string               `json:"key"`  // of a team or server: its name
	Name        string               `json:"name"`
	Fields      []desired.Difference `json:"fields,omitempty"`
	Consequence string               `json:"consequence,omitempty"`  // what follows that the fields do not say
	NeedsPerson bool                 `json:"needs_person,omitempty"` // no machine may do this
}

// Plan is what an apply would do now, or did.
type Plan struct {
	Generation int64             `json:"generation"` // of the policy that it was made against; after an apply, the new one
	Digest     string            `json:"digest"`     // of all that a person sees of it
	Changes    []PlannedChange   `json:"changes"`
	Effects    []policy.Sentence `json:"effects"`   // who gains and who loses what, and where guardrails begin and stop to hold
	Unmanaged  Unmanaged         `json:"unmanaged"` // what is there, is in no file, and stays
}

// Unmanaged counts what no file names.
type Unmanaged struct {
	Teams      int `json:"teams"`
	Servers    int `json:"servers"`
	Grants     int `json:"grants"`
	Guardrails int `json:"guardrails"`
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Changes) == 0 }

// Plan says what it takes to make the registry what set says, and changes nothing. It needs identity.ReadRegistry and
// identity.ReadPolicy.
//
// A condition that suits only some of the tools it reaches is a consequence of its change; one that suits none is wrong.
//
// Problem: Invalid invalid_set, with a field for each thing that is wrong, named by its path: grants[key].for.users[0].
func (r *Registry) Plan(ctx context.Context, who identity.Principal, set desired.Set, opts PlanOptions) (Plan, error) {
	if err := mayPlan(who); err != nil {
		return Plan{}, err
	}
	if err := checkSet(set); err != nil {
		return Plan{}, err
	}
	var plan Plan
	err := pgx.BeginTxFunc(ctx, r.pool, ReadOnly, func(tx pgx.Tx) (err error) {
		plan, _, err = r.planTx(ctx, tx, set, opts)
		return err
	})
	return plan, err
}

// checkSet refuses a set that is wrong by itself.
func checkSet(set desired.Set) error {
	wrong := set.Check()
	if len(wrong) == 0 {
		return nil
	}
	invalid := invalidSet()
	for _, w := range wrong {
		invalid.Field(w.Path, w.Message)
	}
	return invalid
}

func invalidSet() *problem.Error {
	return problem.New(problem.Invalid, "invalid_set", "The files cannot be applied as they are. Nothing was changed.")
}

// planTx makes the plan in a transaction that sees one state of the database.
func (r *Registry) planTx(ctx context.Context, tx pgx.Tx, set desired.Set, opts PlanOptions) (Plan, []planStep, error) {
	names := make([]string, len(set.Servers))
	for i, s := range set.Servers {
		names[i] = strings.ToLower(s.Name)
	}
	now, err := readPresentTx(ctx, tx, names)
	if err != nil {
		return Plan{}, nil, err
	}
	return r.compareTx(ctx, tx, now, set, opts)
}

// compareTx makes the plan from what is present in that transaction.
func (r *Registry) compareTx(ctx context.Context, tx pgx.Tx, now present, set desired.Set, opts PlanOptions) (Plan, []planStep, error) {
	p, err := newPlanner(now, set, opts)
	if err != nil {
		return Plan{}, nil, err
	}
	plan := Plan{Changes: make([]PlannedChange, len(p.steps)), Effects: []policy.Sentence{}, Unmanaged: p.unmanaged()}
	if err := tx.QueryRow(ctx, `select generation from registry_head`).Scan(&plan.Generation); err != nil {
		return Plan{}, nil, fmt.Errorf("reading the policy's generation: %w", err)
	}
	if len(p.steps) > 0 {
		if plan.Effects, err = r.effectsTx(ctx, tx, p); err != nil {
			return Plan{}, nil, err
		}
	}
	for i, s := range p.steps {
		plan.Changes[i] = s.PlannedChange
	}
	plan.Digest, err = plan.digest(opts)
	return plan, p.steps, err
}

// digest is of what the plan does and of what a person was told of it.
func (p Plan) digest(opts PlanOptions) (string, error) {
	raw, err := json.Marshal(struct {
		Prune   bool
		Changes []PlannedChange
		Effects []policy.Sentence
	}{opts.Prune, p.Changes, p.Effects})
	if err != nil {
		return "", fmt.Errorf("describing a plan: %w", err)
	}
	return canonical.Sum("countersign/plan/v1", raw).String(), nil
}
