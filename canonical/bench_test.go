package canonical_test

import (
	"encoding/json"
	"strings"
	"testing"

	"countersign/canonical"
)

var (
	call = []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_orders","arguments":` +
		`{"filter":{"status":"stale","before":"2026-01-01"},"limit":250,"dry_run":false,"tags":["a","b","c"]},"_meta":{"progressToken":1}}}`)
	list = []byte(`{"tools":[` + strings.TrimSuffix(strings.Repeat(`{"name":"t","description":"Deletes orders, \"for good\".",`+
		`"inputSchema":{"type":"object","properties":{"id":{"type":"string","maxLength":20}},"required":["id"]}},`, 500), ",") + `]}`)
)

func benchmark(b *testing.B, data []byte, do func([]byte) error) {
	b.Helper()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := do(data); err != nil {
			b.Fatal(err)
		}
	}
}

func check(data []byte) error     { return canonical.Check(data, canonical.Limits{FoldedKeys: true}) }
func exact(data []byte) error     { _, err := canonical.Exact(data); return err }
func arguments(data []byte) error { _, err := canonical.Arguments(data); return err }
func members(data []byte) error   { _, err := canonical.Members(data); return err }
func anything(data []byte) error  { var v any; return json.Unmarshal(data, &v) }

func BenchmarkCheckCall(b *testing.B)     { benchmark(b, call, check) }
func BenchmarkCheckList(b *testing.B)     { benchmark(b, list, check) }
func BenchmarkMembersCall(b *testing.B)   { benchmark(b, call, members) }
func BenchmarkExactCall(b *testing.B)     { benchmark(b, call, exact) }
func BenchmarkExactList(b *testing.B)     { benchmark(b, list, exact) }
func BenchmarkArgumentsCall(b *testing.B) { benchmark(b, call, arguments) }

// BenchmarkUnmarshalList is the floor to compare with.
func BenchmarkUnmarshalList(b *testing.B) { benchmark(b, list, anything) }
