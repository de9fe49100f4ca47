package registry

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"countersign/canonical"
	"countersign/internal/schemadiff"
	"countersign/policy"
)

// DifferenceKind says what a difference between two definitions is about.
type DifferenceKind string

// The kinds of differences. Those of what a caller sends are as package schemadiff defines them.
const (
	DifferenceWider       DifferenceKind = "wider"
	DifferenceNewPower    DifferenceKind = "new_power"
	DifferenceNarrower    DifferenceKind = "narrower"
	DifferenceBreaking    DifferenceKind = "breaking"
	DifferenceTextOnly    DifferenceKind = "text_only"
	DifferenceAnnotations DifferenceKind = "annotations" // what the server says of the risk, or of whom it is for
	DifferenceOutput      DifferenceKind = "output"      // what comes back
)

// Severity says how soon a person should look at a change. It decides nothing: every change holds the tool.
//
//	critical  given by the caller of Differences, for what the checks found in the text
//	high      wider, new_power: the direction in which a server turns on its callers; a hint that now says danger
//	medium    breaking, output; another text that a model reads; a hint that now says safety, which is easily said
//	low       narrower; text in which only space differs; the same meaning written differently
type Severity string

// The severities, from the least to the gravest; "" is none.
const (
	SeverityLow      Severity = "low"
	SeverityMedium   Severity = "medium"
	SeverityHigh     Severity = "high"
	SeverityCritical Severity = "critical"
)

// Difference is one difference between the pinned definition and the one that is served.
type Difference struct {
	Where         string // JSON Pointer into the definition, made visible
	Kind          DifferenceKind
	Before, After string // the server's text, or its JSON; "" absent
	Meaning       string // a sentence of ours
}

// maxDifferences bounds the list.
const maxDifferences = 500

// Differences compares two whole definitions, member by member, and returns what differs and how grave that is. It
// says nothing if and only if their canonical forms are equal. It never fails: what cannot be read is breaking.
func Differences(kind policy.Kind, pinned, served json.RawMessage) ([]Difference, Severity) {
	if bytes.Equal(pinned, served) {
		return nil, ""
	}
	a, errA := canonical.Exact(pinned)
	b, errB := canonical.Exact(served)
	if errA == nil && errB == nil && bytes.Equal(a, b) {
		return nil, ""
	}
	before, errBefore := canonical.Members(a)
	after, errAfter := canonical.Members(b)
	c := comparison{kind: kind}
	if errA != nil || errB != nil || errBefore != nil || errAfter != nil {
		c.add(SeverityMedium, Difference{
			Kind: DifferenceBreaking, Before: string(pinned), After: string(served),
			Meaning: "One of the two definitions cannot be read.",
		})
		return c.found, c.severity
	}
	c.members("", before, after, c.member)
	return c.found, c.severity
}

// comparison collects the differences between two definitions.
type comparison struct {
	kind     policy.Kind
	found    []Difference
	severity Severity
}

func (c *comparison) add(s Severity, d Difference) {
	if len(c.found) == maxDifferences {
		s, d = SeverityMedium, Difference{Kind: DifferenceBreaking, Meaning: "There are more differences than are listed here."}
	}
	c.severity = graver(c.severity, s)
	if len(c.found) <= maxDifferences {
		d.Where = visible(d.Where, 300)
		c.found = append(c.found, d)
	}
}

// change is a member that differs: in neither definition both are nil.
type change struct {
	where         string
	key           string
	before, after json.RawMessage // canonical; nil: absent
}

// difference describes the change as it reads, or in JSON where that looks alike.
func (ch change) difference(kind DifferenceKind, meaning string) Difference {
	d := ch.raw(kind, meaning)
	if before, after := shown(ch.before), shown(ch.after); before != after {
		d.Before, d.After = before, after
	}
	return d
}

// shown is the text of a JSON string, and the JSON of anything else.
func shown(value json.RawMessage) string {
	if text, is := canonical.Text(value); is {
		return text
	}
	return string(value)
}

// first are the members that a person looks at first; the others follow in the order of their keys.
var first = []string{"name", "title", "description", "annotations", "inputSchema", "arguments", "uri", "uriTemplate", "mimeType", "outputSchema"}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// members compares two objects. Whatever differs is said, if only that it is written differently.
func (c *comparison) members(at string, before, after []canonical.Member, compare func(change)) {
	var keys []string
	was, is := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, m := range before {
		keys, was[m.Key] = append(keys, m.Key), m.Value
	}
	for _, m := range after {
		keys, is[m.Key] = append(keys, m.Key), m.Value
	}
	slices.SortFunc(keys, func(x, y string) int {
		if i, j := rank(x), rank(y); i != j {
			return i - j
		}
		return strings.Compare(x, y)
	})
	for _, key := range slices.Compact(keys) {
		ch := change{where: at + "/" + pointerEscape.Replace(key), key: key, before: was[key], after: is[key]}
		if bytes.Equal(ch.before, ch.after) {
			continue
		}
		said := len(c.found)
		if compare(ch); len(c.found) == said {
			c.add(SeverityLow, ch.difference(DifferenceTextOnly, "It is written differently and means the same."))
		}
	}
}

