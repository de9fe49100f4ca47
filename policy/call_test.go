package policy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"

	"countersign/canonical"
	"countersign/policy"
)

// callVector is one entry of testdata/call_vectors.json.
type callVector struct {
	Name      string          `json:"name"`
	Call      json.RawMessage `json:"call"`
	Canonical string          `json:"canonical"`
	Arguments string          `json:"arguments"`
	Digest    string          `json:"digest"`
	Refused   string          `json:"refused"` // field, or code of the scan
}

func callVectors(t testing.TB) []callVector {
	t.Helper()
	var file struct {
		About   string       `json:"about"`
		Vectors []callVector `json:"vectors"`
	}
	text := must(os.ReadFile("testdata/call_vectors.json"))(t)
	if err := json.Unmarshal(text, &file); err != nil || len(file.Vectors) == 0 {
		t.Fatalf("reading vectors: %d, %v", len(file.Vectors), err)
	}
	return file.Vectors
}

func TestCallVectors(t *testing.T) {
	t.Parallel()
	for _, v := range callVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			c, err := policy.DecodeCall(v.Call)
			var digest canonical.Digest
			var arguments []byte
			if err == nil {
				digest, arguments, err = c.Digest()
			}
			if v.Refused != "" {
				if got := fieldOrCode(err); got != v.Refused {
					t.Errorf("refused for %q (%v), want %q", got, err, v.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text := must(c.Canonical())(t)
			if string(text) != v.Canonical || string(arguments) != v.Arguments || digest.String() != v.Digest {
				t.Errorf("got\n%s\n%s\n%s, want\n%s\n%s\n%s", text, arguments, digest, v.Canonical, v.Arguments, v.Digest)
			}
		})
	}
}

var (
	definition = canonical.Sum("definition", nil)
	endpoint   = canonical.Sum("endpoint", nil)
)

func aCall() policy.Call {
	return policy.Call{
		Issuer: "https://countersign.example", Epoch: 3, Gateway: "gtw_1", ServerID: "srv_1", EndpointDigest: endpoint,
		Tool: "delete_orders", Kind: policy.KindTool, Definition: definition,
		Principal: policy.CallPrincipal{Issuer: idp, Subject: "alice", Agent: "cursor", Model: "claude-3"},
		Arguments: json.RawMessage(`{"ids":[1,2]}`),
	}
}

// TestEveryPartOfACallCounts flips each part alone.
func TestEveryPartOfACallCounts(t *testing.T) {
	t.Parallel()
	seen := map[canonical.Digest]string{}
	for name, change := range map[string]func(*policy.Call){
		"nothing":    func(*policy.Call) {},
		"issuer":     func(c *policy.Call) { c.Issuer += "x" },
		"epoch":      func(c *policy.Call) { c.Epoch++ },
		"gateway":    func(c *policy.Call) { c.Gateway += "x" },
		"server":     func(c *policy.Call) { c.ServerID += "x" },
		"endpoint":   func(c *policy.Call) { c.EndpointDigest[0]++ },
		"tool":       func(c *policy.Call) { c.Tool += "x" },
		"kind":       func(c *policy.Call) { c.Kind = policy.KindPrompt },
		"definition": func(c *policy.Call) { c.Definition[0]++ },
		"idp":        func(c *policy.Call) { c.Principal.Issuer += "x" },
		"subject":    func(c *policy.Call) { c.Principal.Subject += "x" },
		"agent":      func(c *policy.Call) { c.Principal.Agent = "" },
		"model":      func(c *policy.Call) { c.Principal.Model = "" },
		"arguments":  func(c *policy.Call) { c.Arguments = json.RawMessage(`{"ids":[2,1]}`) },
		"no args":    func(c *policy.Call) { c.Arguments = nil },
		"shifted":    func(c *policy.Call) { c.Principal.Agent, c.Principal.Model = c.Principal.Model, c.Principal.Agent },
	} {
		c := aCall()
		change(&c)
		d, _, err := c.Digest()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, ok := seen[d]; ok {
			t.Errorf("changing %s gives the same digest as changing %s", name, other)
		}
		seen[d] = name
	}
}

func TestEqualCallsHaveOneDigest(t *testing.T) {
	t.Parallel()
	want, _, err := aCall().Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, arguments := range []string{` { "ids" : [ 1.0 , 2e0 ] } `, `{"i\u0064s":[1,2]}`} {
		c := aCall()
		c.Arguments = json.RawMessage(arguments)
		if got, _, err := c.Digest(); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", arguments, got, err, want)
		}
	}
	text := must(json.Marshal(aCall()))(t)
	if got, _, err := must(policy.DecodeCall(text))(t).Digest(); err != nil || got != want {
		t.Errorf("over the wire: %s, %v, want %s", got, err, want)
	}
}

func TestConfirmationTokenIsLeftOut(t *testing.T) {
	t.Parallel()
	token := "cst_" + strings.Repeat("aZ0", 16) + "9"
	want, _, _ := aCall().Digest()
	for arguments, same := range map[string]bool{
		`{"confirmation_token":"` + token + `","ids":[1,2]}`:        true,
		`{"ids":[1,2],"confirmation\u005ftoken":"` + token + `"}`:   true,
		`{"confirmation_token":"` + token[1:] + `","ids":[1,2]}`:    false,
		`{"confirmation_token":"` + token + `0","ids":[1,2]}`:       false,
		`{"confirmation_token":"cst-` + token[4:] + `","ids":[1]}`:  false,
		`{"confirmation_token":"yes","ids":[1,2]}`:                  false,
		`{"confirmation_token":null,"ids":[1,2]}`:                   false,
		`{"token":"` + token + `","ids":[1,2]}`:                     false,
		`{"ids":[1,2],"in":{"confirmation_token":"` + token + `"}}`: false,
	} {
		c := aCall()
		c.Arguments = json.RawMessage(arguments)
		got, forwarded, err := c.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if (got == want) != same || same != (string(forwarded) == `{"ids":[1,2]}`) {
			t.Errorf("%s: same digest %v, forwards %s, want %v", arguments, got == want, forwarded, same)
		}
	}
}

// FuzzCall checks that a call which is accepted has a canonical form that is the
// one of RFC 8785, and that reads as the same call.
func FuzzCall(f *testing.F) {
	for _, v := range callVectors(f) {
		f.Add([]byte(v.Call))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := policy.DecodeCall(data)
		if err != nil {
			return
		}
		digest, _, err := c.Digest()
		if err != nil {
			return
		}
		text := must(c.Canonical())(t)
		if want := must(jcs.Transform(text))(t); !bytes.Equal(text, want) {
			t.Fatalf("%s is not the canonical form %s", text, want)
		}
		if canonical.Sum("countersign/call/v1", text) != digest {
			t.Fatalf("the digest of %s is not that of its canonical form", text)
		}
		again := must(policy.DecodeCall(text))(t)
		if d, _, err := again.Digest(); err != nil || d != digest {
			t.Fatalf("%s reads as another call: %v", text, err)
		}
	})
}
