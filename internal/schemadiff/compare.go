// Package schemadiff says what a change of a JSON Schema means.
package schemadiff

import (
	"bytes"
	"encoding/json"

	"countersign/canonical"
)

// Compare returns what differs between two schemas; nil if they are equal in meaning and in text.
func Compare(before, after json.RawMessage) []Change {
	if bytes.Equal(before, after) {
		return nil
	}
	a, errA := canonical.Exact(before)
	b, errB := canonical.Exact(after)
	if errA == nil && errB == nil && bytes.Equal(a, b) {
		return nil
	}
	return []Change{{Kind: Breaking, Before: before, After: after, Meaning: "The schema is another one."}}
}
