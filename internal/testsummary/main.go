// Command testsummary runs "go test -json" with its arguments and prints what a person wants to know:
// a line for each package, the whole output of what failed, and a closing line
//
//	N passed, 0 failed
//
// which counts every test and subtest. It exits with 1 when a test or a build failed, when a test was
// skipped (a missing dependency fails here, it never skips), or when nothing ran at all.
//
// A "+" among the arguments begins those of another "go test", which runs after the one before and counts with it. One with
// -race gets the C compiler that it needs; the others do without, as the program is built.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s := newSummary(os.Stdout)
	var failed []error
	for _, one := range commands(args) {
		failed = append(failed, test(one, s))
	}
	return errors.Join(append([]error{s.close()}, failed...)...)
}

// commands takes the arguments apart.
func commands(args []string) (all [][]string) {
	for {
		i := slices.Index(args, "+")
		if i < 0 {
			return append(all, args)
		}
		all, args = append(all, args[:i]), args[i+1:]
	}
}

// test runs one "go test". The error is what the summary does not say.
func test(args []string, s *summary) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:gosec,noctx // the caller's own arguments; ^C reaches the whole process group
	cmd.Stderr = os.Stderr
	if slices.Contains(args, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("reading from go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	readErr := s.read(events)
	waitErr := cmd.Wait()
	if readErr != nil {
		return readErr
	}
	if waitErr != nil {
		return fmt.Errorf("go test: %w", waitErr)
	}
	return nil
}
