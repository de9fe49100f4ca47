package delivery

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// SprawlFilter selects servers and tools of the report; zero fields select everything.
type SprawlFilter struct {
	Show  string // "no_owner", "never_called", "unused" (for 90 days), "duplicate" (on another server as well)
	Query string // part of the name of a server or a tool
	After string // cursor: Sprawl.Tools.Next of the page before
	Limit int    // tools on a page, 1 to 200, default 50
}

// Sprawl says what is there and perhaps need not be, and what it costs. A call is whatever a gateway recorded, a
// refused one as well: somebody wanted the tool.
type Sprawl struct {
	Since   *time.Time // of the first call record: before it, nobody knows of use; nil: there is none
	Totals  SprawlTotals
	Servers []SprawlServer            // the most expensive first, at most 200; only on the first page
	Tools   registry.Page[SprawlTool] // the most expensive first
}

// SprawlTotals sums up all servers, whatever the filter; only on the first page.
type SprawlTotals struct {
	Servers     int
	NoOwner     int // servers
	Tools       int // offered or pinned
	Tokens      int // an estimate, as SprawlServer.Tokens
	NeverCalled int // pinned tools
	Unused      int // pinned tools
	Duplicates  int // tools
}

// SprawlServer is a server that is not retired. NeverCalled and Unused count pinned tools: the others cannot be called.
type SprawlServer struct {
	ID          string
	Name        string
	TeamName    string
	State       string
	Owned       bool // its team has a group or a member
	Tools       int  // offered or pinned; prompts and resources too
	Pinned      int
	Tokens      int // estimate of what the list of its pinned tools costs a model; prompts and resources are not listed to it
	NeverCalled int // since call records are kept
	Unused      int // not called for 90 days, and known for as long
	Duplicates  int // tools whose very name another server offers
	LastCall    *time.Time
}

// SprawlTool is a tool, prompt or resource that is offered or pinned. Name is the server's text: hostile.
type SprawlTool struct {
	ServerID   string
	ServerName string
	TeamName   string
	ToolID     string
	Name       string
	Kind       policy.Kind
	Risk       policy.Risk // "" before the first pin
	Pinned     bool
	Tokens     int // estimate, of what is pinned, else of what is served; 0: not counted yet
	Calls90    int // in the last 90 days
	LastCall   *time.Time
	Duplicates []string // servers that offer one of the same name, at most 10
}

// maxSprawlServers bounds the list of servers.
const maxSprawlServers = 200

// Sprawl reports on the servers that are not retired, and on their tools. It needs identity.ReadRegistry.
// Problem: Invalid invalid_cursor.
func (d *Delivery) Sprawl(ctx context.Context, who identity.Principal, f SprawlFilter) (Sprawl, error) {
	if err := who.Can(identity.ReadRegistry, ""); err != nil {
		return Sprawl{}, err
	}
	var s Sprawl
	err := pgx.BeginTxFunc(ctx, d.pool, registry.ReadOnly, func(tx pgx.Tx) (err error) {
		if _, err = tx.Exec(ctx, `set local jit = off`); err != nil { // compiling takes as long as the query
			return fmt.Errorf("preparing the report: %w", err)
		}
		if err = tx.QueryRow(ctx, `select min(at) from calls`).Scan(&s.Since); err != nil {
			return fmt.Errorf("reading the first call: %w", err)
		}
		if f.After == "" {
			if s.Totals, s.Servers, err = sprawlServers(ctx, tx, f); err != nil {
				return err
			}
		}
		s.Tools, err = sprawlTools(ctx, tx, f)
		return err
	})
	return s, err
}

// unstaffed is true of a team m with neither a group nor a member.
const unstaffed = `
	(cardinality(m.idp_groups) = 0
	 and not exists (select from team_members x join people p on p.id = x.person_id
	                 where x.team_id = m.id and p.disabled_at is null))`

// liveTools are the tools that are offered or pinned of servers that are not retired, with their definition: what is
// pinned, else what is served.
const liveTools = `
	tools t
	join servers s on s.id = t.server_id and s.state <> 'retired'
	left join definitions p on p.id = t.pinned_id
	left join definitions o on t.pinned_id is null and o.tool_id = t.id and o.digest = t.observed_digest`

const isLive = `(t.pinned_id is not null or t.observed_digest is not null)`

// callsOf are the calls c of a live tool t of the server s; the last of them is one look into an index.
const (
	callsOf  = `calls c where c.server = s.name and c.tool = t.name and c.kind = t.kind`
	lastCall = `(select c.at from ` + callsOf + ` order by c.at desc limit 1)`
)

// namesakes are other servers' live tools e of the very name of t. A digest covers the name, so the same definition
// elsewhere has the same name.
const namesakes = `
	tools e
	join servers v on v.id = e.server_id and v.state <> 'retired'
	where e.skeleton = t.skeleton and e.skeleton <> '' and e.kind = t.kind and e.name = t.name and e.server_id <> t.server_id
	  and (e.pinned_id is not null or e.observed_digest is not null)`

// ago90 is the time before which a last call is no use.
const ago90 = `clock_timestamp() - interval '90 days'`

