package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

func asking(requests ...policy.ClientRequest) policy.Source {
	server := storyServer{Team: "t", Tools: map[string]policy.Risk{"read": policy.ReadOnly}}.server("a/x")
	server.ClientRequests = requests
	return policy.Source{Issuer: "https://c.test", Audience: "aud_1", Epoch: 1, Generation: 2, MaxStaleSeconds: 300, Servers: []policy.Server{server}}
}

func TestClientRequestsInTheDocument(t *testing.T) {
	t.Parallel()
	document, _, err := policy.Compile(asking(policy.Sampling, policy.Elicitation, policy.Sampling), noon)
	if err != nil {
		t.Fatal(err)
	}
	raw := must(document.Marshal())(t)
	if want := `"client_requests":["elicitation","sampling"],"tools"`; !strings.Contains(string(raw), want) {
		t.Errorf("%s is not in %s", want, raw)
	}
	server := document.Servers[0]
	for request, may := range map[policy.ClientRequest]bool{policy.Sampling: true, policy.Elicitation: true, policy.Roots: false, "": false} {
		if server.MayAsk(request) != may {
			t.Errorf("may ask for %q: %v", request, !may)
		}
	}
	if _, err := policy.Decode(raw); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{`["sampling","elicitation"]`, `["elicitation","elicitation"]`, `["tasks"]`} {
		changed := strings.Replace(string(raw), `["elicitation","sampling"]`, wrong, 1)
		if _, err := policy.Decode([]byte(changed)); err == nil || !strings.Contains(err.Error(), "client_requests") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestDiffTellsWhatServersMayAsk(t *testing.T) {
	t.Parallel()
	before, after := asking(policy.Roots, policy.Elicitation), asking(policy.Sampling, policy.Elicitation)
	want := []string{
		"gain: a/x may ask clients to have their models answer what it writes",
		"lose: a/x may no longer ask clients to name the folders their users work on",
	}
	if diff := cmp.Diff(want, words(t, before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if said := words(t, after, after); len(said) > 0 {
		t.Errorf("nothing changed, and it says %v", said)
	}
}
