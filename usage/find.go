package usage

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
)

// late is how late records may come and still be seen by rules: gateways send them each second.
const late = 60

// asked are the rules of a kind as a query takes them.
func asked(rules []Rule) pgx.StrictNamedArgs {
	n := len(rules)
	ids, versions := make([]string, n), make([]int64, n)
	calls, secs, percents := make([]int64, n), make([]int64, n), make([]int64, n)
	servers, agents := make([]string, n), make([]string, n)
	for i, r := range rules {
		ids[i], versions[i], calls[i], secs[i], percents[i] = r.ID, r.Version, r.Params.Calls, r.Params.Seconds, r.Params.Percent
		servers[i], agents[i] = r.Params.Server, r.Params.Agent
	}
	return pgx.StrictNamedArgs{"ids": ids, "calls": calls, "seconds": secs, "percents": percents, "servers": servers, "agents": agents}
}

// rulesTable makes rows of the rules.
const rulesTable = `unnest(@ids::text[], @calls::bigint[], @seconds::bigint[], @percents::bigint[], @servers::text[], @agents::text[])
	as r (id, calls, seconds, percent, server, agent)`

func (l *Ledger) found(ctx context.Context, rules []Rule, sql string, more pgx.StrictNamedArgs) ([]finding, error) {
	args := asked(rules)
	maps.Copy(args, more)
	rows, _ := l.pool.Query(ctx, sql, args)
	return pgx.CollectRows(rows, pgx.RowToStructByName[finding])
}

// findSessionRate counts, for each call, those of its session within the time before it: a window that slides, so that no
// burst falls between two looks.
func findSessionRate(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	return l.found(ctx, rules, `
		select r.id as rule_id, f.session as about, f.n as count, f.at, '' as said
		from `+rulesTable+`
		cross join lateral (
		  select w.session, max(w.n) as n, max(w.at) as at
		  from (select c.session, c.at, count(*) over (partition by c.session order by c.at
		                 range between make_interval(secs => r.seconds) preceding and current row) as n
		        from call_records c
		        where c.session <> '' and c.at > clock_timestamp() - make_interval(secs => r.seconds + @late)
		          and c.at <= clock_timestamp() + interval '10 minutes' and (r.agent = '' or c.agent = r.agent)) w
		  where w.n > r.calls
		  group by w.session order by max(w.n) desc, w.session limit @most) f`, pgx.StrictNamedArgs{"late": late, "most": mostFindings})
}

func findDenials(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	return l.found(ctx, rules, `
		select r.id as rule_id, f.subject as about, f.n as count, f.at, '' as said
		from `+rulesTable+`
		cross join lateral (
		  select w.subject, max(w.n) as n, max(w.at) as at
		  from (select c.subject, c.at, count(*) over (partition by c.subject order by c.at
		                 range between make_interval(secs => r.seconds) preceding and current row) as n
		        from call_records c
		        where c.decision = 'denied' and c.subject <> '' and c.at > clock_timestamp() - make_interval(secs => r.seconds + @late)
		          and c.at <= clock_timestamp() + interval '10 minutes' and (r.agent = '' or c.agent = r.agent)) w
		  where w.n >= r.calls
		  group by w.subject order by max(w.n) desc, w.subject limit @most) f`, pgx.StrictNamedArgs{"late": late, "most": mostFindings})
}

func findErrorRate(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	return l.found(ctx, rules, `
		select r.id as rule_id, f.server as about, f.percent as count, f.at, '' as said
		from `+rulesTable+`
		cross join lateral (
		  select c.server, (100 * count(*) filter (where c.decision = 'failed' or c.tool_error)) / count(*) as percent,
		         max(c.at) filter (where c.decision = 'failed' or c.tool_error) as at
		  from call_records c
		  where c.decision in ('allowed', 'failed') and c.at > clock_timestamp() - make_interval(secs => r.seconds)
		    and c.at <= clock_timestamp() + interval '10 minutes' and (r.server = '' or c.server = r.server)
		  group by c.server
		  having count(*) >= r.calls and 100 * count(*) filter (where c.decision = 'failed' or c.tool_error) >= r.percent * count(*)
		  order by 2 desc, 1 limit @most) f`, pgx.StrictNamedArgs{"most": mostFindings})
}

