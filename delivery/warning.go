package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// maxWarnings bounds what is kept of a policy that is odd everywhere.
const maxWarnings = 200

// listed keeps an empty list a list in JSON.
func listed(warnings []policy.Warning) []policy.Warning {
	if warnings == nil {
		return []policy.Warning{}
	}
	return warnings
}

// readUnstaffed gives the teams with neither a group nor a member: a call that waits for them waits in vain.
func readUnstaffed(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, _ := tx.Query(ctx, `
		select m.id, m.name
		from teams m
		where cardinality(m.idp_groups) = 0
		  and not exists (select 1 from team_members x join people p on p.id = x.person_id
		                  where x.team_id = m.id and p.disabled_at is null)`)
	teams := map[string]string{}
	var id, name string
	_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		teams[id] = name
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading teams without people: %w", err)
	}
	return teams, nil
}

// nobody warns where all the teams that may approve a server's calls are empty, once for each guardrail and server.
func nobody(d policy.Document, unstaffed map[string]string) []policy.Warning {
	var warnings []policy.Warning
	for i := range d.Servers {
		s := &d.Servers[i]
		said := map[int]bool{}
		for j := range s.Tools {
			for _, g := range s.Tools[j].Guardrails {
				if said[g] {
					continue
				}
				said[g] = true
				if names := allUnstaffed(d.Guardrails[g].Effect.Approval, s.Team, unstaffed); names != "" {
					warnings = append(warnings, policy.Warning{
						Code: policy.WarnUnapprovable, Rule: d.Guardrails[g].ID, Tool: s.Tools[j].ID,
						Message: fmt.Sprintf("Nobody can approve calls on %s that %q holds: %s has neither a group nor a member.",
							s.Name, d.Guardrails[g].Name, names),
					})
				}
			}
		}
	}
	return warnings
}

// allUnstaffed names the teams that may approve if every one of them is empty, else "".
func allUnstaffed(a *policy.Approval, owner string, unstaffed map[string]string) string {
	if a == nil {
		return ""
	}
	teams := slices.Clone(a.Teams)
	if a.OwningTeam {
		teams = append(teams, owner)
	}
	var names []string
	for _, id := range teams {
		name, empty := unstaffed[id]
		if !empty {
			return ""
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
