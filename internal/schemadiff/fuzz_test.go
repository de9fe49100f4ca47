package schemadiff_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/canonical"
	"countersign/internal/schemadiff"
)

// FuzzCompare takes any two texts and a value. Compare never fails, says nothing only of schemas that are the same,
// repeats no text but names in quotes, and keeps the promise of the package.
func FuzzCompare(f *testing.F) {
	for _, c := range traps {
		f.Add([]byte(c.before), []byte(c.after), []byte(c.value))
	}
	for _, list := range [][]oneChange{values, objects, combinations, dialects} {
		for _, c := range list {
			f.Add([]byte(c.before), []byte(c.after), []byte(`{"a":1,"b":["x",null]}`))
		}
	}
	f.Fuzz(func(t *testing.T, before, after, value []byte) {
		if schemadiff.Compare(before, before) != nil || schemadiff.Compare(after, after) != nil {
			t.Fatal("a schema differs from itself")
		}
		changes := schemadiff.Compare(before, after)
		back := schemadiff.Compare(after, before)
		if (changes == nil) != (back == nil) || (changes == nil) != sameForm(before, after) {
			t.Fatalf("there and back: %s and %s", describe(changes), describe(back))
		}
		for _, c := range changes {
			checkChange(t, c)
		}
		if schemadiff.Compatible(changes) {
			stillValid(t, before, after, value)
		}
		if schemadiff.Compatible(back) {
			stillValid(t, after, before, value)
		}
	})
}

// sameForm reports whether two texts are the same, or the same JSON.
func sameForm(a, b []byte) bool {
	x, errX := canonical.Exact(a)
	y, errY := canonical.Exact(b)
	return bytes.Equal(a, b) || errX == nil && errY == nil && bytes.Equal(x, y)
}

func checkChange(t *testing.T, c schemadiff.Change) {
	t.Helper()
	plain, quotes := c.Meaning, strings.Count(c.Meaning, "“")
	if _, rest, quoted := strings.Cut(plain, "”"); quoted {
		start, _, _ := strings.Cut(plain, "“")
		plain = start + rest
	}
	if plain == "" || quotes > 1 || strings.ContainsFunc(plain, func(r rune) bool { return r > '~' || r < ' ' }) {
		t.Errorf("%q is not our own sentence", c.Meaning)
	}
	if c.Path != "" && c.Path[0] != '/' {
		t.Errorf("%q is no JSON Pointer", c.Path)
	}
}

// stillValid checks the promise where a validator can be trusted to come to an end.
func stillValid(t *testing.T, before, after, value []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil || !simple(before) || !simple(after) || len(value) > 200 {
		return
	}
	was, is := compile(before), compile(after)
	if was == nil || is == nil || was.Validate(v) != nil {
		return
	}
	if err := is.Validate(v); err != nil {
		t.Fatalf("said to be compatible:\n%s\n%s\nbut of %s it is said: %v", before, after, value, err)
	}
}

// simple reports whether a schema has few parts that see the same value.
func simple(schema []byte) bool {
	n := 0
	for _, word := range []string{"Of", "not", "if", "then", "else", "depend", "$"} {
		n += bytes.Count(schema, []byte(word))
	}
	return len(schema) < 500 && n < 8 && json.Valid(schema)
}
