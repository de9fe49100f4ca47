package registry

import (
	"countersign/canonical"
)

// hint is what a server says of a tool's risk. MCP gives each a value where it is absent.
type hint struct {
	key       string
	byDefault bool
	danger    bool // the value that asks for care
	whenTrue  string
	whenFalse string
}

var hints = []hint{
	{"readOnlyHint", false, false, "only reads", "changes things"},
	{"destructiveHint", true, true, "may destroy or overwrite", "only adds, and destroys nothing"},
	{"idempotentHint", false, false, "does no more when it is called again", "does it again when it is called again"},
	{"openWorldHint", true, true, "reaches the outside world", "stays within a closed world"},
}

// annotations compares what the server says of the risk and of whom it is for.
func (c *comparison) annotations(ch change) {
	before, ok := objectOrNothing(ch.before)
	after, okAfter := objectOrNothing(ch.after)
	if !ok || !okAfter {
		c.add(SeverityMedium, ch.difference(DifferenceAnnotations, "The annotations cannot be read."))
		return
	}
	c.members(ch.where, before, after, c.annotation)
}

// objectOrNothing reads an object that may be absent.
func objectOrNothing(value []byte) (members []canonical.Member, ok bool) {
	if value == nil {
		return nil, true
	}
	members, err := canonical.Members(value)
	return members, err == nil
}

func (c *comparison) annotation(ch change) {
	if ch.key == "title" {
		c.text(ch)
		return
	}
	for _, h := range hints {
		if h.key == ch.key {
			c.hint(h, ch)
			return
		}
	}
	c.add(SeverityMedium, ch.difference(DifferenceAnnotations, "What the server says of it in its annotations is another thing."))
}

// hint compares one hint. One that is neither true nor false counts as what is worse.
func (c *comparison) hint(h hint, ch change) {
	before, after := h.value(ch.before), h.value(ch.after)
	d := ch.difference(DifferenceAnnotations, "The server says now that it "+h.says(after)+"; before, that it "+h.says(before)+".")
	switch {
	case before == after:
		d.Meaning = "The server still says that it " + h.says(after) + ", in another way, or without a word."
		c.add(SeverityLow, d)
	case after == h.danger:
		c.add(SeverityHigh, d)
	default:
		c.add(SeverityMedium, d)
	}
}

// value is what the hint says; absent, it has its default.
func (h hint) value(raw []byte) bool {
	switch string(raw) {
	case "":
		return h.byDefault
	case "true":
		return true
	case "false":
		return false
	}
	return h.danger
}

func (h hint) says(value bool) string {
	if value {
		return h.whenTrue
	}
	return h.whenFalse
}
