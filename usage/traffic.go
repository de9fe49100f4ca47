package usage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// Caller is somebody who called a tool, through one agent and model. All of it is as a gateway reported it: Agent and
// Model are the client's own words.
type Caller struct {
	Subject string
	Agent   string
	Model   string
	Calls   int
	Last    time.Time
}

// Callers are those who called, the most frequent first. Where they are not Named no Subject is given, and calls are
// counted by agent and model.
type Callers struct {
	Items []Caller
	Named bool
}

// CallersOf gives who called the tool, or, if that is "", anything of the server since then (in whole days), at most 200.
// A call that was refused counts. It needs identity.ReadUsage; who called is named for those who have
// identity.ReadCallers.
func (l *Ledger) CallersOf(ctx context.Context, who identity.Principal, serverName, tool string, since time.Time) (Callers, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return Callers{}, err
	}
	callers := Callers{Named: l.mayCallers(ctx, who, serverName) == nil}
	rows, _ := l.pool.Query(ctx, `
		select case when @named then subject else '' end as subject, agent, model, sum(calls)::bigint as calls, max(last_at) as last
		from usage_days
		where server = @server and (@tool = '' or tool = @tool) and at >= date_trunc('day', @since::timestamptz, 'UTC')
		group by 1, agent, model
		order by calls desc, last desc, 1, agent, model
		limit 200`, pgx.StrictNamedArgs{"named": callers.Named, "server": serverName, "tool": tool, "since": since})
	var err error
	if callers.Items, err = pgx.CollectRows(rows, pgx.RowToStructByName[Caller]); err != nil {
		return Callers{}, fmt.Errorf("reading callers: %w", err)
	}
	return callers, nil
}

// Traffic is what went to one server since a time.
type Traffic struct {
	Since time.Time
	Days  []TrafficDay  // every day in UTC, the first and today included; 401 at most
	Tools []TrafficTool // the most called first, at most 200
}

// TrafficDay is one day. P50 and P95 are estimates of how long calls took that reached the server; 0 where none did.
type TrafficDay struct {
	Day time.Time
	Outcomes
	P50, P95 time.Duration
}

// TrafficTool is one tool, by the name that the call had: it need not exist.
type TrafficTool struct {
	Kind string
	Tool string
	Outcomes
	P50, P95 time.Duration
	Last     time.Time
}

// Overasked counts the calls to the server since then whose result was kept back, because the server asked the client for
// what it may not: a sample, an answer, its roots. It needs identity.ReadUsage.
func (l *Ledger) Overasked(ctx context.Context, who identity.Principal, serverName string, since time.Time) (calls int64, err error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return 0, err
	}
	err = l.pool.QueryRow(ctx, `
		select count(*) from call_records
		where server = $1 and at >= $2 and reason = 'client_request_denied'`, serverName, since).Scan(&calls)
	if err != nil {
		return 0, fmt.Errorf("counting what a server asked of clients: %w", err)
	}
	return calls, nil
}

// maxTrafficDays bounds the days that ServerTraffic lists.
const maxTrafficDays = 400

// trafficSums is one row of sums of a server.
type trafficSums struct {
	Outcomes
	At   time.Time
	Kind string
	Tool string
	Took counts
	Last time.Time
}

// ServerTraffic sums up the calls to the server since then, by day and by tool, in whole days, and 400 at most. It needs
// identity.ReadUsage.
func (l *Ledger) ServerTraffic(ctx context.Context, who identity.Principal, serverName string, since time.Time) (Traffic, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return Traffic{}, err
	}
	today := l.cfg.Now().UTC().Truncate(day)
	first := today.AddDate(0, 0, -maxTrafficDays)
	if since.After(first) {
		first = since.UTC().Truncate(day)
	}
	rows, _ := l.pool.Query(ctx, `
		select at, kind, tool, `+countedSums+`, `+summedSteps("took")+`, max(last_at) as last
		from usage_days
		where server = @server and at >= @first
		group by at, kind, tool`, pgx.StrictNamedArgs{"server": serverName, "first": first})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[trafficSums])
	if err != nil {
		return Traffic{}, fmt.Errorf("summing up the calls to a server: %w", err)
	}
	return trafficOf(found, since, first, today), nil
}

func trafficOf(found []trafficSums, since, first, today time.Time) Traffic {
	type thing struct{ kind, tool string }
	days, tools := map[int64]*tally{}, map[thing]*tally{}
	for i := range found {
		row := &found[i]
		s := &sums{
			Calls: row.Calls, Allowed: row.Allowed, Denied: row.Denied, Held: row.Held, Failed: row.Failed, Errors: row.Errors,
			Took: row.Took, LastAt: row.Last,
		}
		tallyOf(days, row.At.Unix()).add(s, tariff{})
		key := thing{row.Kind, row.Tool}
		if tools[key] == nil {
			tools[key] = &tally{}
		}
		tools[key].add(s, tariff{})
	}
	t := Traffic{Since: since}
	for at := first; !at.After(today); at = at.AddDate(0, 0, 1) {
		d := tallyOf(days, at.Unix())
		t.Days = append(t.Days, TrafficDay{Day: at, Outcomes: d.Outcomes, P50: d.took.below(0.5), P95: d.took.below(0.95)})
	}
	for key, d := range tools {
		t.Tools = append(t.Tools, TrafficTool{
			Kind: key.kind, Tool: key.tool, Outcomes: d.Outcomes, P50: d.took.below(0.5), P95: d.took.below(0.95), Last: d.lastAt,
		})
	}
	slices.SortFunc(t.Tools, func(a, b TrafficTool) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Tool, b.Tool))
	})
	t.Tools = t.Tools[:min(len(t.Tools), 200)]
	return t
}
