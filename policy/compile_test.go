package policy_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"countersign/canonical"
	"countersign/policy"
)

// aSource is small, valid, and fresh for each test to break.
func aSource() policy.Source {
	return policy.Source{
		Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 7, MaxStaleSeconds: 300,
		Servers: []policy.Server{
			storyServer{Team: "t1", Tools: map[string]policy.Risk{"read": policy.ReadOnly}}.server("a/x"),
			storyServer{Team: "t2", Tools: map[string]policy.Risk{"write": policy.Write}}.server("a/y"),
		},
		Grants: []policy.SourceGrant{
			{Grant: policy.Grant{ID: "g1", Name: "all", Subject: policy.Subject{Everyone: true}}, Resource: policy.Resource{Servers: []string{"*"}}},
			{Grant: policy.Grant{ID: "g2", Name: "y", Subject: policy.Subject{Users: []string{"ann"}}}, Resource: policy.Resource{Servers: []string{"a/y"}}},
		},
		Guardrails: []policy.SourceGuardrail{{
			Guardrail: policy.Guardrail{ID: "r1", Name: "no writes", Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{Deny: true}},
			Resource:  policy.Resource{Servers: []string{"*"}, Risks: []policy.Risk{policy.Write}},
		}},
	}
}

func TestCompileRefusesABrokenSourceWhole(t *testing.T) {
	t.Parallel()
	early, late := noon, noon.Add(time.Hour)
	for name, c := range map[string]struct {
		breaks func(*policy.Source)
		says   string
	}{
		"no issuer":                 {func(s *policy.Source) { s.Issuer = "" }, "issuer"},
		"no audience":               {func(s *policy.Source) { s.Audience = "" }, "audience"},
		"no staleness":              {func(s *policy.Source) { s.MaxStaleSeconds = 0 }, "max_stale_seconds"},
		"a grant for nobody":        {func(s *policy.Source) { s.Grants[1].Subject = policy.Subject{} }, `grant "g2": subject`},
		"a grant of nothing":        {func(s *policy.Source) { s.Grants[1].Resource = policy.Resource{} }, `grant "g2": resource.servers`},
		"a grant without id":        {func(s *policy.Source) { s.Grants[1].ID = "" }, `id is empty`},
		"a window backwards":        {func(s *policy.Source) { s.Grants[1].NotBefore, s.Grants[1].NotAfter = &late, &early }, `grant "g2": not_after`},
		"a window of no time":       {func(s *policy.Source) { s.Grants[1].NotBefore, s.Grants[1].NotAfter = &late, &late }, `grant "g2": not_after`},
		"two grants of one id":      {func(s *policy.Source) { s.Grants[1].ID = "g1" }, `grants[1].id`},
		"a guardrail of no effect":  {func(s *policy.Source) { s.Guardrails[0].Effect = policy.Effect{} }, `guardrail "r1": effect`},
		"a guardrail for no one":    {func(s *policy.Source) { s.Guardrails[0].Except.Everyone = true }, `guardrail "r1": except.everyone`},
		"a retired server":          {func(s *policy.Source) { s.Servers[0].State = "retired" }, `servers[0].state`},
		"two servers of one name":   {func(s *policy.Source) { s.Servers[1].Name = "A/X" }, `servers[1].name`},
		"two servers of one id":     {func(s *policy.Source) { s.Servers[1].ID = s.Servers[0].ID }, `id`},
		"a server without endpoint": {func(s *policy.Source) { s.Servers[0].Endpoint = policy.Endpoint{} }, `servers[0].endpoint.transport`},
		"a stdio server without a digest": {func(s *policy.Source) {
			s.Servers[0].Endpoint = policy.Endpoint{Transport: policy.Stdio, Command: "x", Digest: endpoint}
		}, `servers[0].endpoint.command_digest`},
		"two tools of one name": {func(s *policy.Source) {
			s.Servers[0].Tools = append(s.Servers[0].Tools, s.Servers[0].Tools[0])
		}, `servers[0].tools[1].name`},
		"a tool without risk":       {func(s *policy.Source) { s.Servers[0].Tools[0].Risk = "" }, `servers[0].tools[0].risk`},
		"a tool without definition": {func(s *policy.Source) { s.Servers[0].Tools[0].Definition = canonical.Digest{} }, `servers[0].tools[0].definition`},
		"a schema that is not JSON": {func(s *policy.Source) { s.Servers[0].Tools[0].InputSchema = json.RawMessage(`{`) }, `input schema of tool "read"`},
		"a schema with a key twice": {func(s *policy.Source) { s.Servers[0].Tools[0].InputSchema = json.RawMessage(`{"a":1,"a":2}`) }, `input schema of tool "read"`},
	} {
		src := aSource()
		c.breaks(&src)
		doc, _, err := policy.Compile(src, noon)
		if err == nil || !strings.Contains(err.Error(), c.says) || doc.Format != "" {
			t.Errorf("%s: %v, want an error about %s", name, err, c.says)
		}
	}
}

