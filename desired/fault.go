package desired

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Place is where something is said.
type Place struct {
	File         string
	Line, Column int // from 1; 0 where only the file is known
}

// String is the place as compilers write it: file:line:column.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Fault is something that is wrong in a file.
type Fault struct {
	Place   Place
	Message string // what it is and what was expected
}

// MaxFaults is how many faults are told at once.
const MaxFaults = 20

// ReadError is all that is wrong, by file and line. It is the error of Read.
type ReadError []Fault

// Error has a line for each fault, up to MaxFaults.
func (f ReadError) Error() string {
	lines := make([]string, 0, len(f))
	for _, fault := range f[:min(len(f), MaxFaults)] {
		lines = append(lines, fault.Place.String()+": "+fault.Message)
	}
	if more := len(f) - MaxFaults; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// Sort puts them in the order of files and lines.
func (f ReadError) Sort() {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Place.File, b.Place.File), cmp.Compare(a.Place.Line, b.Place.Line),
			cmp.Compare(a.Place.Column, b.Place.Column))
	})
}

// The kinds of object of a Set, as a path begins.
const (
	Teams      = "teams"
	Servers    = "servers"
	Grants     = "grants"
	Guardrails = "guardrails"
)

// Path names an object of a Set, or a field of it, whatever file it is in: grants[orders.readers].on.servers[0].
func Path(kind, key, field string) string {
	path := kind + "[" + key + "]"
	if field != "" {
		path += "." + field
	}
	return path
}

// Places says where the files say what a path names.
type Places map[string]Place

// Of gives the place of the path, or else that of the smallest thing around it that has one.
func (p Places) Of(path string) (Place, bool) {
	for path != "" {
		if place, ok := p[path]; ok {
			return place, true
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return Place{}, false
}
