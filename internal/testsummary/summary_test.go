package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	const (
		passA   = `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}`
		printB  = `{"Action":"output","Package":"p","Test":"TestB","Output":"got 1, want 2\n"}`
		failB   = `{"Action":"fail","Package":"p","Test":"TestB","Elapsed":0.1}`
		printC  = `{"Action":"output","Package":"p","Test":"TestC","Output":"no browser\n"}`
		skipC   = `{"Action":"skip","Package":"p","Test":"TestC"}`
		okP     = `{"Action":"pass","Package":"p","Elapsed":1.5}`
		failP   = `{"Action":"fail","Package":"p","Elapsed":1.5}`
		noTests = `{"Action":"skip","Package":"q"}`
		crash   = `{"Action":"output","Package":"p","Output":"panic: test timed out\n"}`
		compile = `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: undefined: x\n"}`
		unbuilt = `{"ImportPath":"p","Action":"build-fail"}`
	)
	cases := []struct {
		name   string
		events []string
		ok     bool
		prints []string
	}{
		{"all passed", []string{passA, okP, noTests}, true, []string{"ok      p", "\n1 passed, 0 failed\n"}},
		{"one failed", []string{passA, printB, failB, failP}, false, []string{"got 1, want 2", "failed: p TestB", "\n1 passed, 1 failed\n"}},
		{"a skipped test fails", []string{passA, printC, skipC, okP}, false, []string{"no browser", "\n1 passed, 1 failed\n"}},
		{"a crash fails and is shown", []string{passA, crash, failP}, false, []string{"panic: test timed out", "failed: p\n", "\n1 passed, 1 failed\n"}},
		{"a build error fails and is shown", []string{compile, unbuilt, failP}, false, []string{"undefined: x", "\n0 passed, 1 failed\n"}},
		{"nothing ran", []string{noTests}, false, []string{"0 passed, 0 failed\n"}},
		{"not JSON", []string{passA, "oops"}, false, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			s := newSummary(&out)
			readErr := s.read(strings.NewReader(strings.Join(c.events, "\n")))
			closeErr := s.close()
			if ok := readErr == nil && closeErr == nil; ok != c.ok {
				t.Errorf("ok = %v (%v, %v), want %v", ok, readErr, closeErr, c.ok)
			}
			for _, want := range c.prints {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in the output:\n%s", want, out.String())
				}
			}
		})
	}
}
