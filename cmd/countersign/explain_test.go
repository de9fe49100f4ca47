package main

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/policy"
	"countersign/registry"
)

// offerRefunds puts an active server with one pinned, destructive tool into the database, and a grant for group support.
func (c controlled) offerRefunds(t *testing.T) {
	t.Helper()
	_, err := c.db.Owner.Exec(t.Context(), `
		with s as (insert into servers (name, team_id, state, created_by) select 'com.acme/pay', id, 'active', 'test' from teams limit 1 returning id),
		e as (insert into endpoints (server_id, transport, url, digest) select id, 'streamable_http', 'https://pay.acme.example/mcp', sha256('e') from s returning id),
		t as (insert into tools (server_id, kind, name, risk, observed_digest) select id, 'tool', 'refund', 'destructive', sha256('d') from s returning id)
		insert into definitions (tool_id, number, digest, raw, proposed_risk, state)
		select id, 1, sha256('d'), convert_to('{"name":"refund","inputSchema":{"type":"object","properties":{"amount":{"type":"integer"}}}}', 'utf8'), 'destructive', 'approved' from t`)
	if err == nil {
		_, err = c.db.Owner.Exec(t.Context(), `update tools t set pinned_id = d.id from definitions d where d.tool_id = t.id`)
	}
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	reg := registry.New(c.db.Runtime, postgres.NewHub(c.db.Runtime, log), log)
	_, err = reg.CreateGrant(t.Context(), identity.Principal{Kind: identity.System, Name: "test"}, registry.NewGrant{
		Name: "Support", Subject: policy.Subject{Groups: []string{"support"}}, Resource: policy.Resource{Servers: []string{"com.acme/*"}},
		Condition: "args.amount <= 100",
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExplainCommand(t *testing.T) {
	t.Parallel()
	c := startControlled(t)
	c.offerRefunds(t)
	ask := func(code int, args []string, says ...string) string {
		t.Helper()
		got, printed := run(t, append(append([]string{"explain", "--server", "com.acme/pay", "--tool", "refund"}, args...), c.flags()...)...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d\n%s", args, got, code, printed)
		}
		for _, words := range says {
			if !strings.Contains(printed, words) {
				t.Errorf("%v does not say %q:\n%s", args, words, printed)
			}
		}
		return printed
	}
	ask(exitHeld, []string{"--as", "user=ann,groups=support,billing", "--arguments", `{"amount":60}`},
		"Held until it has the approval of one person of the owning team.\nBy the registry as it is now, at generation ",
		"  pass   offer ", `  allow  grant "Support" `, "args.amount <= 100 is true\n", "> hold   guardrail ")
	ask(exitDenied, []string{"--as", "user=ann,groups=support", "--arguments", `{"amount":600}`},
		"Denied: there is a grant, but its condition is not true.", "\n  \"Support\": meet args.amount <= 100, which is false\n")
	ask(exitDenied, nil, "be in group support; the groups of this caller are not known, and meet args.amount <= 100, which cannot be evaluated")
	var answer explained
	raw := ask(exitDenied, []string{"--as", "groups=", "--json"})
	if err := json.Unmarshal([]byte(raw), &answer); err != nil || answer.Outcome != delivery.ExpectDeny || len(answer.Nearest) != 1 {
		t.Errorf("%v: %s", err, raw)
	}
	ask(exitUsage, []string{"--as", "name=ann"}, "--as knows user, issuer, groups")
	ask(exitUsage, []string{"--arguments", "[1]"}, "--arguments has to be a JSON object")
	ask(exitUsage, []string{"--at", "noon"}, "--at has to be a time")
	ask(exitUsage, []string{"--kind", "thing"}, "--kind must be one of")
	ask(exitError, []string{"--as-gateway", "gtw_none"}, "There is no such gateway.")
	code, printed := run(t, "explain", "--server", "a/b", "--tool", "c", "--url", c.url, "--client-id", "none", "--client-secret-file", write(t, t.TempDir(), "secret", "wrong"))
	if code != exitError || !strings.Contains(printed, "does not take this client id and secret") {
		t.Errorf("exit %d: %s", code, printed)
	}
}

func TestPrincipalOfACommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]delivery.GivenPrincipal{
		"":         {},
		"user=ann": {User: "ann"},
		"groups=":  {Groups: []string{}},
		"user=https://idp.example|ann,groups=a,b,agent=cursor,model=claude,assurance=attested,amr=pwd,otp,issuer=https://idp.example": {
			User: "https://idp.example|ann", Groups: []string{"a", "b"}, Agent: "cursor", Model: "claude", Assurance: policy.Attested, AMR: []string{"pwd", "otp"}, Issuer: "https://idp.example",
		},
	} {
		got, err := readPrincipal(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"ann", "user=ann,ben", "groups=a,groups=b", "mail=x", "user"} {
		if p, err := readPrincipal(text); err == nil {
			t.Errorf("%s is read as %+v", text, p)
		}
	}
}

const refundTests = `tests:
  - name: Support refunds wait
    given:
      principal: {user: ann, groups: [support], amr: [pwd, otp]}
      server: com.acme/pay
      name: refund
      arguments: {amount: 60, currency: eur}
      at: 2026-11-02T12:00:00Z
    expect: {outcome: hold, reason: approval_required, quorum: 1}
  - name: Nobody else refunds
    given: {principal: {user: ben, groups: []}, server: com.acme/pay, name: refund}
    expect: {outcome: deny, reason: no_grant}
`

func TestPolicyTestCommand(t *testing.T) {
	t.Parallel()
	c := startControlled(t)
	c.offerRefunds(t)
	folder := t.TempDir()
	step := func(code int, args []string, says ...string) {
		t.Helper()
		got, printed := run(t, append(append([]string{"policy", "test"}, args...), c.flags()...)...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d\n%s", args, got, code, printed)
		}
		for _, words := range says {
			if !strings.Contains(printed, words) {
				t.Errorf("%v does not say %q:\n%s", args, words, printed)
			}
		}
	}
	good := write(t, folder, "good.yaml", refundTests)
	step(exitDone, []string{good}, "ok    Support refunds wait\nok    Nobody else refunds\n\n2 passed, 0 failed.\n")
	bad := write(t, folder, "bad.yaml", strings.Replace(refundTests, "outcome: hold, reason: approval_required, quorum: 1", "outcome: allow", 1))
	step(exitFailed, []string{bad}, "FAIL  Support refunds wait\n      expected allow, got hold (approval_required), by \"Destructive tools", "1 passed, 1 failed.")
	step(exitFailed, []string{folder}, "3 passed, 1 failed.")
	step(exitFailed, []string{bad, "--output", "json"}, `"failed": 1,`, `"fault": "expected allow`)
	step(exitFailed, []string{bad, "--output", "junit"}, `<testsuite name="policy" tests="2" failures="1">`, `<failure message="expected allow, got hold`)
	step(exitDone, nil, "There is no policy test.\n")

	step(exitNotRun, []string{write(t, folder, "typo.yaml", strings.ReplaceAll(refundTests, "server:", "sever:"))}, "typo.yaml: ", "sever")
	step(exitNotRun, []string{write(t, folder, "none.yaml", "tests: []\n")}, "none.yaml has no tests")
	step(exitNotRun, []string{write(t, folder, "wrong.yaml", strings.ReplaceAll(refundTests, "outcome: deny", "outcome: never"))}, "tests[1].expect.outcome: It is allow, hold or deny.")
	step(exitNotRun, []string{folder + "/missing.yaml"}, "no such file")
	step(exitNotRun, []string{"--output", "tap"}, "--output must be one of")
	code, printed := run(t, "policy", "test", good, "--url", "http://127.0.0.1:1", "--client-id", "none", "--client-secret-file", write(t, folder, "secret", "wrong"))
	if code != exitNotRun {
		t.Errorf("exit %d: %s", code, printed)
	}
}
