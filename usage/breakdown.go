package usage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// By is what calls are told apart by.
type By string

// What calls can be told apart by.
const (
	ByServer  By = "server"
	ByTool    By = "tool"
	ByAgent   By = "agent"
	BySubject By = "subject"
	ByModel   By = "model"
)

// Bys lists all of them.
func Bys() []By { return []By{ByServer, ByTool, ByAgent, BySubject, ByModel} }

// Breakdown is what calls of a span add up to, told apart by one of their names.
type Breakdown struct {
	By       By
	From, To time.Time
	Rows     []Row  // the most calls first
	Rest     Totals // of the names beyond
	RestKeys int    // how many they are
	All      Totals
}

// Row is one name. Key is "" where calls have none: no model was said, or no agent. Server is that of a tool.
type Row struct {
	Key    string
	Server string
	Totals
	LastAt time.Time
}

// maxRows bounds the rows of a Breakdown.
const maxRows = 200

// Breakdown sums up the calls that the filter selects by one of their names: the limit (1 to 200, otherwise 20) with the
// most calls, and the rest. It needs identity.ReadUsage, and identity.ReadCallers by subject or where the filter names
// one. Problems: Invalid invalid_span, invalid_breakdown.
func (l *Ledger) Breakdown(ctx context.Context, who identity.Principal, f Filter, by By, limit int) (Breakdown, error) {
	if err := l.may(ctx, who, f, by == BySubject); err != nil {
		return Breakdown{}, err
	}
	if !slices.Contains(Bys(), by) {
		return Breakdown{}, problem.New(problem.Invalid, "invalid_breakdown", "Calls cannot be told apart by that.").
			Field("by", "It is server, tool, agent, subject or model.")
	}
	s, err := l.span(f)
	if err != nil {
		return Breakdown{}, err
	}
	prices, err := l.priceList(ctx)
	if err != nil {
		return Breakdown{}, err
	}
	if limit <= 0 {
		limit = 20
	}
	names, err := l.most(ctx, f, s, by, min(limit, maxRows))
	if err != nil {
		return Breakdown{}, err
	}
	tallies, err := l.tallies(ctx, f, s, by, names, prices)
	if err != nil {
		return Breakdown{}, err
	}
	out := Breakdown{By: by, From: s.from, To: s.to, Rest: tallies[0].totals()}
	for i, name := range names {
		t := &tallies[i+1]
		out.Rows = append(out.Rows, Row{Key: name.Key, Server: name.Server, Totals: t.totals(), LastAt: t.lastAt})
		out.RestKeys = name.Keys - len(names)
	}
	var all tally
	for i := range tallies {
		all.merge(&tallies[i])
	}
	out.All = all.totals()
	return out, nil
}

// name is one that calls have, and how many such there are.
type name struct {
	Key    string
	Server string
	Keys   int
}

// columns are those of the sums that make a name.
func (by By) columns() (key, server string) {
	if by == ByTool {
		return "tool", "server"
	}
	return string(by), "''"
}

// most gives the names with the most calls.
func (l *Ledger) most(ctx context.Context, f Filter, s span, by By, limit int) ([]name, error) {
	key, server := by.columns()
	w := f.where(s.from, s.to)
	w.args["limit"] = limit
	rows, _ := l.pool.Query(ctx, `
		select `+key+` as key, `+server+` as server, count(*) over ()::int as keys
		from `+s.table+` `+w.String()+`
		group by 1, 2 order by sum(calls) desc, 1, 2 limit @limit`, w.args)
	names, err := pgx.CollectRows(rows, pgx.RowToStructByName[name])
	if err != nil {
		return nil, fmt.Errorf("reading which %ss have the most calls: %w", by, err)
	}
	return names, nil
}

// tallies adds up the calls of each name, after those of all others.
func (l *Ledger) tallies(ctx context.Context, f Filter, s span, by By, names []name, prices priceList) ([]tally, error) {
	key, server := by.columns()
	keys, servers := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		keys[i], servers[i] = n.Key, n.Server
	}
	w := f.where(s.from, s.to)
	w.args["keys"], w.args["servers"] = keys, servers
	rows, _ := l.pool.Query(ctx, `
		select coalesce(n.place, 0) as place, model,`+summed+`
		from `+s.table+`
		left join unnest(@keys::text[], @servers::text[]) with ordinality as n (of_key, of_server, place)
		       on n.of_key = `+key+` and n.of_server = `+server+`
		`+w.String()+`
		group by n.place, model`, w.args)
	tallies := make([]tally, len(names)+1)
	if err := eachSum(rows, func(row *sums) { tallies[row.Place].add(row, prices) }); err != nil {
		return nil, fmt.Errorf("summing up calls by %s: %w", by, err)
	}
	return tallies, nil
}
