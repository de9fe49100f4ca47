package usage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// RecordFilter selects records; zero fields select all of them. Unlike sums they are told apart to the moment.
type RecordFilter struct {
	Filter
	GatewayID string
	Decision  string // allowed, denied, held or failed
	Reason    string
	Session   string
	TraceID   string
}

// Record is one call, as a gateway reported it. All names are what a caller or a server said.
type Record struct {
	CallID         string
	GatewayID      string
	GatewayName    string
	Instance       string
	At             time.Time
	Server         string
	Tool           string
	Kind           string
	Decision       string
	Reason         string
	Subject        string
	Agent          string
	Model          string
	ModelAssurance string
	Session        string
	TraceID        string
	Revision       int64
	RequestBytes   int64
	ResponseBytes  int64
	RequestTokens  int64
	ResponseTokens int64
	Duration       time.Duration
	Upstream       time.Duration // 0: not measured
	ToolError      bool
	Filtered       int
	ReceivedAt     time.Time
}

// Bounds of a page of records.
const (
	pageRecords = 50
	maxRecords  = 1000
)

// Records lists records, newest first. It needs identity.ReadCallers: of a server that the filter names, its team may.
// Problems: Invalid invalid_span, invalid_cursor.
func (l *Ledger) Records(ctx context.Context, who identity.Principal, f RecordFilter, after string, limit int) (registry.Page[Record], error) {
	if err := l.mayCallers(ctx, who, f.Server); err != nil {
		return registry.Page[Record]{}, err
	}
	s, err := l.span(f.Filter)
	if err != nil {
		return registry.Page[Record]{}, err
	}
	if !f.Since.IsZero() { // to the moment
		s.from = f.Since
	}
	if limit <= 0 {
		limit = pageRecords
	}
	limit = min(limit, maxRecords)
	w := f.where(s.from, s.to)
	w.is("gateway_id", f.GatewayID)
	w.is("decision", f.Decision)
	w.is("reason", f.Reason)
	w.is("session", f.Session)
	w.is("trace_id", f.TraceID)
	if err := w.after(after); err != nil {
		return registry.Page[Record]{}, err
	}
	w.args["limit"] = limit + 1
	rows, _ := l.pool.Query(ctx, `
		select c.call_id, c.gateway_id, coalesce(g.name, '') as gateway_name, c.instance, c.at, c.server, c.tool, c.kind, c.decision, c.reason,
		       c.subject, c.agent, c.model, c.model_assurance, c.session, c.trace_id, c.revision, c.request_bytes, c.response_bytes, c.request_tokens,
		       c.response_tokens, 1000 * c.duration_us as duration, 1000 * c.upstream_us as upstream, c.tool_error, c.filtered, c.received_at
		from (select * from call_records `+w.String()+` order by at desc, call_id desc limit @limit) c
		left join gateways g on g.id = c.gateway_id
		order by c.at desc, c.call_id desc`, w.args)
	records, err := pgx.CollectRows(rows, pgx.RowToStructByName[Record])
	if err != nil {
		return registry.Page[Record]{}, fmt.Errorf("listing call records: %w", err)
	}
	page := registry.Page[Record]{Items: records}
	if len(records) > limit {
		last := records[limit-1]
		page.Items, page.Next = records[:limit], last.At.UTC().Format(time.RFC3339Nano)+" "+last.CallID
	}
	return page, nil
}

// after goes on after the record of a cursor.
func (w *where) after(cursor string) error {
	if cursor == "" {
		return nil
	}
	moment, id, ok := strings.Cut(cursor, " ")
	at, err := time.Parse(time.RFC3339Nano, moment)
	if err != nil || !ok || id == "" || len(id) > maxID {
		return problem.New(problem.Invalid, "invalid_cursor", "This list cannot be continued from there. Begin it again.")
	}
	w.conditions = append(w.conditions, "(at, call_id) < (@after_at, @after_id)")
	w.args["after_at"], w.args["after_id"] = at, id
	return nil
}

// RecentCall is one line of the list of recent decisions.
type RecentCall struct {
	At       time.Time
	Server   string
	Tool     string
	Decision string
	Reason   string
	Subject  string // "" for those who may not see who called
	Agent    string
}

// RecentCalls gives the newest records, at most 100. It needs identity.ReadUsage.
func (l *Ledger) RecentCalls(ctx context.Context, who identity.Principal, limit int) ([]RecentCall, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, `
		select c.at, c.server, c.tool, c.decision, c.reason, c.subject, c.agent, coalesce(s.team_id, '') as team
		from (select at, server, tool, decision, reason, subject, agent from call_records
		      where at <= clock_timestamp() + interval '10 minutes' order by at desc limit $1) c
		left join servers s on lower(s.name) = lower(c.server)
		order by c.at desc`, min(limit, 100))
	type line struct {
		RecentCall
		Team string
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByName[line])
	if err != nil {
		return nil, fmt.Errorf("reading recent calls: %w", err)
	}
	calls := make([]RecentCall, len(lines))
	for i, line := range lines {
		calls[i] = line.RecentCall
		if who.Can(identity.ReadCallers, line.Team) != nil {
			calls[i].Subject = ""
		}
	}
	return calls, nil
}

// CallsSince counts the calls since then, in whole hours, by what became of them. It needs identity.ReadUsage.
func (l *Ledger) CallsSince(ctx context.Context, who identity.Principal, since time.Time) (Outcomes, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return Outcomes{}, err
	}
	rows, _ := l.pool.Query(ctx, `select `+countedSums+` from usage_parts where step = 'hour' and part = 'all' and at >= date_trunc('hour', $1::timestamptz, 'UTC')`, since)
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Outcomes])
	if err != nil {
		return Outcomes{}, fmt.Errorf("counting calls: %w", err)
	}
	return o, nil
}

// countedSums are the columns of Outcomes, over sums.
const countedSums = `
	coalesce(sum(calls), 0)::bigint as calls, coalesce(sum(allowed), 0)::bigint as allowed, coalesce(sum(denied), 0)::bigint as denied,
	coalesce(sum(held), 0)::bigint as held, coalesce(sum(failed), 0)::bigint as failed, coalesce(sum(errors), 0)::bigint as errors`

// UnknownServer is a name that callers asked a gateway for and that nobody registered. The name is theirs.
type UnknownServer struct {
	Name        string
	GatewayID   string
	GatewayName string
	Calls       int64
	Subject     string // who asked last; "" for those who may not see who called
	Agent       string
	FirstAt     time.Time
	LastAt      time.Time
}

// UnknownServers lists names that callers asked for and that nobody has registered yet, the last asked for first, at most
// 200. It needs identity.ReadUsage.
func (l *Ledger) UnknownServers(ctx context.Context, who identity.Principal) ([]UnknownServer, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, `
		select u.name, u.gateway_id, g.name as gateway_name, u.calls, u.subject, u.agent, u.first_at, u.last_at
		from unknown_servers u join gateways g on g.id = u.gateway_id
		where not exists (select from servers s where lower(s.name) = lower(u.name) and s.state <> 'retired')
		order by u.last_at desc, u.name limit 200`)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[UnknownServer])
	if err != nil {
		return nil, fmt.Errorf("listing unknown servers: %w", err)
	}
	if who.Can(identity.ReadCallers, "") != nil {
		for i := range found {
			found[i].Subject = ""
		}
	}
	return found, nil
}
