package policy_test

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"countersign/internal/nodetest"
	"countersign/policy"
)

// examples/javascript was written from docs/policy.md. Here it is held to this package: whatever it decides otherwise,
// the documentation does not say well enough.

// ourVerdict is what both sides say of a request.
type ourVerdict struct {
	Outcome          string           `json:"outcome"`
	Reason           policy.Reason    `json:"reason"`
	Approval         *policy.Approval `json:"approval,omitempty"`
	StepUp           *policy.StepUp   `json:"step_up,omitempty"`
	Limits           []string         `json:"limits,omitempty"`
	Budgets          []string         `json:"budgets,omitempty"`
	MaxResponseBytes int64            `json:"max_response_bytes,omitempty"`
}

// asked is a request as the script reads it.
type asked struct {
	Server    string            `json:"server"`
	Kind      policy.Kind       `json:"kind"`
	Name      string            `json:"name"`
	Principal *policy.Principal `json:"principal"`
	Arguments string            `json:"arguments"`
	Now       time.Time         `json:"now"`
	List      bool              `json:"list,omitempty"`
}

func askedOf(r policy.Request) asked {
	return asked{r.Server, r.Kind, r.Name, r.Principal, string(r.Arguments), r.Now, false}
}

type documentAsked struct {
	Document string  `json:"document"`
	Requests []asked `json:"requests"`
}

// inWords writes a verdict as the script does: rules by their ids, an approval with its teams and defaults in full.
func inWords(ix *policy.Index, v policy.Verdict) ourVerdict {
	ids := func(places []int) []string {
		var all []string
		for _, g := range places {
			all = append(all, ix.Document().Guardrails[g].ID)
		}
		return all
	}
	words := ourVerdict{
		Outcome: v.Outcome.String(), Reason: v.Reason, StepUp: v.StepUp,
		Limits: ids(v.Limits), Budgets: ids(v.Budgets), MaxResponseBytes: v.MaxResponseBytes,
	}
	if v.Approval != nil {
		words.Approval = inFull(*v.Approval)
	}
	return words
}

// inFull is a with what is left to a default, and the owning team by its id alone.
func inFull(a policy.Approval) *policy.Approval {
	a.OwningTeam, a.PendingSeconds = false, cmp.Or(a.PendingSeconds, policy.DefaultPendingSeconds)
	a.Alternatives = slices.Clone(a.Alternatives)
	for i := range a.Alternatives {
		a.Alternatives[i].OwningTeam = false
	}
	if a.Fallback != nil {
		f := *a.Fallback
		f.OwningTeam = false
		a.Fallback = &f
	}
	if a.BreakGlass != nil {
		a.BreakGlass = &policy.BreakGlass{Teams: a.BreakGlass.Teams, ReviewSeconds: cmp.Or(a.BreakGlass.ReviewSeconds, policy.DefaultReviewSeconds)}
	}
	return &a
}

// sameAsJavaScript puts requests to both, and what each lists for their callers.
func sameAsJavaScript(t rapid.TB, ask func(nodetest.T, any, any), ix *policy.Index, requests []policy.Request) {
	t.Helper()
	document := ix.Document()
	text, err := document.Marshal()
	if err != nil {
		t.Fatalf("encoding: %v", err)
	}
	question := documentAsked{Document: string(text), Requests: []asked{}}
	for _, r := range requests {
		list := askedOf(r)
		list.List = true
		question.Requests = append(question.Requests, askedOf(r), list)
	}
	var answers []json.RawMessage
	ask(t, question, &answers)
	if len(answers) != 2*len(requests) {
		t.Fatalf("%d answers to %d requests", len(answers), len(requests))
	}
	for i, r := range requests {
		got := into[ourVerdict](t, answers[2*i])
		if diff := gocmp.Diff(inWords(ix, ix.Decide(r)), got, equateEmpty); diff != "" {
			t.Errorf("%s with %s: (-Go +JavaScript)\n%s\n%s", describe(r), r.Arguments, diff, question.Document)
		}
		var listed []string
		for tool := range ix.Visible(r.Server, r.Kind, r.Principal, r.Now) {
			listed = append(listed, tool.ID)
		}
		if diff := gocmp.Diff(listed, into[[]string](t, answers[2*i+1]), equateEmpty); diff != "" {
			t.Errorf("%s: a list (-Go +JavaScript)\n%s\n%s", describe(r), diff, question.Document)
		}
	}
}

func into[T any](t rapid.TB, text []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("reading %s: %v", text, err)
	}
	return v
}

const answers = "examples/javascript/answers.js"

func TestJavaScriptDecidesTheStories(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	callers, servers := map[string]*policy.Principal{}, map[string]storyServer{}
	readYAML(t, "callers.yaml", &callers)
	readYAML(t, "servers.yaml", &servers)
	for _, file := range must(filepath.Glob("testdata/*.yaml"))(t) {
		var stories []story
		if file = filepath.Base(file); file == "callers.yaml" || file == "servers.yaml" {
			continue
		}
		readYAML(t, file, &stories)
		for _, s := range stories {
			if s.Servers == nil {
				s.Servers = servers
			}
			doc, _, err := policy.Compile(s.source(t), noon)
			if err != nil {
				t.Fatal(err)
			}
			var requests []policy.Request
			for _, c := range s.Calls {
				requests = append(requests, c.request(callers))
			}
			sameAsJavaScript(t, ask, must(policy.NewIndex(doc))(t), requests)
		}
	}
}

