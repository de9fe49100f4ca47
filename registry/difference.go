package registry

import (
	"bytes"
	"encoding/json"

	"countersign/canonical"
	"countersign/policy"
)

// DifferenceKind says what a difference between two definitions is about.
type DifferenceKind string

// The kinds of differences. Those of an input are as package schemadiff defines them.
const (
	DifferenceWider       DifferenceKind = "wider"
	DifferenceNewPower    DifferenceKind = "new_power"
	DifferenceNarrower    DifferenceKind = "narrower"
	DifferenceBreaking    DifferenceKind = "breaking"
	DifferenceTextOnly    DifferenceKind = "text_only"
	DifferenceAnnotations DifferenceKind = "annotations" // what the server says of the tool's risk
	DifferenceOutput      DifferenceKind = "output"      // what the tool returns
)

// Severity says how soon a person should look at a change. It decides nothing.
type Severity string

// The severities; "" is none.
const (
	SeverityLow      Severity = "low"
	SeverityMedium   Severity = "medium"
	SeverityHigh     Severity = "high"
	SeverityCritical Severity = "critical"
)

// Difference is one difference between the pinned definition and the one that is served.
type Difference struct {
	Where         string // JSON Pointer into the definition
	Kind          DifferenceKind
	Before, After string // the server's text; "" absent
	Meaning       string // a sentence of ours
}

// Differences compares two whole definitions and returns what differs, and how grave that is. It never returns
// nothing for definitions whose canonical forms differ.
func Differences(_ policy.Kind, pinned, served json.RawMessage) ([]Difference, Severity) {
	a, errA := canonical.Exact(pinned)
	b, errB := canonical.Exact(served)
	if errA == nil && errB == nil && bytes.Equal(a, b) {
		return nil, ""
	}
	return []Difference{{Kind: DifferenceBreaking, Before: string(pinned), After: string(served), Meaning: "The definition is another one."}}, SeverityMedium
}
