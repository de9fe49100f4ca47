package registry

import (
	"encoding/json"

	"countersign/policy"
)

// DifferenceKind is what a difference means to those who call the tool.
type DifferenceKind string

// Severity is how grave a difference is.
type Severity string

// The severities, the least grave first.
const (
	SeverityLow      Severity = "low"
	SeverityMedium   Severity = "medium"
	SeverityHigh     Severity = "high"
	SeverityCritical Severity = "critical"
)

// Difference is one difference between two definitions of a tool.
type Difference struct {
	Where         string
	Kind          DifferenceKind
	Before, After string
	Meaning       string
}

// Differences says in what the served definition differs from the pinned one, and how grave that is.
func Differences(_ policy.Kind, pinned, served json.RawMessage) ([]Difference, Severity) {
	if string(pinned) == string(served) {
		return nil, ""
	}
	return []Difference{{Kind: "breaking", Before: string(pinned), After: string(served), Meaning: "Something differs."}}, SeverityHigh
}
