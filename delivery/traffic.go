package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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

// CallersOf gives who called the tool, or, if that is "", anything of the server since then, the most frequent first,
// at most 200. A call that was refused
// counts. Who may see it is for the caller to ask.
func CallersOf(ctx context.Context, pool *pgxpool.Pool, serverName, tool string, since time.Time) ([]Caller, error) {
	rows, _ := pool.Query(ctx, `
		select subject, agent, model, count(*) as calls, max(at) as last
		from calls
		where server = @server and (@tool = '' or tool = @tool) and at >= @since
		group by subject, agent, model
		order by calls desc, last desc, subject, agent, model
		limit 200`, pgx.StrictNamedArgs{"server": serverName, "tool": tool, "since": since})
	callers, err := pgx.CollectRows(rows, pgx.RowToStructByName[Caller])
	if err != nil {
		return nil, fmt.Errorf("reading callers: %w", err)
	}
	return callers, nil
}

// Traffic is what went to one server since a time.
type Traffic struct {
	Since time.Time
	Days  []TrafficDay  // every day in UTC, the first and today included; 401 at most
	Tools []TrafficTool // the most called first, at most 200
}

// Outcomes counts calls by what became of them. Calls is all of them.
type Outcomes struct {
	Calls   int
	Allowed int
	Denied  int
	Held    int
	Failed  int // allowed, and then without an answer
}

// TrafficDay is one day. P50 and P95 are how long calls took that reached the server; 0 where none did.
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

// counted are the columns of Outcomes and of durations, over a group of calls c.
const counted = `
	count(*) as calls,
	count(*) filter (where c.decision = 'allowed') as allowed,
	count(*) filter (where c.decision = 'denied') as denied,
	count(*) filter (where c.decision = 'held') as held,
	count(*) filter (where c.decision = 'failed') as failed,
	coalesce(1000 * percentile_disc(0.5) within group (order by c.duration_us) filter (where c.decision in ('allowed', 'failed')), 0) as p50,
	coalesce(1000 * percentile_disc(0.95) within group (order by c.duration_us) filter (where c.decision in ('allowed', 'failed')), 0) as p95`

// maxTrafficDays bounds the days that ServerTraffic lists.
const maxTrafficDays = 400

// ServerTraffic sums up the calls to the server since then, by day and by tool; days are listed for the last 400 at most. Who
// may see it is for the caller to ask.
func ServerTraffic(ctx context.Context, pool *pgxpool.Pool, serverName string, since time.Time) (Traffic, error) {
	t := Traffic{Since: since}
	args := pgx.StrictNamedArgs{"server": serverName, "since": since}
	var err error
	rows, _ := pool.Query(ctx, `
		select c.kind, c.tool, `+counted+`, max(c.at) as last
		from calls c
		where c.server = @server and c.at >= @since
		group by c.kind, c.tool
		order by calls desc, c.kind, c.tool
		limit 200`, args)
	if t.Tools, err = pgx.CollectRows(rows, pgx.RowToStructByName[TrafficTool]); err != nil {
		return Traffic{}, fmt.Errorf("summing up calls by tool: %w", err)
	}
	args["days"] = maxTrafficDays
	rows, _ = pool.Query(ctx, `
		with counted as (
		  select date_trunc('day', c.at at time zone 'UTC') as day, `+counted+`
		  from calls c
		  where c.server = @server and c.at >= @since
		  group by 1)
		select d.day at time zone 'UTC' as day, coalesce(n.calls, 0) as calls, coalesce(n.allowed, 0) as allowed,
		       coalesce(n.denied, 0) as denied, coalesce(n.held, 0) as held, coalesce(n.failed, 0) as failed,
		       coalesce(n.p50, 0) as p50, coalesce(n.p95, 0) as p95
		from generate_series(
		       date_trunc('day', greatest(@since::timestamptz, clock_timestamp() - make_interval(days => @days)) at time zone 'UTC'),
		       clock_timestamp() at time zone 'UTC', interval '1 day') as d (day)
		left join counted n on n.day = d.day
		order by d.day`, args)
	if t.Days, err = pgx.CollectRows(rows, pgx.RowToStructByName[TrafficDay]); err != nil {
		return Traffic{}, fmt.Errorf("summing up calls by day: %w", err)
	}
	return t, nil
}
