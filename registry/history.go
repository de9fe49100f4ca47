package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/policy"
)

// HistoryFilter selects definitions of a server; zero fields select everything.
type HistoryFilter struct {
	ServerID string // required
	Query    string // part of the tool's name
	After    string // cursor: Page.Next of the page before
	Limit    int    // 1 to 200, default 50
}

// Version is one definition in the history of a server, without its text.
type Version struct {
	Definition
	ToolName string
	ToolKind policy.Kind
	Pinned   bool // it is what may be called
	Served   bool // it is what was served last
}

type versionRow struct {
	Version
	DigestColumn []byte `db:"digest"`
}

// History gives the definitions of all tools of a server, those first that were seen last. Raw is left out. It
// needs identity.ReadRegistry.
func (r *Registry) History(ctx context.Context, who identity.Principal, f HistoryFilter) (Page[Version], error) {
	if err := mayRead(who); err != nil {
		return Page[Version]{}, err
	}
	limit := limitOf(f.Limit, 50, 200)
	rows, _ := r.pool.Query(ctx, `
		select d.id, d.tool_id, d.number, d.digest, null::bytea as raw, d.proposed_risk, d.findings, d.state, d.first_seen_at,
		       d.decided_at, d.decided_by, coalesce(p.name, d.decided_by) as decided_by_name, d.reason,
		       t.name as tool_name, t.kind as tool_kind, coalesce(d.tokens, 0) as tokens,
		       d.id is not distinct from t.pinned_id as pinned, d.digest is not distinct from t.observed_digest as served
		from definitions d
		join tools t on t.id = d.tool_id
		left join people p on p.id = d.decided_by
		where t.server_id = @server
		  and (@query = '' or t.name ilike @query)
		  and (@after = '' or (d.first_seen_at, d.id) < (select b.first_seen_at, b.id from definitions b where b.id = @after))
		order by d.first_seen_at desc, d.id desc
		limit @limit`,
		pgx.StrictNamedArgs{"server": f.ServerID, "query": contains(f.Query), "after": f.After, "limit": limit + 1})
	versions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Version, error) {
		v, err := pgx.RowToStructByName[versionRow](row)
		v.Digest = digestOf(v.DigestColumn)
		return v.Version, err
	})
	if err != nil {
		return Page[Version]{}, fmt.Errorf("reading the history of a server: %w", err)
	}
	return pageOf(versions, limit, func(v Version) string { return v.ID }), nil
}
