package canonical

import "slices"

// What Exact accepts: the definition of a tool is text that a model reads.
const (
	MaxDefinitionBytes = 1 << 20
	MaxDefinitionDepth = 128
)

// Exact returns the canonical form of a definition: no space, keys in the order
// of RFC 8785, strings escaped as in RFC 8785, and each number as it was written.
// Definitions that differ in anything a reader could notice differ in their
// canonical form. Keys that differ only in case are allowed, as a schema may
// have the properties "a" and "A".
//
// The error is an *Error from Check.
func Exact(data []byte) ([]byte, error) {
	if err := Check(data, Limits{MaxBytes: MaxDefinitionBytes, MaxDepth: MaxDefinitionDepth}); err != nil {
		return nil, err
	}
	w := exactWriter{scanner: scanner{data: data}, out: make([]byte, 0, len(data))}
	w.value()
	return w.out, nil
}

// exactWriter rewrites a document that passed Check, which is why it looks for no
// errors and may recurse.
type exactWriter struct {
	scanner

	out     []byte
	scratch []byte
}

// span is a member that was written to out, and its key.
type span struct {
	key        []byte
	start, end int
}

func (w *exactWriter) value() {
	w.skipSpace()
	switch start := w.pos; w.peek() {
	case '{':
		w.object()
	case '[':
		w.array()
	case '"':
		w.out = append(w.out, '"')
		w.out = appendEscaped(w.out, w.readString())
		w.out = append(w.out, '"')
	default:
		w.skipScalar()
		w.out = append(w.out, w.data[start:w.pos]...)
	}
}

func (w *exactWriter) array() {
	w.out = append(w.out, '[')
	w.pos++
	for first := true; w.more(']'); first = false {
		if !first {
			w.out = append(w.out, ',')
		}
		w.value()
	}
	w.out = append(w.out, ']')
}

func (w *exactWriter) object() {
	w.out = append(w.out, '{')
	w.pos++
	var members []span
	for w.more('}') {
		if len(members) > 0 {
			w.out = append(w.out, ',')
		}
		start := len(w.out)
		key := w.readString()
		w.out = append(w.out, '"')
		w.out = appendEscaped(w.out, key)
		w.out = append(w.out, '"', ':')
		w.skipSpace()
		w.pos++ // past the colon
		w.value()
		members = append(members, span{key: key, start: start, end: len(w.out)})
	}
	w.order(members)
	w.out = append(w.out, '}')
}

// order puts the members that were just written into the order of their keys.
func (w *exactWriter) order(members []span) {
	byKey := func(a, b span) int { return compareUTF16(a.key, b.key) }
	if slices.IsSortedFunc(members, byKey) {
		return
	}
	start := members[0].start
	slices.SortFunc(members, byKey)
	w.scratch = w.scratch[:0]
	for i, m := range members {
		if i > 0 {
			w.scratch = append(w.scratch, ',')
		}
		w.scratch = append(w.scratch, w.out[m.start:m.end]...)
	}
	w.out = append(w.out[:start], w.scratch...)
}

// more goes to the next member or element, or past the end of the object or array.
func (w *exactWriter) more(closing byte) bool {
	w.skipSpace()
	switch w.peek() {
	case closing:
		w.pos++
		return false
	case ',':
		w.pos++
		w.skipSpace()
	}
	return true
}

// readString reads a string and returns what it stands for.
func (w *exactWriter) readString() []byte {
	start := w.pos
	escaped, _ := w.str()
	inside := w.data[start+1 : w.pos-1]
	if escaped {
		return appendUnescaped(nil, inside)
	}
	return inside
}

// skipScalar goes past a number, true, false or null.
func (w *exactWriter) skipScalar() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return
		}
		w.pos++
	}
}
