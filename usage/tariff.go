package usage

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"countersign/policy"
)

// tariff is which prices count in a span: some from its beginning on, others from a day within it. An era is a part of
// the span in which none changes.
//
//	prices:  claude-* 3 EUR ──────────────▶ claude-* 2 EUR from 1 November ──▶
//	span:          from ├───────── era 0 ─┼─ era 1 ──────┤ to
type tariff struct {
	days  []time.Time // on which an era begins, but for the first
	lists []priceList // of each era
}

func newTariff(prices []Price, s span) tariff {
	var t tariff
	for _, p := range prices {
		if p.ValidFrom.After(s.from) && p.ValidFrom.Before(s.to) {
			t.days = append(t.days, p.ValidFrom)
		}
	}
	slices.SortFunc(t.days, time.Time.Compare)
	t.days = slices.CompactFunc(t.days, time.Time.Equal)
	t.lists = append(t.lists, pricesAt(prices, s.from))
	for _, day := range t.days {
		t.lists = append(t.lists, pricesAt(prices, day))
	}
	return t
}

// at gives the prices of an era.
func (t tariff) at(era int) priceList {
	if era >= len(t.lists) {
		return nil
	}
	return t.lists[era]
}

// era is the column of a query that says in which era a sum is.
func (t tariff) era(w *where) string {
	if len(t.days) == 0 {
		return "0"
	}
	w.args["eras"] = t.days
	return "width_bucket(at, @eras::timestamptz[])"
}

// priceList are the prices that count at a time, the one that counts first before the others that match.
type priceList []Price

func pricesAt(prices []Price, at time.Time) priceList {
	latest := map[string]Price{}
	for _, p := range prices {
		model := strings.ToLower(p.Model)
		if was, other := latest[model]; !p.ValidFrom.After(at) && (!other || p.ValidFrom.After(was.ValidFrom)) {
			latest[model] = p
		}
	}
	var list priceList
	for _, p := range latest {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Price) int {
		return cmp.Or(cmp.Compare(len(strings.ReplaceAll(b.Model, "*", "")), len(strings.ReplaceAll(a.Model, "*", ""))), cmp.Compare(a.Model, b.Model))
	})
	return list
}

// of gives the price of a model. A call whose model nobody knows has none.
func (l priceList) of(model string) (Price, bool) {
	if model == "" || model == Other {
		return Price{}, false
	}
	for _, p := range l {
		if policy.Glob(strings.ToLower(p.Model), strings.ToLower(model)) {
			return p, true
		}
	}
	return Price{}, false
}
