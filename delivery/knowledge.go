package delivery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
	"countersign/registry"
)

// knowledge is what is known of people and of the registry besides the rules themselves, to tell which rules can hardly
// be meant.
type knowledge struct {
	teams     map[string]team        // by id
	unseen    map[string]bool        // groups that rules or teams name and no person has; none while nobody has any group
	emergency map[string]bool        // ids of guardrails that suspend something
	reach     func(rule string) bool // whether a rule reaches anything at all; nil: the audience sees everything
	suits     func(expr string, t *policy.Tool) bool
}

// team is who may decide for a team.
type team struct {
	ID      string
	Name    string
	Groups  []string
	Members []string // by name: ids of people who are not switched off
}

// readKnowledge reads what is known at the moment of a snapshot.
func (d *Delivery) readKnowledge(ctx context.Context, tx pgx.Tx, s registry.Snapshot, emergency map[string]bool) (knowledge, error) {
	k := knowledge{teams: map[string]team{}, emergency: emergency, reach: reaching(s), suits: d.fits.suits}
	rows, _ := tx.Query(ctx, `
		select m.id, m.name, m.idp_groups as groups,
		       array(select p.id from team_members x join people p on p.id = x.person_id
		             where x.team_id = m.id and p.disabled_at is null) as members
		from teams m`)
	teams, err := pgx.CollectRows(rows, pgx.RowToStructByName[team])
	if err != nil {
		return k, fmt.Errorf("reading who is in which team: %w", err)
	}
	groups := groupsOf(s)
	for _, t := range teams {
		k.teams[t.ID] = t
		for _, g := range t.Groups {
			groups[g] = true
		}
	}
	k.unseen, err = unseen(ctx, tx, groups)
	return k, err
}

// knownOf is what is known of rules that are only drafted, for an audience that sees everything.
func (d *Delivery) knownOf(ctx context.Context, s standing, next registry.Snapshot) (knowledge, error) {
	k := s.known
	k.reach = nil
	fresh, err := unseen(ctx, d.pool, groupsOf(next))
	if err != nil {
		return k, err
	}
	maps.Copy(fresh, k.unseen)
	k.unseen = fresh
	return k, nil
}

// groupsOf are the groups that rules name one by one.
func groupsOf(s registry.Snapshot) map[string]bool {
	groups := map[string]bool{}
	add := func(names []string) {
		for _, g := range names {
			if !strings.Contains(g, "*") {
				groups[g] = true
			}
		}
	}
	for i := range s.Grants {
		add(s.Grants[i].Subject.Groups)
	}
	for i := range s.Guardrails {
		add(s.Guardrails[i].Subject.Groups)
		add(s.Guardrails[i].Except.Groups)
	}
	return groups
}

// unseen gives those of groups that no person has. While nobody has any, nothing can be said.
func unseen(ctx context.Context, q querier, groups map[string]bool) (map[string]bool, error) {
	rows, _ := q.Query(ctx, `
		select g from unnest(@groups::text[]) as g
		where exists (select from people where groups <> '{}')
		  and not exists (select from people p where p.groups @> array[g])`,
		pgx.StrictNamedArgs{"groups": slices.Collect(maps.Keys(groups))})
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("looking for groups that nobody has: %w", err)
	}
	set := make(map[string]bool, len(found))
	for _, g := range found {
		set[g] = true
	}
	return set, nil
}

// elsewhere reports whether a rule that reaches nothing here reaches something that other audiences see.
func (k knowledge) elsewhere(rule string) bool { return k.reach != nil && k.reach(rule) }

// mostSought bounds how many rules are looked for elsewhere; of the rest nothing is said.
const mostSought = 2000

// reaching tells whether a rule reaches any pinned tool of the registry. It answers each question once.
func reaching(s registry.Snapshot) func(rule string) bool {
	known := map[string]bool{}
	resources := map[string]policy.Resource{}
	fill := func() {
		for i := range s.Grants {
			resources[s.Grants[i].ID] = s.Grants[i].Resource
		}
		for i := range s.Guardrails {
			resources[s.Guardrails[i].ID] = s.Guardrails[i].Resource
		}
	}
	return func(rule string) bool {
		if reached, ok := known[rule]; ok || len(known) >= mostSought {
			return reached || !ok
		}
		if len(resources) == 0 {
			fill()
		}
		resource, there := resources[rule]
		known[rule] = there && slices.ContainsFunc(s.Servers, func(v policy.Server) bool { return covers(resource, v) })
		return known[rule]
	}
}

// covers reports whether a resource reaches a tool of the server.
func covers(r policy.Resource, s policy.Server) bool {
	matches := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return policy.Glob(p, name) })
	}
	if len(r.Servers) > 0 && !sees(r.Servers, s.Name) {
		return false
	}
	if len(r.Labels) > 0 && !slices.ContainsFunc(s.Labels, func(l string) bool { return matches(r.Labels, l) }) {
		return false
	}
	kinds := r.Kinds
	if len(kinds) == 0 {
		kinds = []policy.Kind{policy.KindTool}
	}
	return slices.ContainsFunc(s.Tools, func(t policy.Tool) bool {
		return slices.Contains(kinds, t.Kind) && (len(r.Risks) == 0 || slices.Contains(r.Risks, t.Risk)) && (len(r.Names) == 0 || matches(r.Names, t.Name)) &&
			(len(r.ToolLabels) == 0 || slices.ContainsFunc(t.Labels, func(l string) bool { return matches(r.ToolLabels, l) }))
	})
}
