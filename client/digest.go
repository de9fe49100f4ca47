package client

import (
	"encoding/json"
	"fmt"

	"countersign/canonical"
)

// Domains of the digests that a gateway and the control plane must agree on.
const (
	domainDefinition = "countersign/definition/v1"
	domainCommand    = "countersign/command/v1"
)

// DefinitionDigest identifies one version of a tool, prompt, resource or resource template: SHA-256 over the
// canonical form of the object as the server sent it. The error is a *canonical.Error.
func DefinitionDigest(raw json.RawMessage) (canonical.Digest, error) {
	exact, err := canonical.Exact(raw)
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("reading definition: %w", err)
	}
	return canonical.Sum(domainDefinition, exact), nil
}

// CommandDigest identifies a command line that a gateway may start: what runs, where, and which variables of
// its environment it is given. Two gateways whose configurations agree on these offer the same command.
func CommandDigest(argv, env []string, dir string) (canonical.Digest, error) {
	raw, err := json.Marshal(struct {
		Argv []string `json:"argv"`
		Env  []string `json:"env"`
		Dir  string   `json:"dir"`
	}{argv, env, dir})
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("describing command: %w", err)
	}
	exact, err := canonical.Exact(raw)
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("describing command: %w", err)
	}
	return canonical.Sum(domainCommand, exact), nil
}
