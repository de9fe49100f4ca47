package usage

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/client"
	"countersign/internal/pgtest"
)

const batchOf = 1000

// BenchmarkRecord stores call records of one gateway in batches of 1,000, of 100 different callers and tools: records for
// each second. To be compared with BenchmarkRecordFloor.
func BenchmarkRecord(b *testing.B) {
	db := pgtest.New(b)
	l := New(db.Runtime, nil, Config{})
	w := &world{}
	b.ResetTimer()
	for range b.N {
		w.now = time.Now()
		calls := w.times(batchOf, func(r *client.CallRecord) {
			r.Tool, r.Subject = string(rune('a'+w.n%10)), string(rune('a'+w.n/10%10))
		})
		if _, err := l.Record(b.Context(), edge, calls); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batchOf)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRecordFloor copies the same rows into a table with their key alone, and adds nothing up.
func BenchmarkRecordFloor(b *testing.B) {
	db := pgtest.New(b)
	if _, err := db.Owner.Exec(b.Context(), `create table bare (call_id text, at timestamptz, server text, tool text, subject text, agent text, model text,
		request_tokens bigint, response_tokens bigint, duration_us bigint, primary key (call_id, at)); grant insert on bare to countersign_runtime`); err != nil {
		b.Fatal(err)
	}
	w := &world{}
	b.ResetTimer()
	for range b.N {
		w.now = time.Now()
		rows := make([][]any, 0, batchOf)
		for _, r := range w.times(batchOf) {
			rows = append(rows, []any{r.CallID, r.At, r.Server, r.Tool, r.Subject, r.Agent, r.Model, r.RequestTokens, r.ResponseTokens, r.DurationUS})
		}
		_, err := db.Runtime.CopyFrom(b.Context(), pgx.Identifier{"bare"},
			[]string{"call_id", "at", "server", "tool", "subject", "agent", "model", "request_tokens", "response_tokens", "duration_us"}, pgx.CopyFromRows(rows))
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batchOf)/b.Elapsed().Seconds(), "records/s")
}

// manySums stores 200,000 rows of sums of 30 days, and what they add up to, as the migration does.
func manySums(b *testing.B, db *pgtest.DB) {
	b.Helper()
	for _, sql := range []string{`
		insert into usage_days (at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens,
		    request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at)
		select date_trunc('day', clock_timestamp(), 'UTC') - make_interval(days => n % 30), 'com.acme/s' || n / 30 % 50, 'tool' || n / 30 % 20, 'tool', 'user' || n / 30, 'agent' || n % 7,
		       'model' || n % 5, 10, 9, 1, 0, 0, 0, 100, 1000, 0, 0, 0, 0, 0, array_fill(1, '{19}'), array_fill(1, '{19}'), clock_timestamp()
		from generate_series(1, 200000) n`, fillParts(b), `analyze usage_days, usage_parts`} {
		if _, err := db.Owner.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSumsFloor adds one number up over 200,000 rows of sums of 30 days, once: what a page would cost at least that
// read them all.
func BenchmarkSumsFloor(b *testing.B) {
	db := pgtest.New(b)
	manySums(b, db)
	for b.Loop() {
		if _, err := db.Runtime.Exec(b.Context(), `select sum(calls) from usage_days`); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(milliseconds(b.Elapsed())/float64(b.N), "ms/page")
}

// BenchmarkSums reads all that the page of usage shows of those rows, without a filter.
func BenchmarkSums(b *testing.B) {
	db := pgtest.New(b)
	manySums(b, db)
	l := New(db.Runtime, nil, Config{})
	for b.Loop() {
		l.readPage(b, Filter{}, ByServer)
	}
	b.ReportMetric(milliseconds(b.Elapsed())/float64(b.N), "ms/page")
}

// BenchmarkSumsFiltered reads the page with one filter after the other, and reports the slowest of them.
func BenchmarkSumsFiltered(b *testing.B) {
	db := pgtest.New(b)
	manySums(b, db)
	l := New(db.Runtime, nil, Config{})
	filters := []Filter{
		{Server: "com.acme/s7"}, {Server: "com.acme/s7", Tool: "tool7"}, {Agent: "agent3"}, {Model: "model3"}, {Subject: "user77"}, {Kind: "tool"},
	}
	took := make([]time.Duration, len(filters))
	for b.Loop() {
		for i, f := range filters {
			start := time.Now()
			l.readPage(b, f, ByTool)
			took[i] += time.Since(start)
		}
	}
	b.ReportMetric(milliseconds(slices.Max(took))/float64(b.N), "ms/page")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// readPage reads what the page of usage shows, one after the other.
func (l *Ledger) readPage(b *testing.B, f Filter, by By) {
	b.Helper()
	_, err := l.Summary(b.Context(), ida, f)
	if err == nil {
		_, err = l.Series(b.Context(), ida, f)
	}
	if err == nil {
		_, err = l.Breakdown(b.Context(), ida, f, by, maxRows)
	}
	if err == nil {
		_, err = l.UnpricedModels(b.Context(), ida)
	}
	if err != nil {
		b.Fatal(err)
	}
}
