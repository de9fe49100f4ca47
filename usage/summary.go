package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// Summary is what calls of a span add up to, beside those of the span of the same length before it.
type Summary struct {
	From, To    time.Time
	Now         Totals
	Before      Totals
	BeforeKnown bool // sums are kept from before that span began
}

// Summary sums up the calls that the filter selects. It needs identity.ReadUsage, and identity.ReadCallers where the
// filter names a subject. Problem: Invalid invalid_span.
func (l *Ledger) Summary(ctx context.Context, who identity.Principal, f Filter) (Summary, error) {
	if err := l.may(ctx, who, f, false); err != nil {
		return Summary{}, err
	}
	s, err := l.span(f)
	if err != nil {
		return Summary{}, err
	}
	prices, err := l.Prices(ctx, system)
	if err != nil {
		return Summary{}, err
	}
	out := Summary{From: s.from, To: s.to}
	if out.Now, err = l.total(ctx, f, s, prices); err != nil {
		return Summary{}, err
	}
	if out.Before, err = l.total(ctx, f, s.before(), prices); err != nil {
		return Summary{}, err
	}
	err = l.pool.QueryRow(ctx, `select exists (select from usage_parts where step = 'day' and part = 'all' and at <= date_trunc('day', $1::timestamptz, 'UTC'))`, s.before().from).Scan(&out.BeforeKnown)
	if err != nil {
		return Summary{}, fmt.Errorf("reading since when usage is known: %w", err)
	}
	return out, nil
}

func (l *Ledger) total(ctx context.Context, f Filter, s span, prices []Price) (Totals, error) {
	t, err := total(ctx, l.pool, f, s, newTariff(prices, s))
	return t.totals(), err
}

// reader is a pool or a transaction.
type reader interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func total(ctx context.Context, db reader, f Filter, s span, prices tariff) (t tally, err error) {
	w := f.sums(s, "")
	rows, _ := db.Query(ctx, `select 0::bigint as place, model, `+prices.era(w)+` as era,`+summed+w.from()+`group by 2, 3`, w.args)
	if err = eachSum(rows, func(s *sums) { t.add(s, prices) }); err != nil {
		return t, fmt.Errorf("summing up calls: %w", err)
	}
	return t, nil
}

// eachSum reads rows of sums one by one.
func eachSum(rows pgx.Rows, each func(*sums)) error {
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[sums])
	for _, s := range found {
		each(s)
	}
	return err
}

// Series is what calls of a span add up to, step by step.
type Series struct {
	Step   time.Duration // an hour, where the span is up to three days, or a day of UTC
	Points []Point       // no step is left out
}

// Point is one step, from At on.
type Point struct {
	At time.Time
	Totals
}

// Series sums up the calls that the filter selects, by hour or day. It needs identity.ReadUsage, and identity.ReadCallers
// where the filter names a subject. Problem: Invalid invalid_span.
func (l *Ledger) Series(ctx context.Context, who identity.Principal, f Filter) (Series, error) {
	if err := l.may(ctx, who, f, false); err != nil {
		return Series{}, err
	}
	s, err := l.span(f)
	if err != nil {
		return Series{}, err
	}
	all, err := l.Prices(ctx, system)
	if err != nil {
		return Series{}, err
	}
	prices, w := newTariff(all, s), f.sums(s, "")
	rows, _ := l.pool.Query(ctx, `select extract(epoch from at)::bigint as place, model, `+prices.era(w)+` as era,`+summed+w.from()+`group by at, 2, 3`, w.args)
	steps := map[int64]*tally{}
	err = eachSum(rows, func(row *sums) { tallyOf(steps, row.Place).add(row, prices) })
	if err != nil {
		return Series{}, fmt.Errorf("summing up calls by time: %w", err)
	}
	out := Series{Step: s.step}
	for at := s.from; at.Before(s.to); at = at.Add(s.step) {
		out.Points = append(out.Points, Point{At: at, Totals: tallyOf(steps, at.Unix()).totals()})
	}
	return out, nil
}

func tallyOf(tallies map[int64]*tally, key int64) *tally {
	t := tallies[key]
	if t == nil {
		t = &tally{}
		tallies[key] = t
	}
	return t
}
