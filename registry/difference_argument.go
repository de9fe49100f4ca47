package registry

import (
	"strconv"

	"countersign/canonical"
)

// argument is what a prompt says of one of its arguments.
type argument struct {
	name    string
	raw     []byte
	members []canonical.Member
}

// required reports whether the argument must be sent; ok is false if that cannot be read.
func (a argument) required() (required, ok bool) {
	value, has := canonical.Lookup(a.members, "required")
	return string(value) == "true", !has || string(value) == "true" || string(value) == "false"
}

// arguments compares the arguments of a prompt, by their names.
func (c *comparison) arguments(ch change) {
	before, ok := readArguments(ch.before)
	after, okAfter := readArguments(ch.after)
	if !ok || !okAfter {
		c.add(SeverityMedium, ch.difference(DifferenceBreaking, "The arguments cannot be read."))
		return
	}
	was, is := byName(before), byName(after)
	for n, a := range after {
		at := ch.where + "/" + strconv.Itoa(n)
		if b, known := was[a.name]; known {
			c.members(at, b.members, a.members, c.argument)
		} else {
			c.newArgument(at, a)
		}
	}
	for n, b := range before {
		if _, still := is[b.name]; !still {
			c.add(SeverityMedium, Difference{
				Where: ch.where + "/" + strconv.Itoa(n), Kind: DifferenceBreaking, Before: string(b.raw),
				Meaning: "The argument “" + visible(b.name, 60) + "” is gone, and a caller that sends it may be refused.",
			})
		}
	}
}

func byName(arguments []argument) map[string]argument {
	m := make(map[string]argument, len(arguments))
	for _, a := range arguments {
		m[a.name] = a
	}
	return m
}

func (c *comparison) newArgument(at string, a argument) {
	d := Difference{
		Where: at, Kind: DifferenceNewPower, After: string(a.raw),
		Meaning: "There is one more argument that a caller may send: “" + visible(a.name, 60) + "”.",
	}
	c.add(SeverityHigh, d)
	if required, ok := a.required(); required || !ok {
		d.Kind, d.Meaning = DifferenceBreaking, "A caller must send it, and those who do not know of it fail."
		c.add(SeverityMedium, d)
	}
}

// argument compares one member of an argument.
func (c *comparison) argument(ch change) {
	switch ch.key {
	case "title", "description":
		c.text(ch)
	case "required":
		before, after := string(ch.before) == "true", string(ch.after) == "true"
		_, was := argument{members: []canonical.Member{{Key: ch.key, Value: ch.before}}}.required()
		_, is := argument{members: []canonical.Member{{Key: ch.key, Value: ch.after}}}.required()
		switch {
		case ch.before != nil && !was || ch.after != nil && !is:
			c.add(SeverityMedium, ch.difference(DifferenceBreaking, "Whether a caller must send it cannot be read."))
		case after && !before:
			c.add(SeverityMedium, ch.difference(DifferenceBreaking, "A caller must send it from now on."))
		case before && !after:
			c.add(SeverityHigh, ch.difference(DifferenceWider, "A caller need not send it any more."))
		}
	default:
		c.add(SeverityMedium, ch.difference(DifferenceBreaking, "A member whose meaning we do not know is another one."))
	}
}

// readArguments reads a list of arguments with different names. ok is false for anything else.
func readArguments(value []byte) (all []argument, ok bool) {
	if value == nil {
		return nil, true
	}
	elements, err := canonical.Elements(value)
	if err != nil {
		return nil, false
	}
	seen := map[string]bool{}
	for _, e := range elements {
		members, err := canonical.Members(e)
		name, _ := canonical.Lookup(members, "name")
		text, named := canonical.Text(name)
		if err != nil || !named || seen[text] {
			return nil, false
		}
		seen[text] = true
		all = append(all, argument{name: text, raw: e, members: members})
	}
	return all, true
}
