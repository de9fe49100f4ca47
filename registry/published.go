package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Published is one version of a server, as the MCP registry API shows it. A proposed server is not published, nor is
// one that was retired before anything of it was pinned.
type Published struct {
	ID          string // of the version: a cursor
	ServerID    string
	Name        string
	Title       string
	Description string
	State       State
	TeamName    string
	URL         string // of the server itself: never shown, gateways stand before it
	Version     string
	Manifest    Manifest `db:"-"` // of this version, or else of the newest that has one; without Name when there is none
	Latest      bool     // published last
	PublishedAt time.Time
	ChangedAt   time.Time // of the server: when its state may have changed
	UpdatedAt   time.Time
}

// PublishedFilter selects published versions; zero fields select everything that is not retired.
type PublishedFilter struct {
	Name    string     // of one server
	Search  string     // part of the name
	Version string     // "latest", or one version
	Since   *time.Time // changed at that time or later
	Retired bool       // also those of retired servers
	After   string     // cursor: Page.Next of the page before
	Limit   int        // 1 to 100, default 30
}

// Latest selects the newest version of each server.
const Latest = "latest"

// selectPublished makes the query for the rows that a condition selects, in an order, at most @limit of them. Only for
// those it then looks for manifests, whatever plan the database chooses.
func selectPublished(where, order string) string {
	return `
	with p as materialized (
	  select v.id, v.server_id, s.name, s.title, s.description, s.state, m.name as team_name, v.version, v.published_at,
	         s.changed_at, greatest(v.updated_at, s.changed_at) as updated_at, ` + isLatest + ` as latest
	  from server_versions v
	  join servers s on s.id = v.server_id
	  join teams m on m.id = s.team_id
	  where (s.state in ('active', 'suspended') or @retired and s.state = 'retired' and ` + wasPinned + `)
	    and ` + where + `
	  order by ` + order + `
	  limit @limit)
	select v.id, v.server_id, v.name, v.title, v.description, v.state, v.team_name, coalesce(e.url, '') as url, v.version,
	       coalesce(k.manifest, '{}') as manifest, v.latest, v.published_at, v.changed_at, v.updated_at
	from p v
	left join endpoints e on e.server_id = v.server_id and e.ended_at is null
	left join lateral (
	  select n.manifest from server_versions n
	  where n.server_id = v.server_id and n.manifest <> '{}'
	  order by n.id = v.id desc, n.published_at desc limit 1) k on true
	order by ` + strings.ReplaceAll(order, "s.name", "v.name")
}

const (
	isLatest = `not exists (
	  select 1 from server_versions n where n.server_id = v.server_id and (n.published_at, n.id) > (v.published_at, v.id))`
	wasPinned = `exists (
	  select 1 from tools t join definitions d on d.tool_id = t.id
	  where t.server_id = s.id and d.decided_at is not null and d.state in ('approved', 'superseded'))`
)

// Published lists versions of servers, by name and then by version. It needs identity.ReadRegistry.
//
// Problem: Invalid invalid_cursor.
func (r *Registry) Published(ctx context.Context, who identity.Principal, f PublishedFilter) (Page[Published], error) {
	if err := mayRead(who); err != nil {
		return Page[Published]{}, err
	}
	name, version, err := r.publishedAfter(ctx, f.After)
	if err != nil {
		return Page[Published]{}, err
	}
	limit := limitOf(f.Limit, 30, 100)
	rows, _ := r.pool.Query(ctx, selectPublished(`
		(@name = '' or s.name = @name)
		and (@search = '' or s.name ilike @search)
		and (@version = '' or v.version = @version or @version = 'latest' and `+isLatest+`)
		and (@since::timestamptz is null or greatest(v.updated_at, s.changed_at) >= @since)
		and (@after = '' or (lower(s.name), v.version) > (@after, @after_version))`,
		`lower(s.name), v.version`),
		pgx.StrictNamedArgs{
			"name": f.Name, "search": contains(f.Search), "version": f.Version, "since": f.Since, "retired": f.Retired,
			"after": name, "after_version": version, "limit": limit + 1,
		})
	found, err := pgx.CollectRows(rows, readPublished)
	if err != nil {
		return Page[Published]{}, fmt.Errorf("listing published versions: %w", err)
	}
	return pageOf(found, limit, func(p Published) string { return p.ID }), nil
}

// publishedAfter is where a cursor stands. Names and versions never change, so it stays there.
func (r *Registry) publishedAfter(ctx context.Context, cursor string) (name, version string, err error) {
	if cursor == "" {
		return "", "", nil
	}
	type row struct{ Name, Version string }
	rows, _ := r.pool.Query(ctx, `
		select lower(s.name) as name, v.version from server_versions v join servers s on s.id = v.server_id where v.id = @id`,
		pgx.StrictNamedArgs{"id": cursor})
	at, err := one(rows, pgx.RowToStructByName[row], "reading the cursor",
		problem.New(problem.Invalid, "invalid_cursor", "The cursor is none that was given out. Begin with the first page."))
	return at.Name, at.Version, err
}

// PublishedVersion gives one version of a server, or its latest. It needs identity.ReadRegistry.
//
// Problem: NotFound no_such_server, also for a version that is not there.
func (r *Registry) PublishedVersion(ctx context.Context, who identity.Principal, name, version string, retired bool) (Published, error) {
	if name == "" || version == "" {
		return Published{}, noSuchServer()
	}
	page, err := r.Published(ctx, who, PublishedFilter{Name: name, Version: version, Retired: retired, Limit: 1})
	switch {
	case err != nil:
		return Published{}, err
	case len(page.Items) == 0:
		return Published{}, noSuchServer()
	}
	return page.Items[0], nil
}

// mostVersions bounds the one list that has no pages.
const mostVersions = 1000

// PublishedVersions gives all versions of a server, newest first, and no more than 1,000. It needs
// identity.ReadRegistry. Problem: NotFound no_such_server.
func (r *Registry) PublishedVersions(ctx context.Context, who identity.Principal, name string, retired bool) ([]Published, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, selectPublished(`s.name = @name`, `v.published_at desc, v.id desc`),
		pgx.StrictNamedArgs{"name": name, "retired": retired, "limit": mostVersions})
	found, err := pgx.CollectRows(rows, readPublished)
	switch {
	case err != nil:
		return nil, fmt.Errorf("listing versions: %w", err)
	case len(found) == 0:
		return nil, noSuchServer()
	}
	return found, nil
}

func readPublished(row pgx.CollectableRow) (Published, error) {
	p, err := pgx.RowToStructByName[struct {
		Published
		ManifestRaw json.RawMessage `db:"manifest"`
	}](row)
	if err != nil {
		return Published{}, err
	}
	if err := json.Unmarshal(p.ManifestRaw, &p.Manifest); err != nil {
		return Published{}, fmt.Errorf("decoding a manifest: %w", err)
	}
	return p.Published, nil
}