func findUnknown(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	return l.found(ctx, rules, `
		select r.id as rule_id, f.server as about, f.n as count, f.at, '' as said
		from `+rulesTable+`
		cross join lateral (
		  select c.server, count(*) as n, max(c.at) as at
		  from call_records c
		  where c.reason = 'unknown_server' and c.at > clock_timestamp() - make_interval(secs => r.seconds)
		    and c.at <= clock_timestamp() + interval '10 minutes'
		    and not exists (select from servers s where lower(s.name) = lower(c.server) and s.state <> 'retired')
		  group by c.server having count(*) >= r.calls
		  order by 2 desc, 1 limit @most) f`, pgx.StrictNamedArgs{"most": mostFindings})
}

func findSilent(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	return l.found(ctx, rules, `
		select r.id as rule_id, g.id as about, extract(epoch from clock_timestamp() - s.at)::bigint as count, s.at, g.name as said
		from `+rulesTable+`
		cross join gateways g
		cross join lateral (select max(i.last_seen_at) as at from gateway_instances i where i.gateway_id = g.id) s
		where g.revoked_at is null and s.at < clock_timestamp() - make_interval(secs => r.seconds)
		order by s.at limit @most * cardinality(@ids::text[])`, pgx.StrictNamedArgs{"most": mostFindings})
}

func findFailing(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	return l.found(ctx, rules, `
		select r.id as rule_id, c.id as about, extract(epoch from clock_timestamp() - c.failing_since)::bigint as count, c.failing_since as at, c.name as said
		from `+rulesTable+`
		cross join channels c
		where c.failing_since < clock_timestamp() - make_interval(secs => r.seconds) and c.paused_at is null and c.ended_at is null
		order by c.failing_since limit @most * cardinality(@ids::text[])`, pgx.StrictNamedArgs{"most": mostFindings})
}

// spent is what calls of today moved, of one agent and model.
type spent struct {
	Agent    string
	Model    string
	Request  int64
	Response int64
	LastAt   time.Time
}

// spentToday reads the sums of the day of UTC that it is in the database.
func (l *Ledger) spentToday(ctx context.Context) ([]spent, error) {
	rows, _ := l.pool.Query(ctx, `
		select agent, model, sum(request_tokens)::bigint as request, sum(response_tokens)::bigint as response, max(last_at) as last_at
		from usage_parts
		where step = 'day' and part = 'agent' and at = date_trunc('day', clock_timestamp(), 'UTC')
		group by agent, model`)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[spent])
	if err != nil {
		return nil, fmt.Errorf("reading what was spent today: %w", err)
	}
	return found, nil
}

// about is what an amount counts for in a rule; none: for nothing.
func (s spent) about(p Params) (about string, counts bool) {
	if p.Agent != "" && s.Agent != p.Agent {
		return "", false
	}
	if p.By == everyAgent {
		return everyAgent, true
	}
	return s.Agent, s.Agent != ""
}

func findTokens(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	today, err := l.spentToday(ctx)
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, r := range rules {
		sums := map[string]finding{}
		for _, s := range today {
			if about, counts := s.about(r.Params); counts {
				f := sums[about]
				sums[about] = finding{RuleID: r.ID, About: about, Count: f.Count + s.Request + s.Response, At: later(f.At, s.LastAt)}
			}
		}
		for _, f := range sums {
			if f.Count >= r.Params.Tokens {
				found = append(found, f)
			}
		}
	}
	return found, nil
}

func findCost(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error) {
	today, err := l.spentToday(ctx)
	if err != nil {
		return nil, err
	}
	all, err := l.Prices(ctx, system)
	if err != nil {
		return nil, err
	}
	prices := pricesAt(all, l.cfg.Now())
	type cost struct {
		costs
		at time.Time
	}
	var found []finding
	for _, r := range rules {
		sums := map[string]*cost{}
		for _, s := range today {
			about, counts := s.about(r.Params)
			if !counts {
				continue
			}
			if sums[about] == nil {
				sums[about] = &cost{}
			}
			sums[about].add(prices, s.Model, s.Request, s.Response)
			sums[about].at = later(sums[about].at, s.LastAt)
		}
		limit, _ := readDecimal(r.Params.Amount) // was checked when the rule was made
		for about, c := range sums {
			spent := c.cost().In(r.Params.Currency)
			if limit > 0 && spent.Micros >= limit {
				found = append(found, finding{RuleID: r.ID, About: about, Count: spent.Micros, At: c.at, Said: spent.String()})
			}
		}
	}
	return found, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
