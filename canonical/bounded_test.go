package canonical_test

import (
	"strings"
	"testing"

	"countersign/canonical"
)

func TestBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"a":[0,-1.5,1e308,-2.5E-307,9007199254740993]}`: true,
		`{"1e999999":"1e999999 \" 1e999999"}`:             true,
		`["\\",1e9999]`:                                   false,
		`1e1000`:                                          false,
		`[1,-1E+99999999999]`:                             false,
		`1e-999999`:                                       false,
		strings.Repeat("9", 400):                          true,
		`[` + strings.Repeat("9", 401) + `]`:              false,
		`{"a":0.` + strings.Repeat("0", 400) + `1}`:       false,
	} {
		if got := canonical.Bounded([]byte(text)); got != want {
			t.Errorf("Bounded(%.60s) = %v", text, got)
		}
	}
}
