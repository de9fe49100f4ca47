package cleanse

import "strings"

const imageRemoved = "[image removed]"

// renderer goes over a text as a page or a reader of Markdown would, and writes what is inert.
type renderer struct {
	f      *Filter
	s      string
	code   []span
	labels labels

	paragraph int // where the one that an image was last seen in ends
	pos       int
	copied    int
	out       strings.Builder
	budget    int // bytes that may be looked at ahead
}

// neutralise makes inert what a page or Markdown would load or run. An image becomes its alternative text, a link goes
// nowhere, and a tag is shown instead of rendered.
func (f *Filter) neutralise(s string, defined labels) (string, bool) {
	if !strings.Contains(s, "<") && !strings.Contains(s, "](") && !strings.Contains(s, "![") && !strings.Contains(s, "]:") {
		return s, false
	}
	r := renderer{f: f, s: s, code: codeSpans(s), labels: f.definitions(s).and(defined), budget: 4*len(s) + 256<<10}
	for r.pos < len(s) {
		if n := strings.IndexAny(s[r.pos:], "<!]"); n >= 0 {
			r.pos += n
		} else {
			break
		}
		if end := r.inCode(); end > 0 {
			r.pos = end
			continue
		}
		r.step()
	}
	if r.copied == 0 {
		return s, false
	}
	r.out.WriteString(s[r.copied:])
	return r.out.String(), true
}

// inCode returns the end of the code that the position is in, 0 if it is in none.
func (r *renderer) inCode() int {
	for len(r.code) > 0 && r.code[0].end <= r.pos {
		r.code = r.code[1:]
	}
	if len(r.code) > 0 && r.code[0].start <= r.pos {
		return r.code[0].end
	}
	return 0
}

// replace writes instead of what lies between the position and end.
func (r *renderer) replace(end int, instead string) {
	r.out.WriteString(r.s[r.copied:r.pos])
	r.out.WriteString(instead)
	r.pos, r.copied = end, end
}

func (r *renderer) step() {
	rest := r.s[r.pos:]
	switch {
	case rest[0] == '<':
		r.angle(rest)
	case strings.HasPrefix(rest, "!["):
		r.image()
	case strings.HasPrefix(rest, "](") || strings.HasPrefix(rest, "]:"):
		r.link()
	default:
		r.pos++
	}
}

// angle is at a <: a tag, an autolink or neither.
func (r *renderer) angle(rest string) {
	if len(rest) < 2 || classes[rest[1]]&letter == 0 {
		r.pos++
		return
	}
	if r.budget <= 0 {
		r.replace(r.pos+1, "&lt;")
		return
	}
	t := readTag(r.s, r.pos)
	r.budget -= t.end - r.pos
	switch {
	case t.name == "img" && t.closed && r.f.activeTag(t):
		r.replace(t.end, besides(alternative(t), imageRemoved))
	case r.f.activeTag(t), t.name == "style" && r.f.activeStyle(r.styleAfter(t)), r.runsLink(rest[1:]):
		r.replace(r.pos+1, "&lt;")
	default:
		r.pos++
	}
}

// runsLink reports whether what follows a < is an autolink that runs something.
func (r *renderer) runsLink(rest string) bool {
	rest = rest[:min(len(rest), lookAhead)]
	if end := strings.IndexAny(rest, space+">"); end >= 0 {
		rest = rest[:end]
	}
	r.budget -= len(rest)
	return runs(rest)
}

// styleAfter is the text of a style element: the rest of the text, if there is code in it, in which its end may be shown.
func (r *renderer) styleAfter(t tag) string {
	rest := r.s[t.end:]
	for end := 0; len(r.code) == 0; {
		n := strings.Index(rest[end:], "</")
		if n < 0 {
			break
		}
		end += n + 2
		if name := rest[end:min(len(rest), end+len("style"))]; strings.EqualFold(name, "style") {
			rest = rest[:end]
			break
		}
	}
	r.budget -= len(rest)
	return rest
}

func alternative(t tag) string {
	for _, a := range t.attributes {
		if a.name == "alt" {
			return a.value
		}
	}
	return ""
}

