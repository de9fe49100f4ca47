// Package nodetest runs JavaScript of this repository in tests, with the Node that package-lock.json names.
//
// A missing Node fails the test. COUNTERSIGN_NODE names one that is elsewhere.
package nodetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// Command gives the command that runs a script, named from the root of the repository, and is killed with the test.
func Command(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	root := rootOf(t)
	node := os.Getenv("COUNTERSIGN_NODE")
	if node == "" {
		arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
		if arch == "" {
			arch = runtime.GOARCH
		}
		node = filepath.Join(root, "node_modules", "node-linux-"+arch, "bin", "node")
	}
	if _, err := os.Stat(node); err != nil { //nolint:gosec // whoever runs the tests says which Node
		t.Fatalf("Node is missing, run make setup: %v", err)
	}
	script = filepath.Join(root, script)
	return exec.CommandContext(t.Context(), node, append([]string{script}, args...)...) //nolint:gosec // a script of ours
}

// T is what fails when a question gets no answer: a test, or one case of a property.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Talk starts a script that answers each line of JSON with one. What it returns asks one question and reads the answer;
// it may be called from several goroutines.
func Talk(t testing.TB, script string, args ...string) (ask func(t T, question, answer any)) {
	t.Helper()
	command := Command(t, script, args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s: %v", script, err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait() // it ends with its input, or was killed
	})
	var turn sync.Mutex
	questions, answers := json.NewEncoder(in), bufio.NewReader(out)
	return func(t T, question, answer any) {
		t.Helper()
		turn.Lock()
		defer turn.Unlock()
		if err := questions.Encode(question); err != nil {
			t.Fatalf("asking %s: %v\n%s", script, err, stderr.String())
		}
		line, err := answers.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, answer)
		}
		if err != nil {
			t.Fatalf("hearing from %s: %v\n%s%s", script, err, line, stderr.String())
		}
	}
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
