package canonical_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"countersign/canonical"
)

// vector is one entry of the published files in testdata. A file uses the fields
// that it needs.
type vector struct {
	Name    string `json:"name"`
	Input   string `json:"input"`
	Output  string `json:"output"`
	Refused string `json:"refused"`
	Domain  string `json:"domain"`
	Digest  string `json:"digest"`
}

func readVectors(t testing.TB, name string) []vector {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		About   string   `json:"about"`
		Vectors []vector `json:"vectors"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
	if len(file.Vectors) == 0 {
		t.Fatalf("%s holds no vectors", name)
	}
	return file.Vectors
}

func TestExactVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "exact.json") {
		checkVector(t, v, canonical.Exact)
	}
}

func TestArgumentsVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "arguments.json") {
		checkVector(t, v, canonical.Arguments)
	}
}

func TestRefusedVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "refused.json") {
		checkVector(t, v, canonical.Exact)
		checkVector(t, v, canonical.Arguments)
	}
}

func TestDigestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t, "digest.json") {
		if got := canonical.Sum(v.Domain, []byte(v.Input)).String(); got != v.Digest {
			t.Errorf("%s: Sum(%q, %q) = %s, want %s", v.Name, v.Domain, v.Input, got, v.Digest)
		}
	}
}

func checkVector(t *testing.T, v vector, form func([]byte) ([]byte, error)) {
	t.Helper()
	got, err := form([]byte(v.Input))
	if c := code(t, err); c != v.Refused {
		t.Errorf("%s: refused as %q (%v), want %q", v.Name, c, err, v.Refused)
	}
	if string(got) != v.Output {
		t.Errorf("%s: got\n%s, want\n%s", v.Name, got, v.Output)
	}
}