func besides(text, note string) string {
	if text = strings.TrimSpace(text); text == "" {
		return note
	}
	return text + " " + note
}

// lookAhead bounds how far the parts of an image or an address may reach.
const lookAhead = 4 << 10

// image is at the ![ of an image of Markdown.
func (r *renderer) image() {
	if r.budget <= 0 {
		r.replace(r.pos+1, "! ")
		return
	}
	if r.pos >= r.paragraph {
		r.paragraph = r.pos + len(paragraph(r.s[r.pos:]))
	}
	part := r.s[r.pos:min(r.paragraph, r.pos+lookAhead)]
	closing := closingBracket(part, 1)
	r.budget -= cost(closing, part)
	tight := strings.IndexAny(part[:max(closing, 0)], "`<")
	switch {
	case closing < 0 && len(part) == lookAhead:
		r.replace(r.pos+1, "! ")
		return
	case closing < 0, tight >= 0:
		r.doubtful(part)
		return
	}
	alt, after := part[2:closing], part[closing+1:]
	if strings.HasPrefix(after, "(") {
		r.inline(part, alt, after)
		return
	}
	label, end := alt, r.pos+closing+1
	if strings.HasPrefix(after, "[") {
		n := closingBracket(after, 0)
		r.budget -= cost(n, after)
		if n > 1 {
			label = after[1:n]
		}
		end += n + 1
	}
	if !r.labels.has(label) {
		r.pos++
		return
	}
	r.replace(end, besides(alt, imageRemoved))
}

// cost is how much was looked at to find something at n, -1 if it was not found.
func cost(n int, part string) int {
	if n < 0 {
		return len(part)
	}
	return n
}

// inline is for an image whose address stands beside it.
func (r *renderer) inline(part, alt, after string) {
	address, n, ok := destination(after[1:])
	switch {
	case !ok:
		r.doubtful(part)
	case r.f.fetches(address):
		r.replace(r.pos+len("![](")+len(alt)+n, besides(alt, imageRemoved))
	default:
		r.pos++
	}
}

// doubtful is at a ![ of which readers may differ where its brackets end. It is an image no more if anything after it in
// the paragraph could be its address.
func (r *renderer) doubtful(part string) {
	r.budget -= len(part)
	for i := 0; ; {
		n := strings.IndexByte(part[i:], ']')
		if n < 0 {
			r.pos++
			return
		}
		i += n + 1
		if r.addressed(part[i:]) {
			r.replace(r.pos+1, "! ")
			return
		}
	}
}

// addressed reports whether what follows a closing bracket may give an image an address that loads.
func (r *renderer) addressed(after string) bool {
	if len(r.labels) > 0 {
		return true
	}
	if !strings.HasPrefix(after, "(") {
		return false
	}
	address := strings.TrimLeft(after[1:], space)
	if end := strings.IndexAny(address, ")\n"); end >= 0 {
		address = address[:end]
	}
	r.budget -= len(address)
	return r.f.fetches(address)
}

// link is at the ]( of a link or the ]: of a definition.
func (r *renderer) link() {
	start := skip(r.s, r.pos+2)
	address := r.s[start:min(len(r.s), start+lookAhead)]
	whole := len(address) < lookAhead
	ends := " \t\n"
	if r.s[r.pos+1] == '(' {
		ends = " \t\n)"
	}
	if strings.HasPrefix(address, "<") {
		ends = ">\n"
	}
	if end := strings.IndexAny(address, ends); end >= 0 {
		address, whole = address[:end], true
	}
	r.budget -= len(address)
	if whole && r.budget > 0 && !runs(address) {
		r.pos++
		return
	}
	if !whole && r.budget > 0 && strings.HasPrefix(strings.ToLower(address), "http") {
		r.pos++
		return
	}
	end := start + len(address)
	if _, n, ok := destination(r.s[r.pos+2 : min(len(r.s), r.pos+lookAhead)]); ok && r.s[r.pos+1] == '(' {
		end = r.pos + 2 + n - 1
	}
	if r.s[end-1] != '>' && strings.HasPrefix(address, "<") && strings.HasPrefix(r.s[end:], ">") {
		end++
	}
	r.replace(end, r.s[r.pos:start]+"#removed")
}
