package usage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
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
	prices, err := l.Prices(ctx, system)
	if err != nil {
		return Breakdown{}, err
	}
	if limit <= 0 {
		limit = 20
	}
	var out Breakdown
	err = pgx.BeginTxFunc(ctx, l.pool, registry.ReadOnly, func(tx pgx.Tx) error { // one moment, or the rest would not be one
		out, err = breakdown(ctx, tx, f, s, by, min(limit, maxRows), newTariff(prices, s))
		return err
	})
	return out, err
}

func breakdown(ctx context.Context, tx pgx.Tx, f Filter, s span, by By, limit int, prices tariff) (Breakdown, error) {
	rest, err := total(ctx, tx, f, s, prices)
	if err != nil {
		return Breakdown{}, err
	}
	names, err := most(ctx, tx, f, s, by, limit)
	if err != nil {
		return Breakdown{}, err
	}
	tallies, err := tallies(ctx, tx, f, s, by, names, prices)
	if err != nil {
		return Breakdown{}, err
	}
	out := Breakdown{By: by, From: s.from, To: s.to, All: rest.totals()}
	for i, name := range names {
		t := &tallies[i]
		rest.less(t)
		out.Rows = append(out.Rows, Row{Key: name.Key, Server: name.Server, Totals: t.totals(), LastAt: t.lastAt})
		out.RestKeys = name.Keys - len(names)
	}
	out.Rest = rest.totals()
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
func most(ctx context.Context, tx pgx.Tx, f Filter, s span, by By, limit int) ([]name, error) {
	key, server := by.columns()
	w := f.sums(s, by)
	w.args["limit"] = limit
	rows, _ := tx.Query(ctx, `
		select `+key+` as key, `+server+` as server, count(*) over ()::int as keys`+w.from()+`
		group by 1, 2 order by sum(calls) desc, 1, 2 limit @limit`, w.args)
	names, err := pgx.CollectRows(rows, pgx.RowToStructByName[name])
	if err != nil {
		return nil, fmt.Errorf("reading which %ss have the most calls: %w", by, err)
	}
	return names, nil
}

// namedSums is one row of sums of a name.
type namedSums struct {
	Key    string
	Server string
	sums
}

// tallies adds up the calls of each name.
func tallies(ctx context.Context, tx pgx.Tx, f Filter, s span, by By, names []name, prices tariff) ([]tally, error) {
	key, server := by.columns()
	places, keys := map[[2]string]int{}, make([]string, len(names))
	for i, n := range names {
		places[[2]string{n.Server, n.Key}], keys[i] = i, n.Key
	}
	w := f.sums(s, by)
	w.conditions, w.args["keys"] = append(w.conditions, "coalesce("+key+", '') = any (@keys::text[])"), keys // an index would be read once for each
	rows, _ := tx.Query(ctx, `
		select `+key+` as key, `+server+` as server, 0::bigint as place, model, `+prices.era(w)+` as era,`+summed+w.from()+`
		group by 1, 2, 4, 5`, w.args)
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[namedSums])
	if err != nil {
		return nil, fmt.Errorf("summing up calls by %s: %w", by, err)
	}
	tallies := make([]tally, len(names))
	for _, row := range found {
		if i, listed := places[[2]string{row.Server, row.Key}]; listed { // a tool of another server may have the name
			tallies[i].add(&row.sums, prices)
		}
	}
	return tallies, nil
}
