package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// checkTeams complains, in the field that names it, of a team that does not exist: nobody could ever approve for it. What
// was said before may stay.
func (r *Registry) checkTeams(ctx context.Context, e, was policy.Effect) error {
	named, before := allTeams(e), allTeams(was)
	named = slices.DeleteFunc(named, func(id string) bool { return slices.Contains(before, id) })
	if len(named) == 0 {
		return nil
	}
	rows, _ := r.pool.Query(ctx, `
		select named.id from unnest(@ids::text[]) as named (id)
		where not exists (select from teams t where t.id = named.id)`, pgx.StrictNamedArgs{"ids": named})
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("looking for the teams of a guardrail: %w", err)
	}
	if len(missing) == 0 {
		return nil
	}
	invalid := invalidGuardrail()
	for field, teams := range e.Teams() {
		if slices.ContainsFunc(teams, func(id string) bool { return slices.Contains(missing, id) }) {
			invalid.Field("effect."+field, "There is no such team.")
		}
	}
	return invalid
}

func allTeams(e policy.Effect) []string {
	var all []string
	for _, teams := range e.Teams() {
		all = append(all, teams...)
	}
	return all
}
