// Package opatest runs a stock Open Policy Agent for tests. It is built from its Go module, at the version that
// tools/opa.mod names, into bin/opa of the repository.
package opatest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary gives the path of the stock OPA. It fails the test if nobody has built it.
func Binary(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("this test does not run inside the repository")
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(dir, "bin", "opa")
	if _, err := os.Stat(path); err != nil {
		t.Fatal("bin/opa is missing; build it with: go build -modfile=tools/opa.mod -tags opa_no_oci -o bin/opa github.com/open-policy-agent/opa")
	}
	return path
}

// Key is the public half of a key that signs bundles, as OPA is told it.
type Key struct {
	ID  string
	PEM string
}

// NewKey makes what OPA is told of a key.
func NewKey(t testing.TB, id string, public *ecdsa.PublicKey) Key {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return Key{ID: id, PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

// Eval asks a query of a bundle, with an input, in one run of OPA, and decodes its one result into out. The signature is
// not looked at.
func Eval(t testing.TB, bundle []byte, query string, input, out any) {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"bundle.tar.gz": bundle, "input.json": text} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), Binary(t), "eval", "--format", "raw", //nolint:gosec // our own build
		"--bundle", filepath.Join(dir, "bundle.tar.gz"), "--input", filepath.Join(dir, "input.json"), query)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("opa eval: %v\n%.2000s%.2000s", err, stdout.String(), stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		t.Fatalf("opa eval: %v\n%.2000s%.2000s", err, stdout.String(), stderr.String())
	}
}