func TestCompileLeavesTheSourceAlone(t *testing.T) {
	t.Parallel()
	src := aSource()
	src.Servers[0], src.Servers[1] = src.Servers[1], src.Servers[0]
	src.Servers[0].Tools[0].Grants = []int{99}
	before := must(json.Marshal(src))(t)
	if _, _, err := policy.Compile(src, noon); err != nil {
		t.Fatal(err)
	}
	if after := must(json.Marshal(src))(t); string(after) != string(before) {
		t.Errorf("the source was\n%s, is\n%s", before, after)
	}
}

func TestCompileTellsAnAudienceOnlyOfItsOwn(t *testing.T) {
	t.Parallel()
	src := aSource()
	src.Servers = src.Servers[:1] // the audience sees a/x, and no write
	doc, warnings, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	text := string(must(doc.Marshal())(t))
	if len(doc.Grants) != 1 || len(doc.Guardrails) != 0 || strings.Contains(text, "ann") || strings.Contains(text, "no writes") {
		t.Errorf("the policy tells of rules that do not concern the audience:\n%s", text)
	}
	if len(warnings) != 2 || warnings[0].Code != policy.WarnReachesNothing || warnings[0].Rule != "g2" || warnings[1].Rule != "r1" {
		t.Errorf("warnings %+v", warnings)
	}
}

func TestCompileWarnsOfGrantsThatAreOver(t *testing.T) {
	t.Parallel()
	src := aSource()
	over, still := noon, noon.Add(1)
	src.Grants[0].NotAfter, src.Grants[1].NotAfter = &over, &still
	doc, warnings, err := policy.Compile(src, noon)
	if err != nil || len(warnings) != 1 || warnings[0].Code != policy.WarnGrantOver || warnings[0].Rule != "g1" {
		t.Errorf("warnings %+v, %v", warnings, err)
	}
	if len(doc.Grants) != 2 {
		t.Error("what a policy holds depends on when it is compiled")
	}
}

func TestContentDigestIgnoresOnlyRevisionAndTime(t *testing.T) {
	t.Parallel()
	digest := func(change func(*policy.Source), at time.Time) canonical.Digest {
		src := aSource()
		change(&src)
		doc, _, err := policy.Compile(src, at)
		if err != nil {
			t.Fatal(err)
		}
		return doc.ContentDigest()
	}
	want := digest(func(*policy.Source) {}, noon)
	if digest(func(s *policy.Source) { s.Generation++ }, noon.Add(time.Hour)) != want {
		t.Error("the revision or the time counts")
	}
	for name, change := range map[string]func(*policy.Source){
		"epoch":  func(s *policy.Source) { s.Epoch++ },
		"stale":  func(s *policy.Source) { s.MaxStaleSeconds++ },
		"team":   func(s *policy.Source) { s.Servers[0].Team = "t9" },
		"held":   func(s *policy.Source) { s.Servers[0].Tools[0].Held = true },
		"schema": func(s *policy.Source) { s.Servers[0].Tools[0].InputSchema = nil },
		"grant":  func(s *policy.Source) { s.Grants = s.Grants[:1] },
		"name":   func(s *policy.Source) { s.Grants[0].Name = "x" },
		"window": func(s *policy.Source) { at := noon; s.Grants[0].NotAfter = &at },
		"effect": func(s *policy.Source) {
			s.Guardrails[0].Effect = policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}
		},
	} {
		if digest(change, noon) == want {
			t.Errorf("changing the %s does not count", name)
		}
	}
}

func TestEncodeIsMarshalAndContentDigest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := *compile(t, drawSource.Draw(t, "source")).Document()
		doc.Issuer = rapid.SampledFrom([]string{"https://countersign.example", `a"},"é<&>`, "\u2028"}).Draw(t, "issuer")
		text, content, err := doc.Encode()
		want, _ := doc.Marshal()
		if err != nil || !bytes.Equal(text, want) || content != doc.ContentDigest() {
			t.Errorf("%s, %s, %v, want\n%s, %s", text, content, err, want, doc.ContentDigest())
		}
		if back, err := policy.DecodeOwn(text); err != nil || !cmp.Equal(back, doc, cmpopts.EquateEmpty()) {
			t.Errorf("read back: %v\n%s", err, cmp.Diff(doc, back, cmpopts.EquateEmpty()))
		}
	})
}

func TestDecodeOwnRefusesWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	doc := aDocument(t)
	text := must(doc.Marshal())(t)
	newer := bytes.Replace(text, []byte(`"effect":{`), []byte(`"effect":{"of_next_year":{"tokens":9},`), 1)
	if _, err := policy.DecodeOwn(newer); err == nil || bytes.Equal(newer, text) {
		t.Error("a restriction that is not known is ignored")
	}
}
