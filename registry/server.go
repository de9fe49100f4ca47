package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// State is how far a server is in its life.
type State string

// The states of a server.
const (
	Proposed  State = "proposed"
	Active    State = "active"
	Suspended State = "suspended"
	Retired   State = "retired"
)

// Server is a registered MCP server, with its current endpoint and what its tools add up to.
type Server struct {
	ID            string
	Name          string
	Title         string
	Description   string
	TeamID        string
	TeamName      string
	Labels        []string
	Requests      []policy.ClientRequest // what it may ask of clients, sorted
	State         State
	Version       int64 // for SetState: what the reader saw
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	ChangedAt     time.Time
	Endpoint      Endpoint `db:"-"`
	Counts
}

// Counts sums up the tools, prompts and resources of a server.
type Counts struct {
	Offered     int // served at the last look
	Pinned      int
	ReadOnly    int // pinned, by risk
	Write       int
	Destructive int
	Held        int        // pinned, and changed since
	Pending     int        // never pinned, waiting for the owner
	CheckedAt   *time.Time // when a gateway last looked
}

// Endpoint is where a server is, at present or until EndedAt.
type Endpoint struct {
	ID string
	Location
	Digest    canonical.Digest
	CreatedAt time.Time
	EndedAt   *time.Time
}

// serverRow is how a server comes out of the database.
type serverRow struct {
	Server
	endpointRow
}

// endpointRow holds the columns of endpoints; those of a retired server may be null.
type endpointRow struct {
	EndpointID        string
	Transport         Transport
	URL               string
	Command           string
	CommandDigest     []byte
	EndpointDigest    []byte
	EndpointCreatedAt *time.Time
	EndpointEndedAt   *time.Time
}

const endpointColumns = `
	coalesce(e.id, '') as endpoint_id, coalesce(e.transport, '') as transport, coalesce(e.url, '') as url,
	coalesce(e.command, '') as command, e.command_digest, e.digest as endpoint_digest,
	e.created_at as endpoint_created_at, e.ended_at as endpoint_ended_at`

func (e endpointRow) endpoint() Endpoint {
	out := Endpoint{ID: e.EndpointID, Location: Location{Transport: e.Transport, URL: e.URL, Command: e.Command}, EndedAt: e.EndpointEndedAt}
	copy(out.Digest[:], e.EndpointDigest)
	if e.Transport == Stdio {
		out.CommandDigest = digestOf(e.CommandDigest).String()
	}
	if e.EndpointCreatedAt != nil {
		out.CreatedAt = *e.EndpointCreatedAt
	}
	return out
}

// digestOf reads a digest column.
func digestOf(column []byte) (d canonical.Digest) {
	copy(d[:], column)
	return d
}

func (r serverRow) server() Server {
	r.Endpoint = r.endpoint()
	return r.Server
}

const selectServers = `
	select s.id, s.name, s.title, s.description, s.team_id, m.name as team_name, s.labels, s.client_requests as requests, s.state, s.version,
	       s.created_by, coalesce(p.name, s.created_by) as created_by_name, s.created_at, s.changed_at, ` + endpointColumns + `,
	       c.offered, c.pinned, c.read_only, c.write, c.destructive, c.held, c.pending, greatest(c.checked_at, e.looked_at) as checked_at
	from servers s
	join teams m on m.id = s.team_id
	left join people p on p.id = s.created_by
	left join endpoints e on e.server_id = s.id and e.ended_at is null
	cross join lateral (
	  select count(t.observed_digest) as offered,
	         count(t.pinned_id) as pinned,
	         count(*) filter (where t.pinned_id is not null and t.risk = 'read_only') as read_only,
	         count(*) filter (where t.pinned_id is not null and t.risk = 'write') as write,
	         count(*) filter (where t.pinned_id is not null and t.risk = 'destructive') as destructive,
	         count(*) filter (where t.pinned_id is not null and t.held_at is not null) as held,
	         count(*) filter (where t.pinned_id is null and t.observed_digest is not null and exists (
	           select 1 from definitions d where d.tool_id = t.id and d.digest = t.observed_digest and d.state = 'pending')) as pending,
	         max(t.observed_at) as checked_at
	  from tools t where t.server_id = s.id) c `

