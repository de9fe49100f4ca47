package schemadiff

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"countersign/canonical"
)

// document is one of the two schemas.
type document struct {
	root  *node
	draft draft
}

// node is a value in a document.
type node struct {
	raw      json.RawMessage // canonical text, so that equal values have equal text but for numbers
	doc      *document       // nil: a schema that is implied, in neither document
	keys     []string        // of an object, in order
	members  map[string]*node
	elements []*node
	refers   bool // a key like $ref occurs in it, so that equal text need not mean the same

	accepts types // once typed
	typed   bool
}

// The schemas that are implied where a keyword is absent.
var (
	anything = &node{raw: json.RawMessage("true"), accepts: allTypes, typed: true}
)

// read makes a document; no text is the schema that accepts anything. ok is false for what is not one JSON value that
// every reader reads the same way.
func read(text json.RawMessage) (d *document, ok bool) {
	d = &document{root: anything}
	if len(text) > 0 {
		exact, err := canonical.Exact(text)
		if err != nil {
			return nil, false
		}
		r := nodeReader{doc: d, text: exact}
		d.root = r.value()
	}
	d.draft = draftOf(d.root)
	return d, true
}

// nodeReader parses canonical text, which is why it looks for no errors, no space, and may recurse.
type nodeReader struct {
	doc  *document
	text []byte
	pos  int
}

func (r *nodeReader) value() *node {
	n := &node{doc: r.doc}
	start := r.pos
	switch r.text[r.pos] {
	case '{':
		n.members = map[string]*node{}
		for r.more('}') {
			key := r.str()
			r.pos++ // the colon
			m := r.value()
			n.keys, n.members[key] = append(n.keys, key), m
			n.refers = n.refers || m.refers || key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef"
		}
	case '[':
		for r.more(']') {
			e := r.value()
			n.elements = append(n.elements, e)
			n.refers = n.refers || e.refers
		}
	case '"':
		r.skip()
	default:
		for r.pos < len(r.text) && strings.IndexByte(",]}", r.text[r.pos]) < 0 {
			r.pos++
		}
	}
	n.raw = r.text[start:r.pos:r.pos]
	return n
}

// more goes to the next member or element, or past the end.
func (r *nodeReader) more(end byte) bool {
	r.pos++ // what opens it, or the comma after the last one, or what closes an empty one
	if r.text[r.pos-1] == end {
		return false
	}
	if r.text[r.pos] == end { // empty
		r.pos++
		return false
	}
	return true
}

// str reads a string.
func (r *nodeReader) str() string {
	start := r.pos
	if escaped := r.skip(); !escaped {
		return string(r.text[start+1 : r.pos-1])
	}
	s, _ := canonical.Text(r.text[start:r.pos])
	return s
}

// skip goes past a string.
func (r *nodeReader) skip() (escaped bool) {
	for r.pos++; r.text[r.pos] != '"'; r.pos++ {
		if r.text[r.pos] == '\\' {
			escaped = true
			r.pos++
		}
	}
	r.pos++
	return escaped
}

func (n *node) isObject() bool { return n.raw[0] == '{' }
func (n *node) isArray() bool  { return n.raw[0] == '[' }
func (n *node) isString() bool { return n.raw[0] == '"' }
func (n *node) isNumber() bool { return n.raw[0] == '-' || n.raw[0] >= '0' && n.raw[0] <= '9' }
func (n *node) isBool() bool   { return n.raw[0] == 't' || n.raw[0] == 'f' }
func (n *node) isTrue() bool   { return n.raw[0] == 't' }
func (n *node) isFalse() bool  { return n.raw[0] == 'f' }
func (n *node) isRoot() bool   { return n.doc != nil && n.doc.root == n }
func (n *node) isSchema() bool { return n.isObject() || n.isBool() }

// string is what a string stands for; "" for what is none.
func (n *node) string() string {
	if !n.isString() {
		return ""
	}
	r := nodeReader{text: n.raw}
	return r.str()
}

// get is the value of a keyword; nil: absent.
func (n *node) get(keyword string) *node { return n.members[keyword] }

// schema is the schema at a keyword; what is absent accepts anything.
func (n *node) schema(keyword string) *node {
	if s := n.members[keyword]; s != nil {
		return s
	}
	return anything
}

// text is the canonical text of a value that may be absent.
func (n *node) text() json.RawMessage {
	if n == nil || n.doc == nil {
		return nil
	}
	return n.raw
}

// at finds what a reference like "#/$defs/money" points to; nil: nothing that we can find.
func (d *document) at(reference string) *node {
	pointer, ours := strings.CutPrefix(reference, "#")
	pointer, err := url.PathUnescape(pointer)
	if err != nil || !ours || d == nil {
		return nil
	}
	if pointer == "" {
		return d.root
	}
	if pointer[0] != '/' {
		return nil // an anchor
	}
	n := d.root
	for token := range strings.SplitSeq(pointer[1:], "/") {
		switch {
		case n.isObject():
			n = n.members[unescape.Replace(token)]
		case n.isArray():
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(n.elements) {
				return nil
			}
			n = n.elements[i]
		default:
			return nil
		}
		if n == nil {
			return nil
		}
	}
	return n
}

// How a key is written in a JSON Pointer.
var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// below is the JSON Pointer of a key of what is at pointer.
func below(pointer, key string) string {
	return pointer + "/" + escape.Replace(key)
}

// children are the values of an object, in the order of its keys.
func (n *node) children() []*node {
	all := make([]*node, len(n.keys))
	for i, k := range n.keys {
		all[i] = n.members[k]
	}
	return all
}