func sprawlServers(ctx context.Context, tx pgx.Tx, f SprawlFilter) (SprawlTotals, []SprawlServer, error) {
	rows, _ := tx.Query(ctx, `
		with live as materialized (
		  select t.server_id, t.kind, t.pinned_id is not null as pinned, coalesce(p.tokens, 0) as tokens, t.created_at,
		         `+lastCall+` as last_call,
		         count(*) over (partition by t.kind, t.name) > 1 as duplicate
		  from `+liveTools+`
		  where `+isLive+`),
		sums as (
		  select l.server_id, count(*) as tools, count(*) filter (where l.pinned) as pinned,
		         coalesce(sum(l.tokens) filter (where l.pinned and l.kind = 'tool'), 0) as tokens,
		         count(*) filter (where l.pinned and l.last_call is null) as never_called,
		         count(*) filter (where l.pinned and coalesce(l.last_call, l.created_at) < `+ago90+`) as unused,
		         count(*) filter (where l.duplicate) as duplicates, max(l.last_call) as last_call
		  from live l group by l.server_id)
		select s.id, s.name, m.name as team_name, s.state, not `+unstaffed+` as owned,
		       coalesce(u.tools, 0) as tools, coalesce(u.pinned, 0) as pinned, coalesce(u.tokens, 0) as tokens,
		       coalesce(u.never_called, 0) as never_called, coalesce(u.unused, 0) as unused,
		       coalesce(u.duplicates, 0) as duplicates, u.last_call
		from servers s
		join teams m on m.id = s.team_id
		left join sums u on u.server_id = s.id
		where s.state <> 'retired'
		order by coalesce(u.tokens, 0) desc, s.name`)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[SprawlServer])
	if err != nil {
		return SprawlTotals{}, nil, fmt.Errorf("summing up servers: %w", err)
	}
	totals, shown := SprawlTotals{}, []SprawlServer{}
	for i := range all {
		totals.add(all[i])
		if f.shows(all[i]) && len(shown) < maxSprawlServers {
			shown = append(shown, all[i])
		}
	}
	return totals, shown, nil
}

func (t *SprawlTotals) add(s SprawlServer) {
	t.Servers++
	if !s.Owned {
		t.NoOwner++
	}
	t.Tools += s.Tools
	t.Tokens += s.Tokens
	t.NeverCalled += s.NeverCalled
	t.Unused += s.Unused
	t.Duplicates += s.Duplicates
}

// shows reports whether the server is one of those the filter asks for.
func (f SprawlFilter) shows(s SprawlServer) bool {
	if !strings.Contains(strings.ToLower(s.Name), strings.ToLower(f.Query)) {
		return false
	}
	switch f.Show {
	case "no_owner":
		return !s.Owned
	case "never_called":
		return s.NeverCalled > 0
	case "unused":
		return s.Unused > 0
	case "duplicate":
		return s.Duplicates > 0
	}
	return true
}

func sprawlTools(ctx context.Context, tx pgx.Tx, f SprawlFilter) (registry.Page[SprawlTool], error) {
	limit := 50
	if f.Limit > 0 {
		limit = min(f.Limit, 200)
	}
	tokens, id, err := readCursor(f.After)
	if err != nil {
		return registry.Page[SprawlTool]{}, err
	}
	rows, _ := tx.Query(ctx, `
		with page as materialized (
		  select t.id, t.server_id, t.kind, t.name, t.skeleton, coalesce(t.risk, '') as risk, t.pinned_id is not null as pinned,
		         coalesce(p.tokens, o.tokens, 0) as tokens, m.name as team_name
		  from `+liveTools+`
		  join teams m on m.id = s.team_id
		  where `+isLive+`
		    and case @show
		          when 'no_owner' then `+unstaffed+`
		          when 'never_called' then t.pinned_id is not null and `+lastCall+` is null
		          when 'unused' then t.pinned_id is not null and coalesce(`+lastCall+`, t.created_at) < `+ago90+`
		          when 'duplicate' then exists (select from `+namesakes+`)
		          else true
		        end
		    and (@query = '' or t.name ilike @query or s.name ilike @query)
		    and (@id = '' or coalesce(p.tokens, o.tokens, 0) < @tokens or (coalesce(p.tokens, o.tokens, 0) = @tokens and t.id > @id))
		  order by coalesce(p.tokens, o.tokens, 0) desc, t.id
		  limit @limit)
		select t.server_id, s.name as server_name, t.team_name, t.id as tool_id, t.name, t.kind, t.risk, t.pinned, t.tokens,
		       `+lastCall+` as last_call,
		       (select count(*) from `+callsOf+` and c.at >= `+ago90+`) as calls90,
		       array(select v.name from `+namesakes+` order by v.name limit 10) as duplicates
		from page t
		join servers s on s.id = t.server_id
		order by t.tokens desc, t.id`,
		pgx.StrictNamedArgs{"show": f.Show, "query": pattern(f.Query), "tokens": tokens, "id": id, "limit": limit + 1})
	tools, err := pgx.CollectRows(rows, pgx.RowToStructByName[SprawlTool])
	if err != nil {
		return registry.Page[SprawlTool]{}, fmt.Errorf("listing tools by what they cost: %w", err)
	}
	if len(tools) <= limit {
		return registry.Page[SprawlTool]{Items: tools}, nil
	}
	last := tools[limit-1]
	return registry.Page[SprawlTool]{Items: tools[:limit], Next: strconv.Itoa(last.Tokens) + "." + last.ToolID}, nil
}

// readCursor takes the cursor of a page apart: what its last tool costs, and its id.
func readCursor(after string) (tokens int, id string, err error) {
	if after == "" {
		return 0, "", nil
	}
	number, id, _ := strings.Cut(after, ".")
	if tokens, err = strconv.Atoi(number); err != nil || id == "" {
		return 0, "", problem.New(problem.Invalid, "invalid_cursor", "This list cannot be continued from there. Begin it again.")
	}
	return tokens, id, nil
}

// pattern makes a pattern for ilike that finds s anywhere.
func pattern(s string) string {
	if s == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}
