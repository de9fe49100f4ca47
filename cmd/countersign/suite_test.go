package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// suite is a version of the conformance suite of the protocol, which others wrote, and what of it is run.
type suite struct {
	name      string
	module    []string // in node_modules
	args      []string
	stateless bool // against a server without sessions
}

var suites = []suite{
	{"0.1.16 active", []string{"@modelcontextprotocol", "conformance"}, nil, false},
	{"0.2.0-alpha.12 2025-11-25", []string{"conformance-next"}, []string{"--requirements", "2025-11-25"}, false},
	{"0.2.0-alpha.12 2026-07-28", []string{"conformance-next"}, []string{"--requirements", "2026-07-28"}, true},
}

// findings are the checks of each scenario, as "status id name", sorted.
type findings map[string][]string

// counts says how many checks of a scenario passed and failed.
func (f findings) counts(scenario string) string {
	passed, failed := 0, 0
	for _, check := range f[scenario] {
		switch {
		case strings.HasPrefix(check, "SUCCESS "):
			passed++
		case strings.HasPrefix(check, "FAILURE "):
			failed++
		}
	}
	return fmt.Sprintf("%d/%d", passed, passed+failed)
}

// run runs the suite against a server. That scenarios fail is no error: what matters is that they fail alike.
func (s suite) run(ctx context.Context, t *testing.T, url string) findings {
	t.Helper()
	results := t.TempDir()
	script := module(t, append(slices.Clone(s.module), "dist", "index.js")...)
	command := exec.CommandContext(ctx, node(t), append([]string{script, "server", "--url", url, "--output-dir", results}, s.args...)...)
	command.Env = []string{"HOME=" + t.TempDir(), "PATH=" + filepath.Dir(node(t)) + ":/usr/bin:/bin"}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
		t.Fatalf("running the suite: %v", err)
	}
	found := readFindings(t, results)
	if len(found) == 0 {
		t.Fatalf("%s tested nothing of %s:\n%s", s.name, url, out.String())
	}
	return found
}

// resultFolder is how the suite names the folder of a scenario: with the time at the end.
var resultFolder = regexp.MustCompile(`^server-(.+)-\d{4}-\d{2}-\d{2}T[\d-]+Z$`)

func readFindings(t *testing.T, folder string) findings {
	t.Helper()
	found := findings{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		m := resultFolder.FindStringSubmatch(e.Name())
		if m == nil {
			t.Fatalf("the suite wrote %s", e.Name())
		}
		raw, err := os.ReadFile(filepath.Join(folder, e.Name(), "checks.json"))
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ Status, ID, Name string }
		if err := json.Unmarshal(raw, &checks); err != nil {
			t.Fatal(err)
		}
		lines := []string{}
		for _, c := range checks {
			lines = append(lines, strings.Join([]string{c.Status, c.ID, c.Name}, " "))
		}
		slices.Sort(lines)
		found[m[1]] = lines
	}
	return found
}

// table writes the two results of a suite beside each other, scenario by scenario, and how many differ.
func (s suite) table(direct, through findings) (rows string, differing []string) {
	scenarios := slices.Sorted(maps.Keys(direct))
	for name := range through {
		if _, ok := direct[name]; !ok {
			scenarios = append(scenarios, name)
		}
	}
	var b strings.Builder
	for _, name := range scenarios {
		same := "yes"
		if !slices.Equal(direct[name], through[name]) {
			same = "**no**"
			differing = append(differing, name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.name, name, direct.counts(name), through.counts(name), same)
	}
	return b.String(), differing
}
