package desired

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

func faultsOf(t *testing.T, files ...string) string {
	t.Helper()
	var all []File
	for i, text := range files {
		all = append(all, File{fmt.Sprintf("%d.yaml", i+1), []byte(text)})
	}
	set, places, err := Read(all...)
	if err == nil {
		return ""
	}
	var faults ReadError
	if !errors.As(err, &faults) || places != nil || !cmp.Equal(set, Set{}) {
		t.Errorf("the error is %T, with %+v", err, set)
	}
	return err.Error()
}

const aGrant = `grants:
- key: k
  name: n
  for: {everyone: true}
  on: {servers: ["*"]}
`

const aRail = `guardrails:
- key: k
  name: n
  for: {everyone: true}
  on: {servers: ["*"]}
`

// TestFaultsSayWhereAndWhatWasExpected has faults in full; of one that ends in a space, how it begins.
func TestFaultsSayWhereAndWhatWasExpected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                 {"", ""},
		"only a comment":          {"# teams come later\n", ""},
		"no fields":               {"- a\n", "1.yaml:1:1: the file is a list; expected the fields teams, servers, grants, guardrails, access, server, for or tools"},
		"an unknown part":         {"team: []\n", `1.yaml:1:1: the file has no field "team"; expected teams, servers, grants, guardrails, access, server, for or tools`},
		"an unknown field":        {"teams:\n- name: A\n  grups: [a]\n", `1.yaml:3:3: a team has no field "grups"; expected name or groups`},
		"a field twice":           {"teams:\n- name: A\n  name: B\n", `1.yaml:3:3: "name" is said twice, first in line 2; expected it once`},
		"a part twice":            {"teams: []\nservers: []\nteams: []\n", `1.yaml:3:1: "teams" is said twice, first in line 1; expected it once`},
		"a list for text":         {"teams:\n- name: [A]\n", "1.yaml:2:9: name is a list; expected text"},
		"a number for text":       {"teams:\n- name: 42\n", "1.yaml:2:9: name is a number; expected text, so put it in quotes"},
		"nothing for text":        {"teams:\n- name:\n", "1.yaml:2:9: name is nothing; expected text"},
		"empty text":              {"teams:\n- name: ''\n", "1.yaml:2:9: name is empty; expected text, or leave it out"},
		"text for a list":         {"teams:\n- name: A\n  groups: a\n", "1.yaml:3:11: groups is text; expected a list"},
		"a list of nothing":       {"teams:\n- name: A\n  groups: []\n", "1.yaml:3:11: groups is an empty list; name something, or leave it out"},
		"a field that is missing": {"teams:\n- groups: [a]\n", "1.yaml:2:3: a team lacks name"},
		"text for truth":          {strings.Replace(aGrant, "true", "yes", 1), "1.yaml:4:19: for.everyone is text; expected true or false"},
		"a subject of nobody":     {strings.Replace(aGrant, "{everyone: true}", "{}", 1), "1.yaml:4:3: for names nobody; say everyone if you mean it"},
		"a kind that is none":     {strings.Replace(aGrant, `["*"]`, `["*"], kinds: [tool, tole]`, 1), "1.yaml:5:38: on.kinds[1] is not tool, prompt or resource"},
		"a key that is none":      {strings.Replace(aGrant, "k\n", "a key\n", 1), `1.yaml:2:3: key is "a key"; expected up to 100 letters, digits, dots, hyphens and underscores, as orders.readers`},
		"a time that is none":     {aGrant + "  until: tomorrow\n", `1.yaml:6:10: until is "tomorrow"; expected a time, as 2026-11-30 or 2026-11-30T18:00:00Z`},
		"an end before its beginning": {
			aGrant + "  from: 2026-11-30\n  until: 2026-11-30\n",
			"1.yaml:7:3: until is not after from",
		},
		"an anchor":                {"teams: &a [{name: A}]\nservers: *a\n", "1.yaml:1:8: anchors, aliases and merge keys are not read; say it in full"},
		"a tag":                    {"teams: !!seq []\n", "1.yaml:1:8: tags are not read; text that looks like a number goes in quotes"},
		"two documents":            {"teams: []\n---\nteams: []\n", "1.yaml:2:1: a second document begins here; expected one for each file"},
		"no YAML":                  {"teams: [\n", "1.yaml:1:8: this is no YAML: sequence end token ']' not found"},
		"an escape in a name":      {"\"te\\u001bams\": []\n", `1.yaml:1:1: the file has no field "te\u{1B}ams"; expected teams, servers, grants, guardrails, access, server, for or tools`},
		"both places of a server":  {"servers:\n- {name: a/b, team: T, url: 'https://a', command: c, command_digest: d}\n", "1.yaml:2:42: url and command are both given; expected one of them"},
		"a command without digest": {"servers:\n- {name: a/b, team: T, command: c}\n", "1.yaml:2:3: expected command and command_digest together, as the gateway reports them"},
		"a state that is none":     {"servers:\n- {name: a/b, team: T, state: proposed}\n", `1.yaml:2:24: state is "proposed"; expected active, suspended or retired`},
		"a rate that is none":      {"server: a/b\ntools:\n- {name: x, allowed_models: [m], rate_limit: 10 per minute}\n", `1.yaml:3:46: tools[0].rate_limit is "10 per minute"; expected calls in a time, as 10/min, 3/s, 100/h, 500/day or 10/90s`},
		"a condition of a number":  {aGrant + "  condition: 1\n", "1.yaml:6:14: condition is a number; expected text, so put it in quotes"},
		"a condition that is cut":  {aGrant + "  condition: args.a <\n", "1.yaml:6:3: condition does not compile, at character 9: "},
		"a condition of no truth":  {aGrant + "  condition: 1 + 1\n", "1.yaml:6:3: condition is of type int, not true or false"},
		"a long condition":         {aGrant + "  condition: '" + strings.Repeat("true && ", 1000) + "true'\n", "1.yaml:6:3: condition "},
		"a requirement":            {aRail + "  require: args.\n", "1.yaml:6:3: require does not compile, at character "},
		"two effects":              {aRail + "  require: args.a\n  deny: true\n", "1.yaml:2:3: the effect must be exactly one of deny, "},
		"a budget that is none":    {aRail + "  token_budget: 50k/hour\n", `1.yaml:6:17: token_budget is "50k/hour"; expected tokens in a time, as 50000/hour, 200000/day or 1000/90s`},
		"a budget of nothing":      {aRail + "  token_budget: 0/hour\n", `1.yaml:6:17: token_budget is "0/hour"; expected tokens in a time, as 50000/hour, 200000/day or 1000/90s`},
		"a limit of text":          {aRail + "  max_response_bytes: 1 MB\n", "1.yaml:6:23: max_response_bytes is text; expected a whole number"},
		"a limit below nothing":    {aRail + "  max_response_bytes: -1\n", "1.yaml:6:3: max_response_bytes "},
		"a limit that is no int64": {aRail + "  max_response_bytes: 99999999999999999999\n", "1.yaml:6:23: max_response_bytes is text; expected a whole number"},
		"in the short form":        {"server: a/b\nfor: {everyone: true}\ntools:\n- name: x\n  require_mfa: true\n  condition: args.\n", "1.yaml:6:3: condition does not compile, at character "},
		"required there":           {"access:\n- server: a/b\n  for: {everyone: true}\n  tools:\n  - {name: x, require: 1 + 1}\n", "1.yaml:5:15: require is of type int, not true or false"},
		"tools of no server":       {"tools:\n- {name: x, allowed_models: [m]}\n", "1.yaml:1:1: these tools are of no server; say server: com.example/name beside them"},
		"a server without tools":   {"server: a/b\n", "1.yaml:1:1: server and for are for a list of tools in the same file; expected tools"},
		"tools for nobody":         {"server: a/b\ntools:\n- {name: x, rate_limit: 1/s}\n", `1.yaml:3:3: nobody is said to call "x"; expected allowed_models, or for. Say for: {everyone: true} if you mean it`},
		"models twice":             {"server: a/b\nfor: {models: [m]}\ntools:\n- {name: x, allowed_models: [m]}\n", `1.yaml:4:3: the models of "x" are said twice; expected allowed_models or for.models`},
		"a tool twice":             {"server: a/b\nfor: {everyone: true}\ntools:\n- name: x\n- name: x\n", "1.yaml:5:3: grants[a-b.x.allow] is said twice, first at 1.yaml:4:3; expected it once"},
	} {
		got := faultsOf(t, c.text)
		if begins := strings.HasSuffix(c.want, " ") && strings.HasPrefix(got, c.want); got != c.want && !begins {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestLongConditionIsFolded(t *testing.T) {
	t.Parallel()
	set, _, err := Read(File{"folded.yaml", []byte(aGrant + "  condition: >-\n    args.amount <= 100 &&\n    args.currency == 'EUR'\n")})
	if err != nil || set.Grants[0].Condition != "args.amount <= 100 && args.currency == 'EUR'" {
		t.Errorf("got %+v, %v", set.Grants, err)
	}
}

func TestEveryFaultOfEveryFileIsTold(t *testing.T) {
	t.Parallel()
	got := faultsOf(t, aGrant+"  naem: x\nteams:\n- name: 7\n- groups: 3\n", aGrant, aGrant, "a: [")
	want := `1.yaml:6:3: a grant has no field "naem"; expected key, name, for, on, condition, from, until or reason
1.yaml:8:9: name is a number; expected text, so put it in quotes
1.yaml:9:3: a team lacks name
1.yaml:9:11: groups is a number; expected a list
3.yaml:2:3: grants[k] is said twice, first at 2.yaml:2:3; expected it once
4.yaml:1:4: this is no YAML: sequence end token ']' not found`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	many := strings.Split(faultsOf(t, "teams:\n"+strings.Repeat("- name: 1\n", 30)), "\n")
	if len(many) != MaxFaults+1 || many[MaxFaults] != "and 10 more" {
		t.Errorf("%d lines, the last is %q", len(many), many[len(many)-1])
	}
}

func TestTheShortFormIsGrantsAndGuardrails(t *testing.T) {
	t.Parallel()
	set, places, err := Read(File{"short.yaml", []byte(`
server: com.acme/db
for:
  groups: [analysts]
tools:
  - {name: db_query, allowed_models: [claude-3, gpt-4], rate_limit: 10/min}
  - {name: send_email, for: {everyone: true}, allowed_models: [claude-3], require_mfa: true}
  - name: list.tables
    condition: args.schema == 'public'
    require: "!has(args.raw)"
    token_budget: 5000/min
    max_response_bytes: 1000
`)})
	if err != nil {
		t.Fatal(err)
	}
	on := func(tool string) policy.Resource {
		return policy.Resource{Servers: []string{"com.acme/db"}, Names: []string{tool}}
	}
	everyone := policy.Subject{Everyone: true}
	want := Set{
		Grants: []Grant{
			{Key: "com.acme-db.db_query.allow", Name: "db_query of com.acme/db", On: on("db_query"), For: policy.Subject{Groups: []string{"analysts"}, Models: []string{"claude-3", "gpt-4"}}},
			{Key: "com.acme-db.send_email.allow", Name: "send_email of com.acme/db", On: on("send_email"), For: policy.Subject{Models: []string{"claude-3"}}},
			{Key: "com.acme-db.list.tables-6e42f038.allow", Name: "list.tables of com.acme/db", On: on("list.tables"), For: policy.Subject{Groups: []string{"analysts"}}, Condition: "args.schema == 'public'"},
		},
		Guardrails: []Guardrail{
			{Key: "com.acme-db.db_query.rate", Name: "db_query of com.acme/db within a rate", For: everyone, On: on("db_query"), RateLimit: &Rate{10, 60}},
			{Key: "com.acme-db.send_email.mfa", Name: "send_email of com.acme/db with MFA", For: everyone, On: on("send_email"), MFA: true},
			{Key: "com.acme-db.list.tables-6e42f038.require", Name: "list.tables of com.acme/db as required", For: everyone, On: on("list.tables"), Require: "!has(args.raw)"},
			{Key: "com.acme-db.list.tables-6e42f038.tokens", Name: "list.tables of com.acme/db within a token budget", For: everyone, On: on("list.tables"), TokenBudget: &Budget{5000, 60}},
			{Key: "com.acme-db.list.tables-6e42f038.size", Name: "list.tables of com.acme/db with a bounded result", For: everyone, On: on("list.tables"), MaxResponseBytes: 1000},
		},
	}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Error(diff)
	}
	if at, _ := places.Of("guardrails[com.acme-db.send_email.mfa].on.names[0]"); at != (Place{"short.yaml", 7, 5}) {
		t.Errorf("the guardrail is at %v", at)
	}
}

// TestShortKeysTellToolsApart holds the keys of tools that look alike when names are put together.
func TestShortKeysTellToolsApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	seen := map[string]string{}
	for _, of := range [][2]string{
		{"com.acme/x-db", "t"},
		{"com.acme-x/db", "t"},
		{"com.acme/db", "x.y"},
		{"com.acme/db.x", "y"},
		{"com.acme/db", "a b"},
		{"com.acme/db", "a-b"},
		{"com.acme/db", "a/b"},
		{"com.acme/db", long},
		{"com.acme/db", long + "y"},
		{"com.acme/db", "日本"},
		{"com.acme/db", "日"},
		{"-/-", "*"},
		{"a/b", "*"},
	} {
		key := shortKey(of[0], of[1], "allow")
		if other, taken := seen[key]; taken || !keyForm.MatchString(key) {
			t.Errorf("%v has the key %q, that of %q", of, key, other)
		}
		seen[key] = fmt.Sprint(of)
	}
	if shortKey("Com.Acme/DB", "t", "allow") != shortKey("com.acme/db", "t", "allow") {
		t.Error("the case of a server's name makes another key")
	}
}

// TestBombsAreDefused reads what is made to exhaust a reader.
func TestBombsAreDefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"brackets": strings.Repeat("[", 1<<17), "braces": strings.Repeat("{a: ", 1<<15), "dashes": strings.Repeat("- ", 1<<16),
		"questions": strings.Repeat("? ", 1<<16), "stairs": stairs(1000), "too large": strings.Repeat("#", maxFileBytes+1),
		"billion laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
	} {
		if _, _, err := Read(File{"bomb.yaml", []byte(text)}); err == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}

func stairs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(aGrant))
	f.Add([]byte("server: a/b\nfor: {everyone: true}\ntools:\n- name: x\n  rate_limit: 1/s\n"))
	f.Add([]byte("teams: &a\n- name: |-\n    x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _, err := Read(File{"fuzz.yaml", data})
		if err != nil {
			_ = err.Error()
			return
		}
		text, err := Write(set)
		if err != nil {
			return // text that is not UTF-8
		}
		again, _, err := Read(File{"again.yaml", text})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(set, again); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}