func TestJavaScriptDecidesTheExample(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	example := must(readExample())(t)
	ix := must(policy.NewIndex(must(policy.Decode([]byte(example.Document)))(t)))(t)
	var requests []policy.Request
	for _, d := range example.Decisions {
		requests = append(requests, d.request())
	}
	sameAsJavaScript(t, ask, ix, requests)
	var call struct{ Digest, Canonical string }
	ask(t, map[string]string{"call": string(example.Call)}, &call)
	if call.Digest != example.CallDigest || call.Canonical != example.CallCanonical {
		t.Errorf("the call of the example: %+v", call)
	}
}

// TestJavaScriptDecidesRandomWorlds puts 30 requests to each of 100 worlds.
func TestJavaScriptDecidesRandomWorlds(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	rapid.Check(t, func(r *rapid.T) {
		ix := compile(r, drawSource.Draw(r, "source"))
		var requests []policy.Request
		for range 30 {
			requests = append(requests, drawRequest.Draw(r, "request"))
		}
		sameAsJavaScript(r, ask, ix, requests)
	})
}

// TestJavaScriptRefusesWhatItDoesNotKnow adds one member at a time to a document: none is ignored.
func TestJavaScriptRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	for _, m := range mutations(t, "", oneOfEach(t)) {
		if !m.adds {
			continue
		}
		var answer struct{ Refused string }
		ask(t, documentAsked{Document: string(m.text)}, &answer)
		if answer.Refused == "" {
			t.Errorf("%s is not refused", m.what)
		}
	}
}

// TestJavaScriptKnowsTheVectors reads the published vectors of digests as an author of a gateway does.
func TestJavaScriptKnowsTheVectors(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	type vectors struct {
		Vectors []struct {
			Name, Input, Output, Digest, Canonical, Arguments, Refused string
			Call                                                       json.RawMessage
		}
	}
	read := func(path ...string) vectors {
		return into[vectors](t, must(os.ReadFile(filepath.Join(path...)))(t))
	}
	check := func(name string, question map[string]string, want, refused string) {
		t.Helper()
		var answer json.RawMessage
		ask(t, question, &answer)
		var got struct{ Refused string }
		var text string
		if json.Unmarshal(answer, &text) != nil {
			got = into[struct{ Refused string }](t, answer)
		}
		if text != want || got.Refused != refused {
			t.Errorf("%s: %q, refused for %q, want %q, %q", name, text, got.Refused, want, refused)
		}
	}
	for _, v := range read("..", "canonical", "testdata", "exact.json").Vectors {
		check(v.Name, map[string]string{"exact": v.Input}, v.Output, v.Refused)
	}
	for _, v := range read("..", "canonical", "testdata", "arguments.json").Vectors {
		check(v.Name, map[string]string{"arguments": v.Input}, v.Output, v.Refused)
	}
	for _, v := range read("..", "canonical", "testdata", "refused.json").Vectors {
		check(v.Name, map[string]string{"exact": v.Input}, "", v.Refused)
		check(v.Name, map[string]string{"arguments": v.Input}, "", v.Refused)
	}
	for _, v := range read("testdata", "call_vectors.json").Vectors {
		var got struct{ Digest, Canonical, Arguments, Refused string }
		ask(t, map[string]string{"call": string(v.Call)}, &got)
		if got.Digest != v.Digest || got.Canonical != v.Canonical || got.Arguments != v.Arguments || got.Refused != v.Refused {
			t.Errorf("%s: %+v, want %s or refused for %q", v.Name, got, v.Digest, v.Refused)
		}
	}
}

// A key signs in as the same principal there as here, and neither takes one that is over, or is not of the policy.
func TestJavaScriptFindsWhoseKeyItIs(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	ix := indexWith(t, []policy.Key{keyOf("csa_two", "robot"), keyOf("csa_one", "nightly")}, nil)
	end := ix.AgentKey(policy.HashKey("csa_one")).NotAfter
	for key, agent := range map[string]string{
		"csa_one": "nightly", "csa_two": "robot", "": "", "csa_": "", "csa_One": "", "csa_one ": "", policy.HashKey("csa_one").String(): "",
	} {
		for now, open := range map[time.Time]bool{end.Add(-time.Second): true, end: false} {
			var got *policy.Principal
			ask(t, map[string]any{"keys": string(must(json.Marshal(ix.Document()))(t)), "key": key, "now": now}, &got)
			if want := agent != "" && open; (got != nil) != want {
				t.Errorf("%q at %v: %v", key, now, got)
			} else if want && (got.Agent != agent || got.Subject != policy.KeySubject(agent) || got.Issuer != ix.Document().Issuer || got.Groups == nil) {
				t.Errorf("%q is %+v", key, got)
			}
		}
	}
}
