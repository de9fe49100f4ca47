package usage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/internal/problem"
)

// TestPricesCountFromADayOn calls the same model for three days, with a price that changes on the last.
func TestPricesCountFromADayOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	today := w.now.Truncate(day)
	for days := range 3 {
		w.record(w.call(func(r *client.CallRecord) {
			r.At, r.RequestTokens, r.ResponseTokens = today.AddDate(0, 0, -days), 0, 1_000_000
		}))
	}
	set := func(model, input, from string) Price {
		p, err := w.ledger.SetPrice(ctx, ada, NewPrice{Model: model, Currency: "EUR", Input: input, Output: "0", From: from})
		w.must(err)
		return p
	}
	costs := func() (got [4]string) { // two days ago, yesterday, today; all of it
		t.Helper()
		series, err := w.ledger.Series(ctx, vera, Filter{})
		w.must(err)
		for i, p := range series.Points[27:] {
			got[i] = p.Cost.In("EUR").Amount()
		}
		parts, err := w.ledger.Breakdown(ctx, vera, Filter{}, ByModel, 1)
		w.must(err)
		sum, err := w.ledger.Summary(ctx, vera, Filter{})
		w.must(err)
		if diff := cmp.Diff(sum.Now.Cost, parts.Rows[0].Cost); diff != "" {
			t.Errorf("the page disagrees with itself: %s", diff)
		}
		got[3] = sum.Now.Cost.In("EUR").Amount()
		return got
	}
	is := func(what string, want ...string) {
		t.Helper()
		if got := costs(); got != [4]string(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	yesterday := today.AddDate(0, 0, -1).Format(time.DateOnly)
	second := set("claude-*", "2", yesterday)
	is("a price from yesterday on", "0.00", "2.00", "2.00", "4.00")
	if models, err := w.ledger.UnpricedModels(ctx, vera); err != nil || len(models) != 1 {
		t.Errorf("without a price before: %v, %v", models, err)
	}
	set("claude-*", "3", "")
	is("one before it", "3.00", "2.00", "2.00", "7.00")
	set("CLAUDE-*", "1", today.Format(time.DateOnly))
	is("one after it", "3.00", "2.00", "1.00", "6.00")
	set("claude-*", "9", today.AddDate(0, 0, 1).Format(time.DateOnly))
	is("one that does not count yet", "3.00", "2.00", "1.00", "6.00")
	set("claude-4", "5", yesterday)
	is("a longer name from yesterday on", "3.00", "5.00", "5.00", "13.00")
	if _, err := w.ledger.EndPrice(ctx, ada, second.ID, second.Version); err != nil {
		t.Error(err)
	}
	is("what others hide is ended", "3.00", "5.00", "5.00", "13.00")

	again := NewPrice{Model: "claude-*", Currency: "EUR", Input: "1", Output: "1", From: today.Format(time.DateOnly)}
	if _, err := w.ledger.SetPrice(ctx, ada, again); !problem.Is(err, problem.Conflict) {
		t.Errorf("two from one day on: %v", err)
	}
	for _, from := range []string{"yesterday", "2026-02-30", "0001-01-01", "9999-01-01"} {
		again.From = from
		if _, err := w.ledger.SetPrice(ctx, ada, again); problem.From(err).Fields["from"] == "" {
			t.Errorf("from %q: %v", from, err)
		}
	}
}
