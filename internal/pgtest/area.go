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

// testArea is a folder and its janitor's standard input, which stays open until
// this process ends.
type testArea struct {
	dir   string
	leash *os.File
}

// Area returns the folder of this test process, which the janitor removes after
// its end. Its path is short, and an account lent by root can enter it.
func Area() (string, error) {
	a, err := area()
	return a.dir, err
}

var area = sync.OnceValues(func() (a testArea, err error) {
	if a.dir, err = os.MkdirTemp(roomyMemory(), "countersign-test-"); err != nil {
		return a, fmt.Errorf("making the test area: %w", err)
	}
	if err := os.Chmod(a.dir, 0o755); err != nil { //nolint:gosec // what lies in it is 0700
		return a, fmt.Errorf("making the test area: %w", err)
	}
	read, write, err := os.Pipe()
	a.leash = write
	if err != nil {
		return a, fmt.Errorf("making the janitor's leash: %w", err)
	}
	defer read.Close()                                              // the janitor has its own handle
	cmd := exec.Command("/bin/sh", "-c", janitor, "janitor", a.dir) //nolint:gosec // the folder is ours
	cmd.Stdin, cmd.SysProcAttr = read, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return a, fmt.Errorf("starting the janitor: %w", err)
	}
	return a, nil
})

// roomyMemory returns the folder of the machine's file system in memory when it
// has room, else /tmp: the tests write hundreds of megabytes that nobody keeps.
func roomyMemory() string {
	const folder, enough = "/dev/shm", 2 << 30
	var free syscall.Statfs_t
	if err := syscall.Statfs(folder, &free); err != nil || free.Bavail < enough/uint64(free.Bsize) { //nolint:gosec // a block has a size above 0
		return "/tmp"
	}
	return folder
}

// TempDir returns a folder like t.TempDir that an account lent by root can
// enter: t.TempDir is private to the user that runs the test.
func TempDir(tb testing.TB) string {
	tb.Helper()
	area, err := Area()
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp(area, "t") //nolint:usetesting // that is the folder that cannot be entered
	if err != nil {
		tb.Fatalf("making a folder for the test: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		tb.Fatalf("making a folder for the test: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("removing the test's folder: %v", err)
		}
	})
	return dir
}
