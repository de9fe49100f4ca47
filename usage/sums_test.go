package usage

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/internal/problem"
)

func TestStepsAreThoseOfTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, step := range Steps {
		for _, c := range []struct {
			us   int64
			want int
		}{{step.Microseconds() - 1, i}, {step.Microseconds(), i + 1}} {
			if got := value[int](w, `select usage_step($1)`, c.us); got != c.want {
				t.Errorf("%d µs is in step %d, want %d", c.us, got, c.want)
			}
		}
	}
}

func TestBelow(t *testing.T) {
	t.Parallel()
	in := func(step int, n int64) counts {
		c := make(counts, len(Steps)+1)
		c[step] = n
		return c
	}
	both := in(0, 50)
	both.add(in(10, 50)) // from 100 to 200 ms
	for _, c := range []struct {
		counts counts
		part   float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{in(0, 10), 0.5, 50 * time.Microsecond},
		{in(len(Steps), 3), 0.95, time.Minute},
		{both, 0.5, 100 * time.Microsecond},
		{both, 0.95, 190 * time.Millisecond},
	} {
		if got := c.counts.below(c.part); got != c.want {
			t.Errorf("%v: %v below %v, want %v", c.counts, c.part, got, c.want)
		}
	}
}

func TestSums(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	denied := func(r *client.CallRecord) {
		r.Decision, r.Reason, r.Subject, r.UpstreamUS = client.DeniedCall, "no_grant", "eve", 0
	}
	drop := func(r *client.CallRecord) { r.Tool, r.Model = "drop", "gpt-5" }
	parcels := func(r *client.CallRecord) { r.Server, r.Agent = "com.acme/parcels", "" }
	w.record(w.times(10)...)
	w.record(w.times(5, denied)...)
	w.record(w.times(3, drop)...)
	w.record(w.times(2, parcels)...)
	w.record(w.times(4, func(r *client.CallRecord) { r.At = w.now.AddDate(0, 0, -40).Truncate(day) })...)
	_, err := w.ledger.SetPrice(ctx, ada, NewPrice{Model: "claude*", Currency: "eur", Input: "3", Output: "15.5"})
	w.must(err)

	sum, err := w.ledger.Summary(ctx, vera, Filter{})
	w.must(err)
	want := Totals{
		Outcomes:      Outcomes{Calls: 20, Allowed: 15, Denied: 5},
		RequestTokens: 500, ResponseTokens: 5000,
		Cost:     Cost{Amounts: []Money{{"EUR", 17*25*155/10 + 17*250*3}}, Unpriced: 3 * 275},
		AddedP50: 15 * time.Millisecond, AddedP95: 19500 * time.Microsecond, TookP50: 35 * time.Millisecond, TookP95: 48500 * time.Microsecond,
	}
	want.Cost.Amounts[0].Micros = (17*25*15_500_000 + 17*250*3_000_000 + 500_000) / 1_000_000
	if diff := cmp.Diff(want, sum.Now); diff != "" {
		t.Errorf("now (-want +got):\n%s", diff)
	}
	if sum.Before.Calls != 4 || sum.BeforeKnown { // sums begin in the middle of that span
		t.Errorf("before: %d calls, known %t", sum.Before.Calls, sum.BeforeKnown)
	}
	if sum, err := w.ledger.Summary(ctx, olga, Filter{Server: orders, Subject: "eve", Tool: "list", Kind: "tool", Agent: "cursor", Model: "claude-4"}); err != nil || sum.Now.Denied != 5 || sum.Now.Calls != 5 {
		t.Errorf("of eve: %+v, %v", sum.Now.Outcomes, err)
	}

	for _, f := range []Filter{{}, {Since: w.now.Add(-5 * time.Hour)}} {
		series, err := w.ledger.Series(ctx, vera, f)
		w.must(err)
		steps, of := 30, day
		if !f.Since.IsZero() {
			steps, of = 6, time.Hour
		}
		last := series.Points[len(series.Points)-1]
		if len(series.Points) != steps || series.Step != of || last.Calls != 20 || last.TookP50 != want.TookP50 {
			t.Errorf("%d points of %s, the last %+v", len(series.Points), series.Step, last)
		}
	}

	for by, want := range map[By]string{
		ByServer: "com.acme/orders 18, com.acme/parcels 2; rest 0 of 0",
		ByTool:   "com.acme/orders list 15, com.acme/orders drop 3; rest 1 of 2",
		ByAgent:  "cursor 18,  2; rest 0 of 0",
		ByModel:  "claude-4 17, gpt-5 3; rest 0 of 0",
	} {
		b, err := w.ledger.Breakdown(ctx, vera, Filter{}, by, 2)
		w.must(err)
		if got := told(b); got != want || b.All.Calls != 20 {
			t.Errorf("by %s: %s, of %d; want %s", by, got, b.All.Calls, want)
		}
	}
	if b, err := w.ledger.Breakdown(ctx, ida, Filter{}, BySubject, 1); err != nil || told(b) != "tomas 15; rest 1 of 5" {
		t.Errorf("by subject: %s, %v", told(b), err)
	}
	if _, err := w.ledger.Breakdown(ctx, ida, Filter{}, "session", 1); !problem.Is(err, problem.Invalid) {
		t.Errorf("by what is not kept: %v", err)
	}
	for _, f := range []Filter{{Since: w.now, Until: w.now}, {Since: time.Unix(0, 0)}} {
		if _, err := w.ledger.Summary(ctx, vera, f); !problem.Is(err, problem.Invalid) {
			t.Errorf("the span %+v: %v", f, err)
		}
	}
	if models, err := w.ledger.UnpricedModels(ctx, vera); err != nil || len(models) != 1 || models[0] != "gpt-5" {
		t.Errorf("models without a price: %v, %v", models, err)
	}
}

func told(b Breakdown) (s string) {
	for i, r := range b.Rows {
		if i > 0 {
			s += ", "
		}
		if r.Server != "" {
			s += r.Server + " "
		}
		s += fmt.Sprintf("%s %d", r.Key, r.Calls)
	}
	return fmt.Sprintf("%s; rest %d of %d", s, b.RestKeys, b.Rest.Calls)
}

func TestSpanOfFilter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	l := New(nil, nil, Config{Now: func() time.Time { return now }})
	for _, c := range []struct {
		f            Filter
		from, before string
		table        string
	}{
		{Filter{}, "2026-10-24 00:00", "2026-09-24 00:00", "usage_days"},
		{Filter{Since: now.Add(-24 * time.Hour)}, "2026-11-21 10:00", "2026-11-20 09:00", "usage_hours"},
		{Filter{Since: now.AddDate(0, 0, -200), Until: now.AddDate(0, 0, -199)}, "2026-05-06 00:00", "2026-05-04 00:00", "usage_days"},
	} {
		s, err := l.span(c.f)
		const form = "2006-01-02 15:04"
		if err != nil || s.from.Format(form) != c.from || s.before().from.Format(form) != c.before || s.table != c.table {
			t.Errorf("%+v: %s from %s, before that from %s, %v", c.f, s.table, s.from.Format(form), s.before().from.Format(form), err)
		}
	}
}
