package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/auth"
	"countersign/identity"
	"countersign/registry"
)

const dataTeam = `teams:
  - name: Data
    groups: [analysts]
`

const database = `servers:
  - name: com.acme/db
    title: Database
    team: Data
    url: https://db.acme.example/mcp
access:
  - server: com.acme/db
    tools:
      - {name: db_query, allowed_models: [claude-3, gpt-4], rate_limit: 10/min}
      - {name: send_email, allowed_models: [claude-3], require_mfa: true}
`

// write makes a file in the folder.
func write(t *testing.T, folder, name, text string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilesCommands(t *testing.T) {
	t.Parallel()
	team := startControlled(t)
	admin := team.as(t, auth.NewClient{Name: "admin", Kind: auth.AutomationClient, Roles: []identity.Role{identity.Admin}})
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "exported")
	write(t, folder, "1-teams.yaml", dataTeam)
	write(t, folder, ".hidden.yaml", "no: set")
	write(t, folder, "README.md", "no set")
	db := write(t, folder, "2-db.yml", database)
	events := func() (n int) {
		t.Helper()
		if err := team.db.Owner.QueryRow(t.Context(), `select count(*) from audit_events where kind not like '%.refused'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	step := func(c controlled, code int, args []string, says ...string) string {
		t.Helper()
		got, printed := run(t, append(args, c.flags()...)...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d\n%s", args, got, code, printed)
		}
		for _, words := range says {
			if !strings.Contains(printed, words) {
				t.Errorf("%v does not say %q:\n%s", args, words, printed)
			}
		}
		if strings.ContainsRune(printed, 0x1b) {
			t.Errorf("%v: an escape reaches what is no terminal: %q", args, printed)
		}
		return printed
	}
	before := events()
	step(team, exitChanges, []string{"plan", folder},
		"+ add    team      Data\n    name    Data\n    groups  analysts\n",
		"+ add    server    com.acme/db  Database\n",
		"    = a gateway looks at it; nothing of it can be called before its owner pins its tools\n",
		"+ add    grant     com.acme-db.db_query.allow  db_query of com.acme/db\n",
		"    for.models  claude-3, gpt-4\n", "    rate_limit    10/min\n", "    mfa           yes\n",
		"Plan: 6 to add, 0 to change, 0 to end. In no file, and left as it is: 1 team, 1 guardrail.")
	step(team, exitDenied, []string{"apply", folder, "--yes"}, "This client's roles and team do not allow this.")
	step(admin, exitError, []string{"apply", folder}, "othing was applied")
	if n := events(); n != before {
		t.Fatalf("%d events became %d", before, n)
	}
	step(admin, exitDone, []string{"apply", folder, "--yes"}, "Applied. The policy is at generation ")
	after := events()
	step(team, exitDone, []string{"plan", folder}, "Nothing to do: the registry is as the files say.")
	step(admin, exitDone, []string{"apply", folder, "--yes"}, "Nothing to do")
	if n := events(); n != after {
		t.Errorf("%d events became %d", after, n)
	}

	step(team, exitDone, []string{"export", "--dir", out}, "2 teams, 1 servers, 2 grants and 3 guardrails are in "+out)
	step(team, exitDone, []string{"plan", out, "--prune"}, "Nothing to do: the registry is as the files say.\n")
	if again := step(team, exitDone, []string{"export"}, "key: com.acme-db.db_query.allow", "rate_limit: 10/min"); strings.Count(again, "- key:") != 5 {
		t.Errorf("the export is\n%s", again)
	}
	raw := step(team, exitChanges, []string{"plan", filepath.Join(out, "teams.yaml"), "--prune", "--json"})
	var plan registry.Plan
	if err := json.Unmarshal([]byte(raw), &plan); err != nil || len(plan.Changes) != 6 || !plan.Changes[5].NeedsPerson {
		t.Errorf("the plan is %v\n%s", err, raw)
	}
	write(t, folder, "2-db.yml", strings.ReplaceAll(database, "10/min", "99/min"))
	step(team, exitChanges, []string{"plan", folder},
		"~ change guardrail com.acme-db.db_query.rate", "    rate_limit  10/min → 99/min\n", "    ! a person has to do this in the console; no machine may\n")
	step(admin, exitDenied, []string{"apply", folder, "--yes"}, db+":9:9: A person has to change this guardrail in the console.")

	write(t, folder, "2-db.yml", strings.ReplaceAll(database, "team: Data", "team: Date"))
	step(team, exitError, []string{"plan", folder}, db+":4:5: There is no team Date, and the files make none of that name.")
	step(team, exitError, []string{"plan", folder + "/none"}, "no such file")
	step(team, exitError, []string{"plan", t.TempDir()}, "there is no .yaml or .yml file in ")
	step(team, exitError, []string{"plan", folder, "--no-such-flag"}, "unknown flag")
	if n := events(); n != after {
		t.Errorf("%d events became %d", after, n)
	}
}

// TestOneErrorIn500Lines: the line is named, and nothing is applied, not even what is good.
func TestOneErrorIn500Lines(t *testing.T) {
	t.Parallel()
	c := startControlled(t)
	admin := c.as(t, auth.NewClient{Name: "admin", Kind: auth.AutomationClient, Roles: []identity.Role{identity.Admin}})
	var text strings.Builder
	text.WriteString(dataTeam + "grants:\n")
	for i := range 71 {
		fmt.Fprintf(&text, "  - key: grant.%d\n    name: Grant %d\n    for:\n      groups: [analysts]\n    on:\n      servers: [com.acme/db]\n    reason: Number %d\n", i, i, i)
	}
	lines := strings.Split(text.String(), "\n")
	if len(lines) < 500 {
		t.Fatalf("%d lines", len(lines))
	}
	for name, at := range map[string]struct {
		line       int
		text, says string
	}{
		"a misspelt field":  {377, "    naem: Grant 53", ":377:5: a grant has no field \"naem\"; expected key, name, for, on, condition, from, until or reason"},
		"a number for text": {246, "      groups: [42]", ":246:16: for.groups[0] is a number; expected text, so put it in quotes"},
		"a tab":             {254, "\ton:", ":254:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := append([]string{}, lines...)
			broken[at.line-1] = at.text
			file := write(t, t.TempDir(), "set.yaml", strings.Join(broken, "\n"))
			code, out := run(t, append([]string{"apply", file, "--yes"}, admin.flags()...)...)
			if code != exitError || !strings.Contains(out, file+at.says) {
				t.Errorf("exit %d:\n%s", code, out)
			}
			var n int
			if err := c.db.Owner.QueryRow(t.Context(), `select (select count(*) from grants) + (select count(*) from teams)`).Scan(&n); err != nil || n != 1 {
				t.Errorf("%d objects, %v", n, err)
			}
		})
	}
}

// TestThePlanOfThePage plans the example of docs/files.md and gets what the page shows.
func TestThePlanOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/files.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	plan := regexp.MustCompile("(?s)```text\n(\\+.*?)```").FindSubmatch(page)
	if example == nil || plan == nil {
		t.Fatal("the page has no example, or no plan")
	}
	c := startControlled(t)
	code, out := run(t, append([]string{"plan", write(t, t.TempDir(), "set.yaml", string(example[1]))}, c.flags()...)...)
	if diff := cmp.Diff(string(plan[1]), out); code != exitChanges || diff != "" {
		t.Errorf("exit %d\n%s", code, diff)
	}
}