func rank(key string) int {
	if i := slices.Index(first, key); i >= 0 {
		return i
	}
	return len(first)
}

// member compares one member of a definition.
func (c *comparison) member(ch change) {
	switch {
	case ch.key == "title" || ch.key == "description":
		c.text(ch)
	case ch.key == "annotations":
		c.annotations(ch)
	case ch.key == "inputSchema" && c.kind == policy.KindTool:
		c.input(ch)
	case ch.key == "outputSchema" && c.kind == policy.KindTool:
		c.output(ch)
	case ch.key == "arguments" && c.kind == policy.KindPrompt:
		c.arguments(ch)
	case ch.key == "mimeType" && c.kind == policy.KindResource:
		c.add(SeverityMedium, ch.difference(DifferenceOutput, "The server says that its content is of another type."))
	case ch.key == "size" && c.kind == policy.KindResource:
		c.add(SeverityLow, ch.difference(DifferenceTextOnly, "The server says that it is of another size."))
	case ch.key == "icons":
		c.add(SeverityLow, ch.difference(DifferenceTextOnly, "The icons that the server offers are others."))
	case ch.key == "name" || ch.key == "uri" || ch.key == "uriTemplate":
		c.add(SeverityMedium, ch.difference(DifferenceBreaking, "It goes by another name."))
	default: // _meta, execution, and what we have never heard of
		c.add(SeverityMedium, ch.difference(DifferenceBreaking, "A member whose meaning we do not know is another one."))
	}
}

// text compares what people and models read.
func (c *comparison) text(ch change) {
	before, wasText := canonical.Text(ch.before)
	after, isText := canonical.Text(ch.after)
	d := ch.difference(DifferenceTextOnly, "The "+ch.key+" is another text.")
	switch {
	case wasText && isText && slices.Equal(strings.Fields(before), strings.Fields(after)):
		d.Meaning = "Only space and line breaks differ."
		c.add(SeverityLow, d)
		return
	case ch.before != nil && !wasText, ch.after != nil && !isText:
		d.Kind, d.Meaning = DifferenceBreaking, "The "+ch.key+" is not a text."
	case ch.before == nil:
		d.Meaning = "There is a " + ch.key + " now."
	case ch.after == nil:
		d.Meaning = "The " + ch.key + " is gone."
	}
	c.add(SeverityMedium, d)
}

// input compares what callers may send.
func (c *comparison) input(ch change) {
	switch {
	case ch.before == nil:
		c.add(SeverityLow, ch.difference(DifferenceNarrower, "There is an input schema now: what is sent is checked."))
		return
	case ch.after == nil:
		c.add(SeverityHigh, ch.difference(DifferenceWider, "The input schema is gone: nothing that is sent is checked."))
		return
	}
	for _, s := range schemadiff.Compare(ch.before, ch.after) {
		below := change{where: ch.where + s.Path, key: lastOf(s.Path), before: s.Before, after: s.After}
		switch s.Kind {
		case schemadiff.TextOnly:
			c.schemaText(below, s.Meaning)
		case schemadiff.NewPower:
			c.add(SeverityHigh, below.raw(DifferenceNewPower, s.Meaning))
		case schemadiff.Wider:
			c.add(SeverityHigh, below.raw(DifferenceWider, s.Meaning))
		case schemadiff.Narrower:
			c.add(SeverityLow, below.raw(DifferenceNarrower, s.Meaning))
		case schemadiff.Breaking:
			c.add(SeverityMedium, below.raw(DifferenceBreaking, s.Meaning))
		}
	}
}

// output compares what the tool returns, where more is as new as less.
func (c *comparison) output(ch change) {
	switch {
	case ch.before == nil:
		c.add(SeverityMedium, ch.difference(DifferenceOutput, "There is an output schema now: what comes back is described."))
		return
	case ch.after == nil:
		c.add(SeverityMedium, ch.difference(DifferenceOutput, "The output schema is gone: what comes back is not described."))
		return
	}
	for _, s := range schemadiff.Compare(ch.before, ch.after) {
		below := change{where: ch.where + s.Path, key: lastOf(s.Path), before: s.Before, after: s.After}
		if s.Kind == schemadiff.TextOnly {
			c.schemaText(below, s.Meaning)
		} else {
			c.add(SeverityMedium, below.raw(DifferenceOutput, "In what comes back: "+s.Meaning))
		}
	}
}

// schemaText is a change of text within a schema. A model reads the texts there as it reads the description.
func (c *comparison) schemaText(ch change, meaning string) {
	switch ch.key {
	case "title", "description":
		c.text(ch)
	case "default", "examples":
		c.add(SeverityMedium, ch.raw(DifferenceTextOnly, meaning))
	default:
		c.add(SeverityLow, ch.raw(DifferenceTextOnly, meaning))
	}
}

// raw describes the change in JSON.
func (ch change) raw(kind DifferenceKind, meaning string) Difference {
	return Difference{Where: ch.where, Kind: kind, Before: string(ch.before), After: string(ch.after), Meaning: meaning}
}

func lastOf(pointer string) string { return pointer[strings.LastIndexByte(pointer, '/')+1:] }
