package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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
	Limit int    // tools on a page, 1 to 5,000, default 50
}

// Sprawl says what is there and perhaps need not be, and what it costs. A call is whatever a gateway recorded, a
// refused one as well: somebody wanted the tool.
type Sprawl struct {
	Since   *time.Time // the day of the first call that is known: before it, nobody knows of use; nil: there is none
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

// Bounds of the report: servers, and tools on a page.
const (
	maxSprawlServers = 200
	maxSprawlTools   = 5_000
)

// Sprawl reports on the servers that are not retired, and on their tools. It reads all of them once, and sums up, sorts
// and turns pages by itself. It needs identity.ReadRegistry. Problem: Invalid invalid_cursor.
func (d *Delivery) Sprawl(ctx context.Context, who identity.Principal, f SprawlFilter) (s Sprawl, err error) {
	if err := who.Can(identity.ReadRegistry, ""); err != nil {
		return Sprawl{}, err
	}
	after, err := readCursor(f.After)
	if err != nil {
		return Sprawl{}, err
	}
	err = pgx.BeginTxFunc(ctx, d.pool, registry.ReadOnly, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select min(at) from usage_days`).Scan(&s.Since); err != nil {
			return fmt.Errorf("reading the first call: %w", err)
		}
		all, err := readSprawl(ctx, tx)
		if err != nil {
			return err
		}
		if err := d.costs.fill(ctx, tx, all.tools); err != nil {
			return err
		}
		if f.After == "" {
			s.Totals, s.Servers = all.sums(f)
		}
		s.Tools = all.page(f, after)
		return countCalls(ctx, tx, s.Tools.Items)
	})
	return s, err
}

// sprawlReport is all that is there.
type sprawlReport struct {
	servers []SprawlServer // by name
	places  map[string]int // by id, in servers
	tools   []sprawlLine
	namely  map[toolName][]string // ids of the servers that have a tool of that kind and name
}

type toolName struct {
	kind policy.Kind
	name string
}

// sprawlLine is a tool of a server that is not retired.
type sprawlLine struct {
	toolName
	id, serverID string
	definition   string // id of what is pinned, else of what is offered
	risk         policy.Risk
	pinned       bool
	unused       bool // could have been called for 90 days, and was not
	tokens       int
	lastCall     *time.Time
}

func readSprawl(ctx context.Context, tx pgx.Tx) (*sprawlReport, error) {
	all := &sprawlReport{places: map[string]int{}, namely: map[toolName][]string{}}
	rows, _ := tx.Query(ctx, `
		select s.id, s.name, s.state, m.name as team_name,
		       cardinality(m.idp_groups) > 0
		       or exists (select from team_members x join people p on p.id = x.person_id
		                  where x.team_id = m.id and p.disabled_at is null) as owned
		from servers s join teams m on m.id = s.team_id
		where s.state <> 'retired'
		order by s.name`)
	var err error
	all.servers, err = pgx.CollectRows(rows, pgx.RowToStructByNameLax[SprawlServer])
	if err != nil {
		return nil, fmt.Errorf("reading servers: %w", err)
	}
	for i := range all.servers {
		all.places[all.servers[i].ID] = i
	}
	return all, all.readTools(ctx, tx)
}

// readTools reads what is offered or pinned, each with its last call. What it costs is filled in by readTokens.
func (all *sprawlReport) readTools(ctx context.Context, tx pgx.Tx) error {
	used, err := readUsage(ctx, tx)
	if err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, `
		select t.kind, t.name, t.id, t.server_id, coalesce(t.risk, ''), t.pinned_id is not null,
		       coalesce(t.pinned_id, (select d.id from definitions d where d.tool_id = t.id and d.digest = t.observed_digest), ''),
		       t.created_at < clock_timestamp() - interval '90 days'
		from tools t
		where t.pinned_id is not null or t.observed_digest is not null`)
	var t sprawlLine
	var old bool
	all.tools = make([]sprawlLine, 0, 1024)
	_, err = pgx.ForEachRow(rows, []any{&t.kind, &t.name, &t.id, &t.serverID, &t.risk, &t.pinned, &t.definition, &old}, func() error {
		place, there := all.places[t.serverID]
		if !there { // its server is retired
			return nil
		}
		use := used[usedTool{all.servers[place].Name, t.name, t.kind}]
		t.lastCall, t.unused = use.last, t.pinned && (use.last == nil && old || use.last != nil && use.long)
		all.tools = append(all.tools, t)
		all.namely[t.toolName] = append(all.namely[t.toolName], t.serverID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading tools: %w", err)
	}
	return nil
}

// duplicate reports whether another server has a tool of that name. A digest covers the name, so the same definition
// elsewhere has the same name.
func (all *sprawlReport) duplicate(t *sprawlLine) bool { return len(all.namely[t.toolName]) > 1 }

// sums sums up every server, and gives those that the filter asks for, the most expensive first.
func (all *sprawlReport) sums(f SprawlFilter) (totals SprawlTotals, shown []SprawlServer) {
	for i := range all.tools {
		t := &all.tools[i]
		all.servers[all.places[t.serverID]].add(t, all.duplicate(t))
	}
	for _, s := range all.servers {
		totals.add(s)
		if f.shows(s) {
			shown = append(shown, s)
		}
	}
	slices.SortStableFunc(shown, func(a, b SprawlServer) int { return cmp.Compare(b.Tokens, a.Tokens) })
	return totals, shown[:min(len(shown), maxSprawlServers)]
}

func (s *SprawlServer) add(t *sprawlLine, duplicate bool) {
	s.Tools++
	if duplicate {
		s.Duplicates++
	}
	if t.lastCall != nil && (s.LastCall == nil || t.lastCall.After(*s.LastCall)) {
		s.LastCall = t.lastCall
	}
	if !t.pinned {
		return
	}
	s.Pinned++
	if t.kind == policy.KindTool {
		s.Tokens += t.tokens
	}
	if t.lastCall == nil {
		s.NeverCalled++
	}
	if t.unused {
		s.Unused++
	}
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
	if !holds(s.Name, f.Query) {
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

// holds reports whether text has part in it, ignoring case.
func holds(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// page gives the tools that the filter asks for, the most expensive first, from after the cursor's on.
func (all *sprawlReport) page(f SprawlFilter, after sprawlCursor) registry.Page[SprawlTool] {
	limit := 50
	if f.Limit > 0 {
		limit = min(f.Limit, maxSprawlTools)
	}
	var found []*sprawlLine
	for i := range all.tools {
		if t := &all.tools[i]; after.before(t) && all.asked(f, t) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *sprawlLine) int { return cmp.Or(cmp.Compare(b.tokens, a.tokens), cmp.Compare(a.id, b.id)) })
	var page registry.Page[SprawlTool]
	for _, t := range found[:min(len(found), limit)] {
		page.Items = append(page.Items, all.tool(t))
	}
	if len(found) > limit {
		page.Next = strconv.Itoa(found[limit-1].tokens) + "." + found[limit-1].id
	}
	return page
}

// asked reports whether the filter asks for the tool.
func (all *sprawlReport) asked(f SprawlFilter, t *sprawlLine) bool {
	server := &all.servers[all.places[t.serverID]]
	if !holds(t.name, f.Query) && !holds(server.Name, f.Query) {
		return false
	}
	switch f.Show {
	case "no_owner":
		return !server.Owned
	case "never_called":
		return t.pinned && t.lastCall == nil
	case "unused":
		return t.unused
	case "duplicate":
		return all.duplicate(t)
	}
	return true
}

func (all *sprawlReport) tool(t *sprawlLine) SprawlTool {
	server := &all.servers[all.places[t.serverID]]
	var elsewhere []string
	for _, id := range all.namely[t.toolName] {
		if id != t.serverID {
			elsewhere = append(elsewhere, all.servers[all.places[id]].Name)
		}
	}
	slices.Sort(elsewhere)
	return SprawlTool{
		ServerID: t.serverID, ServerName: server.Name, TeamName: server.TeamName, ToolID: t.id, Name: t.name, Kind: t.kind, Risk: t.risk,
		Pinned: t.pinned, Tokens: t.tokens, LastCall: t.lastCall, Duplicates: elsewhere[:min(len(elsewhere), 10)],
	}
}

// countCalls fills in how often each of the tools was called in the last 90 days.
func countCalls(ctx context.Context, tx pgx.Tx, tools []SprawlTool) error {
	servers, names, kinds := make([]string, len(tools)), make([]string, len(tools)), make([]string, len(tools))
	for i, t := range tools {
		servers[i], names[i], kinds[i] = t.ServerName, t.Name, string(t.Kind)
	}
	rows, _ := tx.Query(ctx, `
		select n.i, (select coalesce(sum(c.calls), 0)::bigint from usage_days c
		             where c.server = n.server and c.tool = n.tool and c.kind = n.kind and c.at >= clock_timestamp() - interval '90 days')
		from unnest(@servers::text[], @names::text[], @kinds::text[]) with ordinality as n (server, tool, kind, i)`,
		pgx.StrictNamedArgs{"servers": servers, "names": names, "kinds": kinds})
	var i, calls int
	_, err := pgx.ForEachRow(rows, []any{&i, &calls}, func() error {
		tools[i-1].Calls90 = calls
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting the calls of tools: %w", err)
	}
	return nil
}

// sprawlCursor is the last tool of the page before: what it costs, and its id.
type sprawlCursor struct {
	tokens int
	id     string // "": the page is the first
}

// before reports whether the cursor's tool comes before t.
func (c sprawlCursor) before(t *sprawlLine) bool {
	return c.id == "" || t.tokens < c.tokens || t.tokens == c.tokens && t.id > c.id
}

func readCursor(after string) (c sprawlCursor, err error) {
	if after == "" {
		return c, nil
	}
	number, id, _ := strings.Cut(after, ".")
	if c.tokens, err = strconv.Atoi(number); err != nil || id == "" {
		return c, problem.New(problem.Invalid, "invalid_cursor", "This list cannot be continued from there. Begin it again.")
	}
	c.id = id
	return c, nil
}
