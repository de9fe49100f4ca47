package registry

import (
	"testing"

	"countersign/policy"
)

func TestGrade(t *testing.T) {
	t.Parallel()
	pinned := []byte(`{"name":"peek","description":"Look.","inputSchema":{"type":"object"}}`)
	narrower := []byte(`{"name":"peek","description":"Look.","inputSchema":{"type":"object","maxProperties":3}}`)
	for name, c := range map[string]struct {
		findings []Finding
		want     Severity
	}{
		"what a check blocks is critical":        {[]Finding{{Code: "hidden_character", Blocks: true}}, SeverityCritical},
		"a guess from the wording makes it high": {[]Finding{{Code: "injection_secrecy", Heuristic: true}}, SeverityHigh},
		"a warning raises nothing":               {[]Finding{{Code: "same_name"}}, SeverityLow},
		"nothing found":                          {nil, SeverityLow},
	} {
		if got := grade(policy.KindTool, pinned, narrower, c.findings); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
