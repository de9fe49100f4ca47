// Command bench prints the rows of the performance budget that are measured so far, as a Markdown table. Floor and
// ours are Go benchmarks that run in the same process, one after the other, so that their ratio means something
// on any machine. It measures and never judges: it exits 0 whether the targets are met or not.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// row is one line of the budget: two benchmarks of a package, the metric that counts, and what it should be. Where
// the budget is an absolute figure there is no floor.
type row struct {
	what, pkg, floor, ours, metric string
	target                         string
	met                            func(floor, ours measured) bool

	time string // as -benchtime; "": 1s
	runs int    // how often; 0: 5. The median counts
}

// measured are the values of one benchmark, by unit: "ns/op", "allocs/op", …, each the median of the runs.
type measured map[string]float64

var rows = []row{
	{
		what: "decision with obligations (1,000 servers × 20 tools, 10,000 grants)", pkg: "./policy",
		floor: "BenchmarkFloor", ours: "BenchmarkDecideAllowed", metric: "ns/op", target: "≤ 2×, 0 allocations",
		met: func(floor, ours measured) bool { return ours["ns/op"] <= 2*floor["ns/op"] && ours["allocs/op"] == 0 },
	},
	{
		what: "the same decision in stock OPA", pkg: "./delivery",
		floor: "BenchmarkDecisionInOPA", ours: "BenchmarkDecision", metric: "ns/op", target: "we are ≥ 50× faster",
		met:  func(floor, ours measured) bool { return 50*ours["ns/op"] <= floor["ns/op"] },
		runs: 3,
	},
	{
		what: "redeem: judge the policy, then the statement; 16 connections", pkg: "./approvals",
		floor: "BenchmarkRedeemStatement", ours: "BenchmarkRedeem", metric: "redeemed/s", target: "≥ 0.6× throughput",
		met: func(floor, ours measured) bool { return ours["redeemed/s"] >= 0.6*floor["redeemed/s"] },
	},
	{
		what: "asked → in the queue of an open browser, p99", pkg: "./server", ours: "BenchmarkHeldCallShown", metric: "p99-ms",
		target: "≤ 1 s", met: func(_, ours measured) bool { return ours["p99-ms"] <= 1000 }, time: "100x", runs: 3,
	},
	{
		what: "Approve pressed → the gateway that waits holds the token, p99", pkg: "./server", ours: "BenchmarkApproveToToken", metric: "p99-ms",
		target: "≤ 250 ms", met: func(_, ours measured) bool { return ours["p99-ms"] <= 250 }, time: "100x", runs: 3,
	},
	{
		what: "queue page with 10,000 pending, server side, p95", pkg: "./server", ours: "BenchmarkQueuePage", metric: "p95-ms",
		target: "≤ 50 ms", met: func(_, ours measured) bool { return ours["p95-ms"] <= 50 }, time: "200x", runs: 3,
	},
	{
		what: "full compile: read, compile, sign, compress, store, index (20,000 tools, 10,000 grants)", pkg: "./delivery",
		floor: "BenchmarkFullCompileFloor", ours: "BenchmarkFullCompile", metric: "cpu-ms/op",
		target: "≤ 3× read, index, encode, hash and compress, in processor time of our side",
		met:    func(floor, ours measured) bool { return ours["cpu-ms/op"] <= 3*floor["cpu-ms/op"] },
	},
	{
		what: "304 with authentication, 64 connections", pkg: "./bench",
		floor: "BenchmarkUnchangedFloor", ours: "BenchmarkUnchanged", metric: "requests/cpu-s", target: "≥ 0.6× bare net/http",
		met:  func(floor, ours measured) bool { return ours["requests/cpu-s"] >= 0.6*floor["requests/cpu-s"] },
		time: "3x", runs: 3,
	},
	{
		what: "10,000 parked long-polls, memory of each", pkg: "./bench",
		floor: "BenchmarkParkedFloor", ours: "BenchmarkParked", metric: "kB/gateway", target: "≤ 1.5× bare net/http",
		met:  func(floor, ours measured) bool { return ours["kB/gateway"] <= 1.5*floor["kB/gateway"] },
		time: "1x", runs: 3,
	},
	{
		what: "edit committed → active in 100 gateways, p99", pkg: "./bench",
		floor: "BenchmarkRollout100Floor", ours: "BenchmarkRollout100", metric: "p99-ms", target: "≤ 15× a push with no compile",
		met:  func(floor, ours measured) bool { return ours["p99-ms"] <= 15*floor["p99-ms"] },
		time: "20x", runs: 3,
	},
	{
		what: "edit committed → active in 1,000 gateways, p99", pkg: "./bench",
		floor: "BenchmarkRollout1000Floor", ours: "BenchmarkRollout1000", metric: "p99-ms", target: "≤ 15× a push with no compile",
		met:  func(floor, ours measured) bool { return ours["p99-ms"] <= 15*floor["p99-ms"] },
		time: "5x", runs: 3,
	},
	{
		what: "the same with NOTIFY lost, 100 gateways, p99", pkg: "./bench", ours: "BenchmarkRolloutUnnotified", metric: "p99-ms",
		target: "≤ 5 s and a compile", met: func(_, ours measured) bool { return ours["p99-ms"] <= 6000 }, time: "5x", runs: 3,
	},
	{
		what: "discovery of a server with 20 tools, beside 1,000 others", pkg: "./registry",
		floor: "BenchmarkDiscoveryRows", ours: "BenchmarkDiscovery", metric: "servers/s", target: "≥ 0.2× the bare rows",
		met: func(floor, ours measured) bool { return ours["servers/s"] >= 0.2*floor["servers/s"] },
	},
	{
		what: "drift comparison of 20,000 definitions", pkg: "./registry",
		floor: "BenchmarkDriftDecode", ours: "BenchmarkDrift", metric: "ns/op", target: "≤ 1.5× encoding/json there and back",
		met: func(floor, ours measured) bool { return ours["ns/op"] <= 1.5*floor["ns/op"] },
	},
	{
		what: "console pages but the sprawl report, server side, p95 (1,000 servers, 20,000 tools)", pkg: "./server", ours: "BenchmarkPages", metric: "p95-ms",
		target: "≤ 50 ms", met: func(_, ours measured) bool { return ours["p95-ms"] <= 50 },
	},
	{
		what: "the sprawl report of that registry, p95", pkg: "./server", ours: "BenchmarkSprawl", metric: "p95-ms",
		target: "≤ 50 ms", met: func(_, ours measured) bool { return ours["p95-ms"] <= 50 },
	},
	{
		what: "memory of a replica with that registry", pkg: "./server", ours: "BenchmarkPages", metric: "MiB",
		target: "≤ 256 MiB", met: func(_, ours measured) bool { return ours["MiB"] <= 256 },
	},
	{
		what: "call records stored, told apart from those that came before, and added up, in batches of 1,000", pkg: "./usage",
		floor: "BenchmarkRecordFloor", ours: "BenchmarkRecord", metric: "records/s", target: "≥ 0.2× a bare COPY into a table with its key alone",
		met:  func(floor, ours measured) bool { return ours["records/s"] >= 0.2*floor["records/s"] },
		time: "30x",
	},
	{
		what: "usage page of a month with 200,000 sums, beside one number added up over those", pkg: "./usage",
		floor: "BenchmarkSumsFloor", ours: "BenchmarkSums", metric: "ms/page", target: "≤ 50 ms",
		met: func(_, ours measured) bool { return ours["ms/page"] <= 50 }, time: "20x", runs: 3,
	},
	{
		what: "the same with one filter, the slowest of six", pkg: "./usage",
		floor: "BenchmarkSumsFloor", ours: "BenchmarkSumsFiltered", metric: "ms/page", target: "≤ 200 ms",
		met: func(_, ours measured) bool { return ours["ms/page"] <= 200 }, time: "5x", runs: 3,
	},
	{
		what: "proxied tools/call, JSON, 1 connection: added to a direct call, p50", pkg: "./gateway",
		floor: "BenchmarkAddedBare1", ours: "BenchmarkAdded1", metric: "p50-µs", target: "≤ 0.5 ms",
		met: addedLittle, time: "2000x", runs: 3,
	},
	{
		what: "the same, 8 connections", pkg: "./gateway",
		floor: "BenchmarkAddedBare8", ours: "BenchmarkAdded8", metric: "p50-µs", target: "≤ 0.5 ms on a core for each",
		met: addedLittle, time: "4000x", runs: 3,
	},
	{
		what: "the same, 64 connections", pkg: "./gateway",
		floor: "BenchmarkAddedBare64", ours: "BenchmarkAdded64", metric: "p50-µs", target: "≤ 0.5 ms on a core for each",
		met: addedLittle, time: "6400x", runs: 3,
	},
	{
		what: "proxied tools/call, JSON, 1 connection, p99", pkg: "./gateway",
		floor: "BenchmarkAddedBare1", ours: "BenchmarkAdded1", metric: "p99-µs", target: "≤ 5 ms", met: addedTail, time: "2000x", runs: 3,
	},
	{
		what: "the same, 8 connections, p99", pkg: "./gateway",
		floor: "BenchmarkAddedBare8", ours: "BenchmarkAdded8", metric: "p99-µs", target: "≤ 5 ms", met: addedTail, time: "4000x", runs: 3,
	},
	{
		what: "the same, 64 connections, p99", pkg: "./gateway",
		floor: "BenchmarkAddedBare64", ours: "BenchmarkAdded64", metric: "p99-µs", target: "≤ 5 ms on a core for each", met: addedTail, time: "6400x", runs: 3,
	},
	{
		what: "the same as an event, 8 connections, p50", pkg: "./gateway",
		floor: "BenchmarkAddedBareEvents", ours: "BenchmarkAddedEvents", metric: "p50-µs", target: "≤ 0.5 ms on a core for each",
		met: addedLittle, time: "4000x", runs: 3,
	},
	{
		what: "by a protocol with sessions, 8 connections, p50", pkg: "./gateway",
		floor: "BenchmarkAddedBare8", ours: "BenchmarkAddedLegacy", metric: "p50-µs", target: "≤ 0.5 ms on a core for each",
		met: addedLittle, time: "4000x", runs: 3,
	},
	{
		what: "the same as an event, 8 connections, p50", pkg: "./gateway",
		floor: "BenchmarkAddedBareEvents", ours: "BenchmarkAddedLegacyEvents", metric: "p50-µs", target: "≤ 0.5 ms on a core for each",
		met: addedLittle, time: "4000x", runs: 3,
	},
	{
		what: "memory of an open stream through the gateway, with the test's own end", pkg: "./gateway",
		floor: "BenchmarkOpenStreamBare", ours: "BenchmarkOpenStream", metric: "kB/stream", target: "≤ 2× a bare proxy",
		met:  func(floor, ours measured) bool { return ours["kB/stream"] <= 2*floor["kB/stream"] },
		time: "1x", runs: 3,
	},
	{
		what: "memory of an idle session", pkg: "./gateway", ours: "BenchmarkIdleSession", metric: "B/session",
		target: "≤ 1 kB", met: func(_, ours measured) bool { return ours["B/session"] <= 1024 }, time: "1x", runs: 3,
	},
}

