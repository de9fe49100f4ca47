// Command testsummary runs "go test -json" with its arguments and prints what a person wants to know:
// a line for each package, the whole output of what failed, and a closing line
//
//	N passed, 0 failed
//
// which counts every test and subtest. It exits with 1 when a test or a build failed, when a test was
// skipped (a missing dependency fails here, it never skips), or when nothing ran at all.
package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:gosec,noctx // the caller's own arguments; ^C reaches the whole process group
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("reading from go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	s := newSummary(os.Stdout)
	readErr := s.read(events)
	waitErr := cmd.Wait()
	if err := s.close(); err != nil {
		return err
	}
	if readErr != nil {
		return readErr
	}
	if waitErr != nil {
		return fmt.Errorf("go test: %w", waitErr)
	}
	return nil
}
