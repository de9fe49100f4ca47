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
	ask(t, bundle, input, out, "eval", "--format", "raw", query)
}

// Bench measures, with OPA's own benchmark, how many nanoseconds one evaluation of a query of a bundle takes, with the
// query prepared and the input parsed.
func Bench(t testing.TB, bundle []byte, query string, input any) float64 {
	t.Helper()
	var result struct{ N, T float64 }
	ask(t, bundle, input, &result, "bench", "--format", "json", "--metrics=false", query)
	if result.N == 0 {
		t.Fatal("opa bench measured nothing")
	}
	return result.T / result.N
}

// ask runs a command of OPA on a bundle and an input, and decodes what it prints into out.
func ask(t testing.TB, bundle []byte, input, out any, command string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	bundlePath, inputPath := filepath.Join(dir, "bundle.tar.gz"), filepath.Join(dir, "input.json")
	for path, content := range map[string][]byte{bundlePath: bundle, inputPath: text} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{command, "--bundle", bundlePath, "--input", inputPath}, args...)
	opa := exec.CommandContext(t.Context(), Binary(t), args...) //nolint:gosec // our own build
	var stdout, stderr bytes.Buffer
	opa.Stdout, opa.Stderr = &stdout, &stderr
	if err := opa.Run(); err != nil {
		t.Fatalf("opa %s: %v\n%.2000s%.2000s", command, err, stdout.String(), stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		t.Fatalf("opa %s: %v\n%.2000s%.2000s", command, err, stdout.String(), stderr.String())
	}
}
