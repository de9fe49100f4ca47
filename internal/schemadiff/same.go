package schemadiff

// same reports whether two schemas say the same but for texts, references followed. What it is asked of must not be
// endless, or the documents must differ in nothing: then it holds trivially.
func (w *work) same(a, b *node) bool {
	s := sameness{work: w, met: map[pair]bool{}}
	return s.schema(a, b, 0)
}

// sameKeyword reports whether a keyword says the same in two schemas.
func (w *work) sameKeyword(keyword string, a, b *node) bool {
	x, y := a.get(keyword), b.get(keyword)
	if x == nil && y == nil {
		return true
	}
	s := sameness{work: w, met: map[pair]bool{}}
	return s.keyword(keyword, x, y, 0) && (keyword != "$ref" || s.reference(a, b, 0))
}

// sameness is one question whether two schemas are the same: every pair met must be.
type sameness struct {
	*work

	met map[pair]bool
}

func (s *sameness) schema(a, b *node, nested int) bool {
	if !s.step() || nested > maxNested {
		return false
	}
	if s.sameText(a, b) {
		return true
	}
	if !a.isObject() || !b.isObject() || a.draft() != b.draft() {
		return s.equal(a.raw, b.raw)
	}
	if s.met[pair{a, b}] {
		return true
	}
	s.met[pair{a, b}] = true
	for _, k := range union(a, b) {
		if !s.keyword(k, a.get(k), b.get(k), nested) {
			return false
		}
	}
	return s.reference(a, b, nested)
}

// reference asks for what "$ref" means in both.
func (s *sameness) reference(a, b *node, nested int) bool {
	if a.get("$ref") == nil {
		return true
	}
	x, _ := a.target()
	y, _ := b.target()
	return x != nil && y != nil && s.schema(x, y, nested+1)
}

func (s *sameness) keyword(k string, a, b *node, nested int) bool {
	class := classOf(k)
	switch {
	case class == text, class == definitions:
		return true
	case a == nil || b == nil:
		return false
	case class == byName && a.isObject() && b.isObject():
		return s.byName(a, b, nested)
	case (class == one || class == list) && a.isArray() && b.isArray():
		return s.list(a, b, nested)
	case class == one:
		return s.schema(a, b, nested+1)
	}
	return s.equal(a.raw, b.raw)
}

func (s *sameness) byName(a, b *node, nested int) bool {
	if len(a.keys) != len(b.keys) {
		return false
	}
	for _, k := range a.keys {
		other := b.members[k]
		if other == nil {
			return false
		}
		if other.isArray() { // of "dependencies"
			if !s.equal(a.members[k].raw, other.raw) {
				return false
			}
		} else if !s.schema(a.members[k], other, nested+1) {
			return false
		}
	}
	return true
}

func (s *sameness) list(a, b *node, nested int) bool {
	if len(a.elements) != len(b.elements) {
		return false
	}
	for i := range a.elements {
		if !s.schema(a.elements[i], b.elements[i], nested+1) {
			return false
		}
	}
	return true
}
