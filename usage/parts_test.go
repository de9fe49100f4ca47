package usage

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/client"
	"countersign/identity"
	"countersign/migrations"
)

func migration(tb testing.TB, name string) string {
	tb.Helper()
	text, err := migrations.FS.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// fillParts is how the migration adds up what is there.
func fillParts(tb testing.TB) string {
	tb.Helper()
	_, fill, _ := strings.Cut(migration(tb, "000006_usage.up.sql"), "insert into usage_parts")
	fill, _, _ = strings.Cut(fill, ";")
	return "insert into usage_parts" + fill
}

// TestPartsAreWhatDaysAddUpTo stores batches of two gateways at once, some of them twice, over the same names and over
// midnight, and compares what was added up meanwhile with what the migration would make of it.
func TestPartsAreWhatDaysAddUpTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	midnight := w.now.Truncate(day)
	batch := func(n int) (calls []client.CallRecord) {
		for i := range 60 {
			calls = append(calls, w.call(func(r *client.CallRecord) {
				r.At = midnight.Add(time.Duration(i%4-2) * time.Minute)
				r.Tool, r.Subject, r.Agent = fmt.Sprint("t", i%5), fmt.Sprint("p", (i+n)%7), fmt.Sprint("a", i%3)
				r.Model, r.DurationUS, r.UpstreamUS, r.RequestTokens = fmt.Sprint("m", i%2), 1<<(i%30), 1<<(i%29), int64(i)
				r.Decision = []client.Decision{client.AllowedCall, client.FailedCall, client.DeniedCall}[i%3]
				if i%10 == 0 {
					r.Server = "com.acme/parcels"
				}
			}))
		}
		return calls
	}
	var all sync.WaitGroup
	for n := range 4 {
		calls, gateway := batch(n), fmt.Sprint("gtw_", 1+n%2)
		for range 2 {
			all.Go(func() {
				if _, err := w.ledger.Record(t.Context(), identity.Principal{Kind: identity.Gateway, ID: gateway, GatewayID: gateway}, slices.Clone(calls)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	for _, table := range []string{"usage_hours", "usage_days"} {
		w.exec(`insert into ` + table + ` select at - interval '500 days', server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors,
		request_tokens, response_tokens, request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at, used_at from ` + table + ` limit 1`)
	}
	w.exec(`insert into usage_parts select step, at - interval '500 days', part, server, tool, agent, subject, kind, model, calls, allowed, denied, held, failed, errors,
		request_tokens, response_tokens, took, added, last_at from usage_parts`)
	w.must(w.ledger.keep(t.Context())) // what is too old goes from both

	const digest = `select count(*) || ' ' || sum(calls) || ' ' || md5(string_agg(p::text, ',' order by p::text)) from usage_parts p`
	kept := value[string](w, digest)
	w.exec(migration(t, "000006_usage.down.sql"))
	w.exec(migration(t, "000006_usage.up.sql"))
	if made := value[string](w, digest); kept != made {
		t.Errorf("kept %s, want %s", kept, made)
	}
	if n := value[int](w, `select sum(calls) from usage_parts where step = 'day' and part = 'all'`); n != 240 {
		t.Errorf("%d calls, want 240", n)
	}
}

// TestEachQuestionFindsItsPart asks for each breakdown with each filter, of sums of hours and of days, which say the same.
func TestEachQuestionFindsItsPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 24 {
		w.record(w.call(func(r *client.CallRecord) {
			r.At = w.now.Truncate(day) // sums of hours and of days have the same calls
			r.Server, r.Tool, r.Subject = fmt.Sprint("com.acme/s", i%2), fmt.Sprint("t", i%3), fmt.Sprint("p", i%4)
			r.Agent, r.Model, r.DurationUS = fmt.Sprint("a", i/12), fmt.Sprint("m", i/8), int64(i)*1000
		}))
	}
	filters := []Filter{
		{},
		{Server: "com.acme/s1"},
		{Tool: "t1"},
		{Server: "com.acme/s1", Tool: "t1"},
		{Agent: "a1"},
		{Subject: "p1"},
		{Model: "m1"},
		{Kind: "tool"},
		{Server: "com.acme/s0", Agent: "a0"},
		{Tool: "t0", Agent: "a0", Model: "m0"},
		{Agent: "a0", Subject: "p1"},
	}
	for _, f := range filters {
		for _, by := range Bys() {
			byDay, err := w.ledger.Breakdown(t.Context(), ida, f, by, 2)
			w.must(err)
			f.Since = w.now.Add(-2 * day)
			byHour, err := w.ledger.Breakdown(t.Context(), ida, f, by, 2)
			w.must(err)
			f.Since = time.Time{}
			byDay.From, byDay.To = byHour.From, byHour.To
			if got, want := fmt.Sprintf("%+v", byDay), fmt.Sprintf("%+v", byHour); got != want || byDay.All.Calls == 0 {
				t.Errorf("%+v by %s:\n%s, of hours\n%s", f, by, got, want)
			}
			var listed int64
			for _, row := range byDay.Rows {
				listed += row.Calls
			}
			if listed+byDay.Rest.Calls != byDay.All.Calls {
				t.Errorf("%+v by %s: %d listed and %d not, of %d", f, by, listed, byDay.Rest.Calls, byDay.All.Calls)
			}
		}
	}
}
