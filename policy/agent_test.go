package policy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

func keyOf(text, agent string) policy.Key {
	return policy.Key{Hash: policy.HashKey(text), Agent: agent, Subject: policy.KeySubject(agent), NotAfter: noon.AddDate(0, 1, 0)}
}

func indexWith(t *testing.T, keys []policy.Key, agents []policy.Agent) *policy.Index {
	t.Helper()
	src := shop()
	src.Keys, src.Agents = keys, agents
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	return must(policy.NewIndex(doc))(t)
}

func TestAKeyIsFoundByItsHashAlone(t *testing.T) {
	t.Parallel()
	ix := indexWith(t, []policy.Key{keyOf("csa_two", "robot"), keyOf("csa_one", "nightly")}, nil)
	key := ix.AgentKey(policy.HashKey("csa_one"))
	if key == nil {
		t.Fatal("the key is not found")
	}
	want := policy.Principal{
		Issuer: "https://countersign.example", Subject: "agent:nightly", Groups: []string{}, Agent: "nightly", ModelAssurance: policy.Unknown,
	}
	if diff := cmp.Diff(want, key.Principal(ix.Document())); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	for _, other := range []string{"", "csa_", "csa_One", "csa_one ", "csa_three", key.Hash.String()} {
		if ix.AgentKey(policy.HashKey(other)) != nil {
			t.Errorf("%q is taken for a key", other)
		}
	}
}

// TestAttest: the registration vouches for what it names, and for nothing that contradicts it.
func TestAttest(t *testing.T) {
	t.Parallel()
	ix := indexWith(t, nil, []policy.Agent{{Agent: "one", Models: []string{"claude"}}, {Agent: "two", Models: []string{"gpt", "claude", "gpt"}}, {Agent: "none"}})
	for _, c := range []struct {
		agent, model string
		assurance    policy.Assurance
		want         string
		attested     policy.Assurance
	}{
		{"one", "", policy.Unknown, "claude", policy.Attested},
		{"one", "claude", policy.Declared, "claude", policy.Attested},
		{"one", "gpt", policy.Declared, "gpt", policy.Declared},
		{"one", "opus", policy.Attested, "opus", policy.Attested}, // by the token
		{"two", "", policy.Unknown, "", policy.Unknown},
		{"two", "gpt", policy.Declared, "gpt", policy.Attested},
		{"two", "GPT", policy.Declared, "GPT", policy.Declared},
		{"two", "opus", policy.Declared, "opus", policy.Declared},
		{"none", "gpt", policy.Declared, "gpt", policy.Declared},
		{"other", "claude", policy.Declared, "claude", policy.Declared},
		{"", "claude", policy.Declared, "claude", policy.Declared},
	} {
		p := policy.Principal{Agent: c.agent, Model: c.model, ModelAssurance: c.assurance}
		ix.Attest(&p)
		if p.Model != c.want || p.ModelAssurance != c.attested {
			t.Errorf("agent %q with %s %q: %q %s, want %q %s", c.agent, c.assurance, c.model, p.Model, p.ModelAssurance, c.want, c.attested)
		}
	}
	if agents := ix.Document().Agents; !slices.Equal(agents[1].Models, []string{"claude", "gpt"}) || len(agents) != 2 {
		t.Errorf("the agents are %v", agents)
	}
}

func TestDiffTellsOfKeysAndModels(t *testing.T) {
	t.Parallel()
	before, after := shop(), shop()
	before.Keys = []policy.Key{keyOf("csa_old", "nightly"), keyOf("csa_kept", "robot")}
	after.Keys = []policy.Key{keyOf("csa_kept", "robot"), keyOf("csa_new", "robot")}
	before.Keys[0].Agent = "nightly\u202e"
	before.Agents = []policy.Agent{{Agent: "robot", Models: []string{"claude", "gpt"}}}
	after.Agents = []policy.Agent{{Agent: "robot", Models: []string{"gpt", "opus"}}}
	want := []string{
		"gain: a key of agent robot was added, good until " + noon.AddDate(0, 1, 0).Format("2006-01-02 15:04") + " UTC",
		`lose: a key of agent nightly\u202e is no longer good`,
		"gain: agent robot is registered with model opus",
		"lose: agent robot is no longer registered with model claude",
	}
	if diff := cmp.Diff(want, words(t, before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if said := words(t, after, after); len(said) > 0 {
		t.Errorf("nothing changed, and it says %v", said)
	}
}

func TestCompileRefusesTwoKeysOfOneHash(t *testing.T) {
	t.Parallel()
	src := shop()
	src.Keys = []policy.Key{keyOf("csa_one", "a"), keyOf("csa_one", "b")}
	if _, _, err := policy.Compile(src, noon); err == nil {
		t.Error("one key is that of two agents")
	}
}
