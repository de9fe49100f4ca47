package approvals

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// waysInto says who may approve a request, and how far each set of them is.
func waysInto(ctx context.Context, tx pgx.Tx, r *row, d *Detail) error {
	cast, err := ballots(ctx, tx, r.ID)
	if err != nil {
		return err
	}
	names, err := teamNames(ctx, tx, r.Terms)
	if err != nil {
		return err
	}
	t := r.terms()
	d.MostScope, d.GivenScope, d.StepUp = t.widest(), r.Scope, t.demand.StepUp
	f := t.demand.Fallback
	for i, set := range t.sets() {
		if fallback := f != nil && t.escalated && i == len(t.sets())-1; fallback {
			d.Fallback = &Escalation{Way: t.way(set, names, cast), At: *r.EscalatedAt, Asked: true}
			continue
		}
		d.Ways = append(d.Ways, t.way(set, names, cast))
	}
	if f != nil && !t.escalated && r.EscalateAt != nil {
		set := policy.Approvers{Quorum: f.Quorum, Teams: f.Teams}
		d.Fallback = &Escalation{Way: t.way(set, names, nil), At: *r.EscalateAt}
	}
	return nil
}

func (t *terms) way(set policy.Approvers, names map[string]string, cast []ballot) Way {
	w := Way{Quorum: set.Quorum}
	for _, id := range set.Teams {
		w.Teams = append(w.Teams, names[id])
	}
	for _, b := range cast {
		in := slices.ContainsFunc(b.Teams, func(id string) bool { return slices.Contains(set.Teams, id) })
		if in && b.Decision == Approve && b.signedInAs(t.demand.StepUp) {
			w.Votes++
		}
	}
	return w
}

// teamNames are the names of all teams that terms speak of.
func teamNames(ctx context.Context, tx pgx.Tx, a policy.Approval) (map[string]string, error) {
	ids := slices.Clone(a.Teams)
	for _, set := range a.Alternatives {
		ids = append(ids, set.Teams...)
	}
	if a.Fallback != nil {
		ids = append(ids, a.Fallback.Teams...)
	}
	names := map[string]string{}
	rows, _ := tx.Query(ctx, `select id, name from teams where id = any ($1)`, ids)
	var id, name string
	if _, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { names[id] = name; return nil }); err != nil {
		return nil, fmt.Errorf("reading the teams that are asked: %w", err)
	}
	return names, nil
}
