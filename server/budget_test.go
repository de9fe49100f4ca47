package server

import (
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"
)

// budgetRegistry is the registry of the performance budget: 1,000 active servers with 20 pinned tools each.
const budgetRegistry = `
	with s as (
	  insert into servers (id, name, title, team_id, state, created_by)
	  select 'srv_' || n, 'com.acme/system-' || n, 'System ' || n, (select id from teams limit 1), 'active', 'bench' from generate_series(1, 1000) n
	  returning id),
	e as (
	  insert into endpoints (id, server_id, transport, url, digest)
	  select 'end_' || n, 'srv_' || n, 'streamable_http', 'https://system.acme.example/mcp', sha256(n::text::bytea) from generate_series(1, 1000) n
	  returning id),
	t as (
	  insert into tools (id, server_id, kind, name, risk, observed_digest, observed_endpoint, observed_at)
	  select 'tol_' || n || '_' || i, 'srv_' || n, 'tool', 'tool_' || n || '_' || i, 'read_only', sha256(('tool_' || n || '_' || i)::bytea), 'end_' || n, clock_timestamp()
	  from generate_series(1, 1000) n, generate_series(1, 20) i
	  returning id)
	insert into definitions (id, tool_id, number, digest, raw, proposed_risk, state, tokens)
	select 'def_' || n || '_' || i, 'tol_' || n || '_' || i, 1, sha256(('tool_' || n || '_' || i)::bytea),
	       ('{"name":"tool_' || n || '_' || i || '","description":"Looks up one record.","inputSchema":{"type":"object"}}')::bytea, 'read_only', 'approved', 30
	from generate_series(1, 1000) n, generate_series(1, 20) i`

// BenchmarkPages asks for the pages that people open, one after the other, of a registry of the budget's size, and
// reports the 95th percentile of the answers and what the replica holds in memory. The policy of all of it is in force.
func BenchmarkPages(b *testing.B) {
	benchmarkPages(b, "/servers", "/servers/srv_500", "/servers/srv_500/access", "/drift", "/", "/grants/new", "/gateways", "/policy")
}

// BenchmarkSprawl is the report that reads all of the registry.
func BenchmarkSprawl(b *testing.B) { benchmarkPages(b, "/sprawl") }

func benchmarkPages(b *testing.B, pages ...string) {
	b.Helper()
	w := newWorld(b)
	w.exec(budgetRegistry)
	w.exec(`update tools set pinned_id = 'def' || substr(id, 4)`)
	w.exec(`analyze`)
	ada := w.signIn("ada")
	edge := w.enrol("edge", "*")
	for edge.get("/v1/policy", "Prefer", "wait=30").status != http.StatusOK {
		if b.Context().Err() != nil {
			b.Fatal("there is no policy")
		}
	}
	for _, page := range pages { // the first answers also prepare statements
		ada.get(page).want(b, http.StatusOK)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		ada.get(pages[i%len(pages)]).want(b, http.StatusOK)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB")
}
