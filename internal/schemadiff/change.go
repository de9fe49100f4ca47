package schemadiff

import "encoding/json"

// Kind says what a change does to the values that a schema accepts.
type Kind string

// The kinds of changes; see the package comment for what each of them promises.
const (
	Wider    Kind = "wider"     // more values are accepted, and all that were
	NewPower Kind = "new_power" // a property is accepted, or known, that was not
	Narrower Kind = "narrower"  // fewer values are accepted, and none that was not
	Breaking Kind = "breaking"  // what was accepted may be refused, in its shape or for all we can prove
	TextOnly Kind = "text_only" // the same values are accepted; what is said of them differs
)

// Change is one difference between two schemas.
type Change struct {
	Path          string // JSON Pointer into the schema: the later one, or the earlier for what is gone
	Kind          Kind
	Before, After json.RawMessage // canonical; nil: absent
	Meaning       string          // a sentence of ours; of the schema it repeats only names of properties, quoted
}

// Compatible reports whether whatever the earlier schema accepted the later one accepts too, as far as changes,
// which Compare returned, are concerned.
func Compatible(changes []Change) bool {
	for _, c := range changes {
		if !c.Kind.compatible() {
			return false
		}
	}
	return true
}

// compatible is false for a kind that is not known.
func (k Kind) compatible() bool { return k == Wider || k == NewPower || k == TextOnly }
