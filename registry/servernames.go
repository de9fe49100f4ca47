package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// ServerIDs gives the ids of the servers of these names, as they were registered; a name that no server has is left out. It
// needs identity.ReadRegistry.
func (r *Registry) ServerIDs(ctx context.Context, who identity.Principal, names []string) (map[string]string, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `select name, id from servers where lower(name) = any (select lower(n) from unnest(@names::text[]) n)`,
		pgx.StrictNamedArgs{"names": names})
	ids := map[string]string{}
	var name, id string
	_, err := pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		ids[name] = id
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ids of servers: %w", err)
	}
	return ids, nil
}
