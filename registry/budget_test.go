package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"countersign/client"
)

// The size of the registry in the performance budget.
const (
	benchServers = 1_000
	benchTools   = 20
)

// benchOffer is what server n of the budget's registry offers: tools of the size that real ones have.
func benchOffer(n int) client.Offer {
	var offer client.Offer
	for i := range benchTools {
		offer.Tools = append(offer.Tools, fmt.Appendf(nil, `{"name":"tool_%d","description":"Looks up record %d of system %d and gives its fields, newest first, as one object for each.",`+
			`"inputSchema":{"type":"object","properties":{"id":{"type":"string","description":"Which record, as list_records gives it."},"limit":{"type":"integer","minimum":1,"maximum":500},`+
			`"fields":{"type":"array","items":{"type":"string"}},"order":{"enum":["asc","desc"]}},"required":["id"],"additionalProperties":false},"annotations":{"readOnlyHint":true}}`, i, i, n))
	}
	return offer
}

// benchRegistry fills a registry to the size of the budget, by statements and not by discoveries.
func benchRegistry(b *testing.B) *world {
	b.Helper()
	w := newWorld(b)
	location := Location{Transport: StreamableHTTP, URL: "https://orders.acme.example/mcp"}
	digest, err := location.digest()
	w.must(err)
	var servers, endpoints, tools, definitions [][]any
	for n := range benchServers {
		server := fmt.Sprintf("srv_bench%04d", n)
		servers = append(servers, []any{server, fmt.Sprintf("com.acme/bench-%04d", n), w.team, "active", "bench"})
		endpoints = append(endpoints, []any{"end" + server[3:], server, "streamable_http", location.URL, digest[:]})
		seen, err := readOffer(benchOffer(n))
		w.must(err)
		for i, it := range seen.items {
			id := fmt.Sprintf("%s-%d", server[4:], i)
			tools = append(tools, []any{"tol_" + id, server, "tool", it.Name, "read_only", it.digest[:], "end" + server[3:]})
			definitions = append(definitions, []any{"def_" + id, "tol_" + id, 1, it.digest[:], it.raw, "read_only", "approved"})
		}
	}
	for _, fill := range []struct {
		table   string
		columns []string
		rows    [][]any
	}{
		{"servers", []string{"id", "name", "team_id", "state", "created_by"}, servers},
		{"endpoints", []string{"id", "server_id", "transport", "url", "digest"}, endpoints},
		{"tools", []string{"id", "server_id", "kind", "name", "risk", "observed_digest", "observed_endpoint"}, tools},
		{"definitions", []string{"id", "tool_id", "number", "digest", "raw", "proposed_risk", "state"}, definitions},
	} {
		_, err := w.db.Owner.CopyFrom(w.ctx, pgx.Identifier{fill.table}, fill.columns, pgx.CopyFromRows(fill.rows))
		w.must(err)
	}
	for _, sql := range []string{`update tools set pinned_id = 'def' || substr(id, 4) where pinned_id is null`, `analyze`} {
		_, err := w.db.Owner.Exec(w.ctx, sql)
		w.must(err)
	}
	return w
}

// BenchmarkDiscovery receives what a gateway found at one more server, in a registry of the budget's size; to be
// compared with BenchmarkDiscoveryRows, which only writes the same rows.
func BenchmarkDiscovery(b *testing.B) {
	w := benchRegistry(b)
	n := 0
	for b.Loop() {
		b.StopTimer()
		_, _, err := w.Register(w.ctx, w.owner, registration(fmt.Sprintf("com.acme/new-%d", n), w.team))
		w.must(err)
		job, offer := w.leaseOne(), benchOffer(benchServers+n)
		n++
		b.StartTimer()
		w.must(w.Finish(w.ctx, w.edge, job.ID, offer))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "servers/s")
}

// BenchmarkDiscoveryRows is the floor of BenchmarkDiscovery.
func BenchmarkDiscoveryRows(b *testing.B) {
	w := benchRegistry(b)
	n := 0
	for b.Loop() {
		b.StopTimer()
		server, _, err := w.Register(w.ctx, w.owner, registration(fmt.Sprintf("com.acme/new-%d", n), w.team))
		w.must(err)
		var names []string
		var digests, raws [][]byte
		for i, raw := range benchOffer(benchServers + n).Tools {
			sum := sha256.Sum256(raw)
			names, digests, raws = append(names, fmt.Sprintf("tool_%d", i)), append(digests, sum[:]), append(raws, raw)
		}
		n++
		b.StartTimer()
		_, err = w.db.Runtime.Exec(w.ctx, `
			with t as (
			  insert into tools (server_id, kind, name, observed_digest, observed_at)
			  select @server, 'tool', n.name, n.digest, clock_timestamp() from unnest(@names::text[], @digests::bytea[]) as n (name, digest)
			  returning id, observed_digest)
			insert into definitions (tool_id, number, digest, raw, proposed_risk)
			select t.id, 1, n.digest, n.raw, 'read_only' from t join unnest(@digests::bytea[], @raws::bytea[]) as n (digest, raw) on n.digest = t.observed_digest`,
			pgx.StrictNamedArgs{"server": server.ID, "names": names, "digests": digests, "raws": raws})
		w.must(err)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "servers/s")
}

// BenchmarkDrift compares the 20,000 definitions of the budget's registry with what is pinned: the exact canonical
// form, its digest, and the comparison. To be compared with BenchmarkDriftDecode.
func BenchmarkDrift(b *testing.B) {
	offers, tools := benchFleet(b)
	b.ReportAllocs()
	for b.Loop() {
		for n, offer := range offers {
			seen, err := readOffer(offer)
			if err != nil {
				b.Fatal(err)
			}
			if c := compare(tools[n], seen); len(c.same) != benchTools {
				b.Fatalf("server %d: %d unchanged", n, len(c.same))
			}
		}
	}
}

// BenchmarkDriftDecode is the floor of BenchmarkDrift: decode and encode each definition with encoding/json, which
// orders its members and rounds its numbers, and hash it.
func BenchmarkDriftDecode(b *testing.B) {
	offers, _ := benchFleet(b)
	var last [32]byte
	for b.Loop() {
		for _, offer := range offers {
			for _, raw := range offer.Tools {
				var value any
				if err := json.Unmarshal(raw, &value); err != nil {
					b.Fatal(err)
				}
				text, err := json.Marshal(value)
				if err != nil || bytes.Equal(text, raw) {
					b.Fatal("the members are in order already, or: ", err)
				}
				last = sha256.Sum256(text)
			}
		}
	}
	_ = last
}

func benchFleet(b *testing.B) (offers []client.Offer, tools [][]known) {
	b.Helper()
	for n := range benchServers {
		offer := benchOffer(n)
		seen, err := readOffer(offer)
		if err != nil {
			b.Fatal(err)
		}
		var pinned []known
		for i, it := range seen.items {
			pinned = append(pinned, known{ID: fmt.Sprint(i), Kind: it.Kind, Name: it.Name, Observed: it.digest[:], Pinned: it.digest[:]})
		}
		offers, tools = append(offers, offer), append(tools, pinned)
	}
	return offers, tools
}

// BenchmarkServers is the first page of the list of servers at the budget's size.
func BenchmarkServers(b *testing.B) {
	w := benchRegistry(b)
	for b.Loop() {
		page, err := w.Servers(w.ctx, w.viewer, ServerFilter{})
		w.must(err)
		if len(page.Items) != 50 {
			b.Fatalf("%d servers", len(page.Items))
		}
	}
}
