package registry

import (
	"context"

	"countersign/desired"
	"countersign/identity"
)

// PlanOptions say how files and the registry are compared.
type PlanOptions struct {
	Prune bool // end what the files do not name; without it, that stays
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
	Generation int64           `json:"generation"` // of the policy that it was made against; after an apply, the new one
	Digest     string          `json:"digest"`     // of everything in it that an apply does
	Changes    []PlannedChange `json:"changes"`
	Gains      []string        `json:"gains"` // who may call what that they may not call now, in sentences
	Loses      []string        `json:"loses"`
	Unmanaged  Unmanaged       `json:"unmanaged"` // what is there, is in no file, and stays
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
// Problem: Invalid invalid_set, with a field for each thing that is wrong, named by its path: grants[key].for.users[0].
func (r *Registry) Plan(ctx context.Context, who identity.Principal, set desired.Set, opts PlanOptions) (Plan, error) {
	return Plan{}, nil
}

// Apply makes the registry what set says, all of it or nothing, if that is still the plan whose digest was seen.
func (r *Registry) Apply(ctx context.Context, who identity.Principal, set desired.Set, opts PlanOptions, seen string) (Plan, error) {
	return Plan{}, nil
}

// Export gives everything that has neither ended nor retired, so that a plan of it is empty.
func (r *Registry) Export(ctx context.Context, who identity.Principal) (desired.Set, error) {
	return desired.Set{}, nil
}
