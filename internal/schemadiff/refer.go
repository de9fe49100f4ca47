package schemadiff

import (
	"bytes"
	"net/url"
)

// followed is where references lead.
type followed struct {
	*node // nil: nowhere

	at     string
	beside []byte // what stands beside the references on the way
	vague  bool   // and whether it means what other parts of the schema say
}

// follow goes along references that stand alone, or count as if they did, from a schema that is at a place.
func (w *walk) follow(n *node, at string) followed {
	f := followed{node: n, at: at}
	for range maxHops {
		if !f.isReference() {
			return f
		}
		target, pointer := f.target()
		if target == nil {
			break
		}
		if w.reached != nil {
			w.reached[target] = true
		}
		f.readBeside()
		f.node, f.at = target, pointer
	}
	f.node = nil
	return f
}

// readBeside notes what draft-07 says to ignore. Validators do not agree to: one that we use heeds "const" and more.
func (f *followed) readBeside() {
	var beside []string
	for _, k := range f.keys {
		if k != "$ref" && !silent(k) {
			beside = append(beside, k)
			f.vague = f.vague || f.members[k].refers
		}
	}
	f.beside = append(f.beside, f.only(beside)...)
}

// target is the schema that "$ref" means, and its place.
func (n *node) target() (*node, string) {
	ref := n.get("$ref")
	if ref == nil || !ref.isString() {
		return nil, ""
	}
	target := n.doc.at(ref.string())
	if target == nil || !target.isSchema() {
		return nil, ""
	}
	pointer, _ := url.PathUnescape(ref.string()[1:])
	return target, pointer
}

// isReference reports whether the schema is nothing but a reference. In draft-07 nothing beside "$ref" counts.
func (n *node) isReference() bool {
	if n.get("$ref") == nil {
		return false
	}
	if n.draft() == draft07 {
		return true
	}
	for _, k := range n.keys {
		if k != "$ref" && !silent(k) {
			return false
		}
	}
	return true
}

// silent reports whether a keyword asks nothing of a value.
func silent(keyword string) bool {
	class := classOf(keyword)
	return class == text || class == definitions || class == naming
}

// tangled reports whether references in the schema may mean something else than the place that their pointer names,
// or parts of it are in another dialect.
func (d *document) tangled() bool {
	n := d.root
	return n.holds("$schema", true) || n.holds("$dynamicRef", false) || n.holds("$recursiveRef", false) ||
		n.refers && (n.holds("$id", true) || d.draft == unknownDraft)
}

// holds reports whether a key has a text for its value, anywhere, or anywhere below the root.
func (n *node) holds(key string, below bool) bool {
	if m := n.get(key); m != nil && m.isString() && !below {
		return true
	}
	for _, k := range n.keys {
		if n.members[k].holds(key, false) {
			return true
		}
	}
	for _, e := range n.elements {
		if e.holds(key, false) {
			return true
		}
	}
	return false
}

// endless reports whether the schema comes back to itself through references without having gone into the value, or
// may do so for all that we look at.
func (n *node) endless() bool {
	if !n.refers {
		return false
	}
	d := descent{met: map[*node]bool{}, next: []*node{n}}
	for len(d.next) > 0 {
		last := len(d.next) - 1
		n, d.next = d.next[last], d.next[:last]
		if !d.ends(n, 0) {
			return true
		}
	}
	return false
}

// descent follows all that is asked of one value, and leaves what is asked of its parts for later.
type descent struct {
	met  map[*node]bool // true: being followed; false: it ended
	next []*node
}

func (d *descent) ends(n *node, nested int) bool {
	if !n.isObject() {
		return true
	}
	if open, met := d.met[n]; met || nested > maxNested {
		return met && !open
	}
	d.met[n] = true
	if target, _ := n.target(); target != nil && !d.ends(target, nested+1) {
		return false
	}
	for _, k := range n.keys {
		sub, inPlace := subschemas(k, n.members[k])
		if !inPlace {
			d.next = append(d.next, sub...)
			continue
		}
		for _, s := range sub {
			if !d.ends(s, nested+1) {
				return false
			}
		}
	}
	d.met[n] = false
	return true
}

// definitions notes definitions that differ and that nothing compared so far refers to.
func (w *walk) definitions(a, b *node) {
	for _, keyword := range []string{"$defs", "definitions"} {
		x, y := a.get(keyword), b.get(keyword)
		for _, name := range union(x, y) {
			before, after := x.member(name), y.member(name)
			if w.reached[before] || w.reached[after] || bytes.Equal(before.text(), after.text()) {
				continue
			}
			w.add(Change{
				Path: below("/"+keyword, name), Kind: TextOnly, Before: before.text(), After: after.text(),
				Meaning: "A definition that is not used where the schemas were compared is another one.",
			})
		}
	}
}
