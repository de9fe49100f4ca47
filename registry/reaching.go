package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/policy"
)

// GrantsReaching gives the grants that reach a pinned tool today, by the same code that compiles the policy: who is
// affected when the tool changes. A grant whose time has not come is among them. It needs identity.ReadPolicy.
// Problem: NotFound no_such_tool.
func (r *Registry) GrantsReaching(ctx context.Context, who identity.Principal, toolID string) ([]Grant, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	serverID, err := r.serverOfTool(ctx, toolID)
	if err != nil {
		return nil, err
	}
	var snapshot Snapshot
	err = pgx.BeginTxFunc(ctx, r.pool, ReadOnly, func(tx pgx.Tx) (err error) {
		snapshot, err = r.permitsTx(ctx, tx, serverID)
		return err
	})
	if err != nil {
		return nil, err
	}
	document, err := compilePreview(snapshot, snapshot.Grants)
	if err != nil {
		return nil, err
	}
	return r.grantsByID(ctx, grantsOf(document, toolID))
}

// grantsOf gives the ids of the grants that point to a tool.
func grantsOf(d policy.Document, toolID string) []string {
	ids := []string{}
	for _, server := range d.Servers {
		for _, t := range server.Tools {
			if t.ID != toolID {
				continue
			}
			for _, i := range t.Grants {
				ids = append(ids, d.Grants[i].ID)
			}
		}
	}
	return ids
}

func (r *Registry) grantsByID(ctx context.Context, ids []string) ([]Grant, error) {
	rows, _ := r.pool.Query(ctx, selectGrants+`where g.id = any (@ids) order by g.created_at desc, g.id desc`,
		pgx.StrictNamedArgs{"ids": ids})
	grants, err := pgx.CollectRows(rows, pgx.RowToStructByName[Grant])
	if err != nil {
		return nil, fmt.Errorf("reading grants: %w", err)
	}
	return grants, nil
}
