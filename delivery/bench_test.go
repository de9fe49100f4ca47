package delivery

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/policy"
)

// The size of the registry in the performance budget.
const (
	benchServers = 1_000
	benchTools   = 20
	benchGrants  = 10_000
)

// benchWorld fills a registry to the size of the budget, by statements, with one audience that sees all of it, and makes
// a leader that has compiled it once: what the registry keeps parsed between two compiles is there.
func benchWorld(b *testing.B) (*world, *leader) {
	b.Helper()
	w := newWorld(b)
	random := rand.New(rand.NewPCG(7, 7))
	endpoint, definition := canonical.Sum("test", []byte("endpoint")), canonical.Sum("test", []byte("definition"))
	var servers, endpoints, tools, definitions, grants [][]any
	for n := range benchServers {
		id := fmt.Sprintf("bench%04d", n)
		servers = append(servers, []any{"srv_" + id, fmt.Sprintf("team-%02d/server-%04d", n%50, n), w.team, "active", "bench"})
		endpoints = append(endpoints, []any{"end_" + id, "srv_" + id, "streamable_http", "https://mcp.example/" + id, endpoint[:]})
		for i := range benchTools {
			tool := fmt.Sprintf("%s-%02d", id, i)
			tools = append(tools, []any{"tol_" + tool, "srv_" + id, "tool", fmt.Sprintf("tool_%02d", i), []string{"read_only", "write", "destructive"}[i%3], definition[:], "end_" + id})
			definitions = append(definitions, []any{"def_" + tool, "tol_" + tool, 1, definition[:], benchDefinition(i), "read_only", "approved"})
		}
	}
	for n := range benchGrants {
		id := fmt.Sprintf("grt_%05d", n)
		subject, resource := benchRule(random)
		grants = append(grants, []any{id, id, subject, resource, "bench"})
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
		{"grants", []string{"id", "name", "subject", "resource", "created_by"}, grants},
		{"audiences", []string{"id", "name"}, [][]any{{"aud_bench", "all"}}},
	} {
		_, err := w.db.Owner.CopyFrom(w.ctx, pgx.Identifier{fill.table}, fill.columns, pgx.CopyFromRows(fill.rows))
		w.must(err)
	}
	for _, sql := range []string{`update tools set pinned_id = 'def' || substr(id, 4)`, `analyze`} {
		_, err := w.db.Owner.Exec(w.ctx, sql)
		w.must(err)
	}
	l := &leader{Delivery: w.build(w.db.NewPool(b)).Delivery, failed: map[string]int64{}, all: true}
	w.must(l.step(w.ctx))
	w.must(l.catchUp(w.ctx))
	return w, l
}

// benchDefinition is a tool of the size that real ones have.
func benchDefinition(i int) []byte {
	return fmt.Appendf(nil, `{"name":"tool_%02d","description":"Looks up a record.","inputSchema":{"type":"object","properties":{"id":{"type":"string","description":"Which record, as list_records gives it."},`+
		`"limit":{"type":"integer","minimum":1,"maximum":500},"order":{"enum":["asc","desc"]}},"required":["id"],"additionalProperties":false}}`, i)
}

// benchRule draws a grant as in the benchmarks of package policy.
func benchRule(random *rand.Rand) (policy.Subject, policy.Resource) {
	server := random.IntN(benchServers)
	exact, team := fmt.Sprintf("team-%02d/server-%04d", server%50, server), fmt.Sprintf("team-%02d/*", server%50)
	tool := []string{fmt.Sprintf("tool_%02d", random.IntN(benchTools))}
	subject := policy.Subject{Groups: []string{fmt.Sprintf("group-%03d", random.IntN(200))}}
	if random.IntN(100) < 40 {
		subject = policy.Subject{Users: []string{fmt.Sprintf("user-%04d", random.IntN(2000))}}
	}
	switch n := random.IntN(100); {
	case n < 50:
		return subject, policy.Resource{Servers: []string{exact}, Names: tool}
	case n < 85:
		return subject, policy.Resource{Servers: []string{exact}}
	case n < 95:
		return subject, policy.Resource{Servers: []string{team}}
	case n < 99:
		return subject, policy.Resource{Servers: []string{team}, Names: tool}
	default:
		return subject, policy.Resource{Servers: []string{"*"}, Names: tool}
	}
}

// cpu is the processor time that this process has used; that of PostgreSQL is not in it.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkFullCompile takes a change of a grant to where a replica decides by it: read the registry, compile, sign,
// compress, store, load and index. To be compared with BenchmarkFullCompileFloor.
func BenchmarkFullCompile(b *testing.B) {
	w, l := benchWorld(b)
	b.ReportAllocs()
	var used time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		_, err := w.db.Owner.Exec(w.ctx, `update grants set subject = jsonb_build_object('users', jsonb_build_array($1::text)), version = version + 1 where id = 'grt_00000'`, fmt.Sprint("user-", i))
		w.must(err)
		_, err = w.db.Owner.Exec(w.ctx, `update registry_head set generation = generation + 1`)
		w.must(err)
		before, began := l.Current("aud_bench").Revision, cpu(b)
		b.StartTimer()
		w.must(l.step(w.ctx))
		w.must(l.catchUp(w.ctx))
		used += cpu(b) - began
		if l.Current("aud_bench").Revision == before {
			b.Fatal("nothing was published")
		}
	}
	b.ReportMetric(float64(used)/1e6/float64(b.N), "cpu-ms/op")
}

// BenchmarkFullCompileFloor does once what nobody can leave out, and no more: read the rows, undecoded; index the
// document; write it; hash it; compress it. It neither resolves nor validates a rule, signs, stores nor loads.
func BenchmarkFullCompileFloor(b *testing.B) {
	w, l := benchWorld(b)
	document := *l.Current("aud_bench").Index.Document()
	b.ReportAllocs()
	began := cpu(b)
	for b.Loop() {
		for _, sql := range []string{
			`select id, name, state, team_id, labels from servers order by id`,
			`select t.id, t.server_id, t.kind, t.name, t.risk, t.pinned_id, d.digest from tools t join definitions d on d.id = t.pinned_id order by t.server_id, t.kind, t.name`,
			`select id, name, subject::text, resource::text from grants where ended_at is null order by id`,
		} {
			rows, err := w.db.Runtime.Query(w.ctx, sql)
			w.must(err)
			for rows.Next() {
				_ = rows.RawValues()
			}
			w.must(rows.Err())
		}
		_, err := policy.NewIndex(document)
		w.must(err)
		text, err := json.Marshal(document)
		w.must(err)
		_ = sha256.Sum256(text)
		_, err = compress(text)
		w.must(err)
	}
	b.ReportMetric(float64(cpu(b)-began)/1e6/float64(b.N), "cpu-ms/op")
}
