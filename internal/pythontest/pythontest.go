// Package pythontest runs Python of this repository in tests, with the python3 of the machine and nothing but its standard
// library.
//
// A missing Python fails the test. COUNTERSIGN_PYTHON names one that is elsewhere.
package pythontest

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Command gives the command that runs a script, named from the root of the repository, and is killed with the test. It
// imports no package that somebody has installed, and leaves no files behind.
func Command(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	python, err := exec.LookPath(cmp.Or(os.Getenv("COUNTERSIGN_PYTHON"), "python3"))
	if err != nil {
		t.Fatalf("Python is missing, run make setup: %v", err)
	}
	script = filepath.Join(rootOf(t), script)
	return exec.CommandContext(t.Context(), python, append([]string{"-B", "-s", script}, args...)...) //nolint:gosec // a script of ours
}

// rootOf is the folder of go.mod, above the package under test.
func rootOf(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
	}
	t.Fatal("there is no go.mod above the package under test")
	return ""
}
