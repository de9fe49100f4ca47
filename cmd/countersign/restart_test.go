package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/pgtest"
)

// runMain is set in a child process that a test starts, to be the program itself: something that can be killed.
const runMain = "RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		_ = os.Unsetenv(runMain)
		os.Exit(Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// ports reserves addresses that stay the same over restarts.
func ports(t *testing.T) []string {
	t.Helper()
	var flags []string
	var held []net.Listener
	for _, flag := range []string{"--listen", "--gateway-listen", "--idp-listen", "--sample-listen"} {
		l := freePort(t)
		held = append(held, l)
		flags = append(flags, flag, l.Addr().String())
	}
	for _, l := range held {
		_ = l.Close()
	}
	return flags
}

func TestStateSurvivesARestart(t *testing.T) {
	data, flags := filepath.Join(pgtest.TempDir(t), "data"), ports(t)
	in := startUpOn(t, data, flags...)
	ada := newClerk(t, in.console, "ada")
	ada.addSample(t)
	ada.grantEverything(t, "tomas", sample)
	eventually(t, "the grant reaches the gateway", func() bool { return len(in.toolNames(t, "tomas", sample)) == 3 })

	var second output
	if code := Run(t.Context(), append([]string{"up", "--data", data}, flags...), &second, &second); code != exitError ||
		!strings.Contains(second.String(), "already running") {
		t.Errorf("a second start on the same data: exit %d\n%s", code, second.String())
	}
	if code := in.end(t); code != exitDone {
		t.Fatalf("stopping: exit %d", code)
	}

	in = startUpOn(t, data, flags...)
	if err := ada.open(t.Context(), "/grants"); err != nil || !strings.Contains(ada.text(), "Everything") {
		t.Errorf("signed out, or the grant is lost: %v: %s", err, ada.text())
	}
	if code, out := in.call(t, "tomas", sample, "list_orders", `{}`); code != exitDone {
		t.Errorf("after the restart: exit %d\n%s", code, out)
	}
}

// TestKillLeavesNothingRunning kills the program as a whole and starts it again.
func TestKillLeavesNothingRunning(t *testing.T) {
	data, flags := filepath.Join(pgtest.TempDir(t), "data"), ports(t)
	child := exec.Command(os.Args[0], append([]string{"up", "--data", data}, flags...)...)
	child.Env = append(os.Environ(), runMain+"=1")
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, stdout, "Countersign is ready")
	if running := processesNaming(t, data); len(running) < 2 { // the program and PostgreSQL at least
		t.Fatalf("only %v run on %s", running, data)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed, as we asked
	eventually(t, "nothing runs on the data", func() bool { return len(processesNaming(t, data)) == 0 })

	in := startUpOn(t, data, flags...)
	newClerk(t, in.console, "ada")
}

func TestSignalStopsInOrder(t *testing.T) {
	data, flags := filepath.Join(pgtest.TempDir(t), "data"), ports(t)
	child := exec.Command(os.Args[0], append([]string{"up", "--data", data}, flags...)...)
	child.Env = append(os.Environ(), runMain+"=1")
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, stdout, "Countersign is ready")
	if err := child.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if running := processesNaming(t, data); len(running) > 0 {
		t.Errorf("still running: %v", running)
	}
}

// awaitLine reads until a line has the text, and goes on reading so that the program never blocks on us.
func awaitLine(t *testing.T, r io.Reader, text string) {
	t.Helper()
	found := make(chan struct{})
	go func() {
		seen := false
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if !seen && strings.Contains(lines.Text(), text) {
				seen = true
				close(found)
			}
		}
	}()
	select {
	case <-found:
	case <-time.After(time.Minute):
		t.Fatalf("it never said %q", text)
	}
}

// processesNaming lists the processes that have the path in their command line, zombies aside.
func processesNaming(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), path) {
			found = append(found, fmt.Sprintf("%s: %s", e.Name(), strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return found
}