// What the gateway may add to a call, in microseconds.
func addedLittle(_, ours measured) bool { return ours["p50-µs"] <= 500 }

func addedTail(_, ours measured) bool { return ours["p99-µs"] <= 5000 }

func main() {
	run(context.Background(), os.Stdout, os.Stderr)
}

func run(ctx context.Context, out, progress io.Writer) {
	fmt.Fprintln(out, "| what | floor | ours | ratio | target | met |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Fprintln(progress, "measuring:", r.what)
		results, err := measure(ctx, r)
		if err != nil {
			fmt.Fprintf(out, "| %s | | | | %s | not measured: %v |\n", r.what, r.target, err)
			continue
		}
		floor, ours := results[r.floor], results[r.ours]
		met := "no"
		if r.met(floor, ours) {
			met = "yes"
		}
		ratio := ""
		if r.floor != "" {
			ratio = strconv.FormatFloat(ours[r.metric]/floor[r.metric], 'f', 2, 64)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s |\n", r.what, value(floor, r.metric), value(ours, r.metric), ratio, r.target, met)
	}
}

func value(m measured, metric string) string {
	if m == nil {
		return ""
	}
	return strconv.FormatFloat(m[metric], 'f', -1, 64) + " " + metric
}

func measure(ctx context.Context, r row) (map[string]measured, error) {
	pattern := "^(" + strings.Trim(r.floor+"|"+r.ours, "|") + ")$"
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchmem", "-benchtime", cmp.Or(r.time, "1s"), //nolint:gosec // the rows above
		"-count", strconv.Itoa(cmp.Or(r.runs, 5)), r.pkg)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(stdout.String()+stderr.String()))
	}
	results := medians(&stdout)
	if r.floor != "" && results[r.floor] == nil || results[r.ours] == nil {
		return nil, fmt.Errorf("%s has no such benchmarks", r.pkg)
	}
	return results, nil
}

var line = regexp.MustCompile(`^(Benchmark\w+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// medians reads the output of go test -bench.
func medians(r io.Reader) map[string]measured {
	all := map[string]map[string][]float64{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		m := line.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if all[m[1]] == nil {
			all[m[1]] = map[string][]float64{}
		}
		fields := strings.Fields(m[2])
		for i := 0; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				all[m[1]][fields[i+1]] = append(all[m[1]][fields[i+1]], v)
			}
		}
	}
	out := map[string]measured{}
	for name, units := range all {
		out[name] = measured{}
		for unit, values := range units {
			slices.SortFunc(values, cmp.Compare[float64])
			out[name][unit] = values[len(values)/2]
		}
	}
	return out
}

func lastLine(s string) string {
	parts := strings.Split(strings.TrimSpace(s), "\n")
	return parts[len(parts)-1]
}
