package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of "go test -json" (see "go doc test2json" and "go help buildjson").
type event struct {
	Action     string
	Package    string
	Test       string
	Elapsed    float64
	Output     string
	ImportPath string
}

// testID names a test; Name is empty for the package itself.
type testID struct{ Package, Name string }

// summary counts the results of a run and keeps the output of what may still fail.
type summary struct {
	out     io.Writer
	output  map[testID]*strings.Builder
	build   map[string]*strings.Builder
	passed  map[string]int
	failed  []testID
	skipped []testID
	broken  []string // packages that failed with no failing test: a build error, a crash, a time-out
	total   int
}

func newSummary(out io.Writer) *summary {
	return &summary{
		out:    out,
		output: map[testID]*strings.Builder{},
		build:  map[string]*strings.Builder{},
		passed: map[string]int{},
	}
}

// read takes events until the stream ends.
func (s *summary) read(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the output of go test: %w", err)
		}
		s.add(e)
	}
}

func (s *summary) add(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "output":
		text(s.output, id).WriteString(e.Output)
	case "build-output":
		text(s.build, e.ImportPath).WriteString(e.Output)
	case "build-fail":
		fmt.Fprintf(s.out, "BUILD FAILED  %s\n%s", e.ImportPath, text(s.build, e.ImportPath))
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(e.Action, id)
		}
	}
}

func (s *summary) endTest(action string, id testID) {
	switch action {
	case "pass":
		s.passed[id.Package]++
		s.total++
		delete(s.output, id)
	case "fail":
		s.failed = append(s.failed, id)
		fmt.Fprintf(s.out, "FAILED  %s %s\n%s", id.Package, id.Name, text(s.output, id))
	case "skip":
		s.skipped = append(s.skipped, id)
		fmt.Fprintf(s.out, "SKIPPED  %s %s\n%s", id.Package, id.Name, text(s.output, id))
	}
}

// endPackage prints the package's line. A package which fails although none of its tests did has crashed or
// timed out: what it printed, and what its unfinished tests printed, is the only trace.
func (s *summary) endPackage(e event) {
	ownTest := func(id testID) bool { return id.Package == e.Package }
	switch e.Action {
	case "skip":
		// The package has no tests.
	case "pass":
		fmt.Fprintf(s.out, "ok      %-40s %5d tests %7.2fs\n", e.Package, s.passed[e.Package], e.Elapsed)
	default:
		if !slices.ContainsFunc(s.failed, ownTest) {
			s.broken = append(s.broken, e.Package)
			for id, output := range s.output {
				if ownTest(id) {
					fmt.Fprintf(s.out, "%s", output)
				}
			}
		}
		fmt.Fprintf(s.out, "FAIL    %-40s %5d tests %7.2fs\n", e.Package, s.passed[e.Package], e.Elapsed)
	}
	for id := range s.output {
		if ownTest(id) {
			delete(s.output, id)
		}
	}
}

// close prints what failed, then the closing line, and says whether the run was good.
func (s *summary) close() error {
	for _, id := range s.failed {
		fmt.Fprintf(s.out, "failed: %s %s\n", id.Package, id.Name)
	}
	for _, name := range s.broken {
		fmt.Fprintf(s.out, "failed: %s\n", name)
	}
	for _, id := range s.skipped {
		fmt.Fprintf(s.out, "skipped, which counts as failed: %s %s\n", id.Package, id.Name)
	}
	bad := len(s.failed) + len(s.broken) + len(s.skipped)
	fmt.Fprintf(s.out, "%d passed, %d failed\n", s.total, bad)
	switch {
	case bad > 0:
		return fmt.Errorf("%d failed", bad)
	case s.total == 0:
		return errors.New("no test ran")
	}
	return nil
}

// text returns the collected text of a key, empty at first.
func text[K comparable](texts map[K]*strings.Builder, key K) *strings.Builder {
	if texts[key] == nil {
		texts[key] = &strings.Builder{}
	}
	return texts[key]
}
