//go:build unix

package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// janitor waits for the test process to end, however it ends, which closes its
// standard input; then for the servers, which the kernel shuts down; and then
// removes the area.
const janitor = `
	trap '' HUP INT TERM
	read -r _
	i=0
	while ls "$1"/*/postmaster.pid >/dev/null 2>&1 && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
	rm -rf "$1" || { sleep 2; rm -rf "$1"; }`

// leash is the janitor's standard input. It stays open until this process ends.
var leash *os.File

// Area returns the folder of this test process, which the janitor removes after
// its end. Its path is short, and an account lent by root can enter it.
func Area() (string, error) { return area() }

var area = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "countersign-test-")
	if err != nil {
		return "", fmt.Errorf("making the test area: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // what lies in it is 0700
		return "", fmt.Errorf("making the test area: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("making the janitor's leash: %w", err)
	}
	defer read.Close()                                            //nolint:errcheck // the janitor has its own handle
	cmd := exec.Command("/bin/sh", "-c", janitor, "janitor", dir) //nolint:noctx // outlives this process
	cmd.Stdin, cmd.SysProcAttr = read, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting the janitor: %w", err)
	}
	leash = write
	return dir, nil
})

// TempDir returns a folder like t.TempDir that an account lent by root can
// enter: t.TempDir is private to the user that runs the test.
func TempDir(t testing.TB) string {
	t.Helper()
	area, err := Area()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(area, "t")
	if err != nil {
		t.Fatalf("making a folder for the test: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatalf("making a folder for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the test's folder: %v", err)
		}
	})
	return dir
}