func noSuchServer() *problem.Error {
	return problem.New(problem.NotFound, "no_such_server", "There is no such server.")
}

// Server gives one server. It needs identity.ReadRegistry. Problem: NotFound no_such_server.
func (r *Registry) Server(ctx context.Context, who identity.Principal, id string) (Server, error) {
	if err := mayRead(who); err != nil {
		return Server{}, err
	}
	rows, _ := r.pool.Query(ctx, selectServers+`where s.id = @id`, pgx.StrictNamedArgs{"id": id})
	row, err := one(rows, pgx.RowToStructByName[serverRow], "reading server", noSuchServer())
	return row.server(), err
}

// ServerNamed gives the server of that name, ignoring case. Otherwise it is like Server.
func (r *Registry) ServerNamed(ctx context.Context, who identity.Principal, name string) (Server, error) {
	if err := mayRead(who); err != nil {
		return Server{}, err
	}
	rows, _ := r.pool.Query(ctx, selectServers+`where lower(s.name) = lower(@name)`, pgx.StrictNamedArgs{"name": name})
	row, err := one(rows, pgx.RowToStructByName[serverRow], "reading server", noSuchServer())
	return row.server(), err
}

// ServerFilter selects servers; zero fields select everything.
type ServerFilter struct {
	Query  string // part of name or title
	TeamID string
	State  State
	Label  string
	Held   bool   // with a held tool
	After  string // cursor: Page.Next of the page before
	Limit  int    // 1 to 200, default 50
}

// listServers finds the page first: only its servers' tools are counted then, whatever plan the database chooses.
const listServers = `
	with page as materialized (
	  select s.id from servers s
	  where (@query = '' or s.name ilike @query or s.title ilike @query)
	    and (@team = '' or s.team_id = @team)
	    and (@state = '' or s.state = @state)
	    and (@label = '' or @label = any (s.labels))
	    and (not @held or exists (select 1 from tools h where h.server_id = s.id and h.pinned_id is not null and h.held_at is not null))
	    and (@after = '' or lower(s.name) > (select lower(b.name) from servers b where b.id = @after))
	  order by lower(s.name)
	  limit @limit)` + selectServers + `
	where s.id in (select id from page)
	order by lower(s.name)`

// Servers lists servers by name. It needs identity.ReadRegistry.
func (r *Registry) Servers(ctx context.Context, who identity.Principal, f ServerFilter) (Page[Server], error) {
	if err := mayRead(who); err != nil {
		return Page[Server]{}, err
	}
	limit := limitOf(f.Limit, 50, 200)
	rows, _ := r.pool.Query(ctx, listServers,
		pgx.StrictNamedArgs{
			"query": contains(f.Query), "team": f.TeamID, "state": string(f.State), "label": f.Label,
			"held": f.Held, "after": f.After, "limit": limit + 1,
		})
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Server, error) {
		s, err := pgx.RowToStructByName[serverRow](row)
		return s.server(), err
	})
	if err != nil {
		return Page[Server]{}, fmt.Errorf("listing servers: %w", err)
	}
	return pageOf(found, limit, func(s Server) string { return s.ID }), nil
}

// Endpoints gives where the server is and was, newest first. It needs identity.ReadRegistry.
func (r *Registry) Endpoints(ctx context.Context, who identity.Principal, serverID string) ([]Endpoint, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `select `+endpointColumns+` from endpoints e where e.server_id = @server order by e.created_at desc, e.id`,
		pgx.StrictNamedArgs{"server": serverID})
	endpoints, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Endpoint, error) {
		e, err := pgx.RowToStructByName[endpointRow](row)
		return e.endpoint(), err
	})
	if err != nil {
		return nil, fmt.Errorf("reading endpoints: %w", err)
	}
	return endpoints, nil
}
