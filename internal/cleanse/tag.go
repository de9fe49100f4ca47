package cleanse

import (
	"html"
	"slices"
	"strings"
)

// tag is a start tag as browsers read it.
type tag struct {
	name       string
	attributes []attribute
	end        int // after its >
	closed     bool
}

type attribute struct{ name, value string }

const space = " \t\n\r\f"

// readTag reads the tag whose < is at i, to the end of the text if nothing closes it.
func readTag(s string, i int) tag {
	j := i + 1
	for j < len(s) && !strings.ContainsRune(space+"/>", rune(s[j])) {
		j++
	}
	t := tag{name: strings.ToLower(s[i+1 : j])}
	for j < len(s) {
		switch {
		case s[j] == '>':
			t.end, t.closed = j+1, true
			return t
		case strings.IndexByte(space+"/", s[j]) >= 0:
			j++
		default:
			var a attribute
			a, j = readAttribute(s, j)
			t.attributes = append(t.attributes, a)
		}
	}
	t.end = len(s)
	return t
}

func readAttribute(s string, j int) (a attribute, end int) {
	start := j
	j++ // a name may begin with =
	for j < len(s) && strings.IndexByte(space+"/>=", s[j]) < 0 {
		j++
	}
	a.name = strings.ToLower(s[start:j])
	a.name = a.name[strings.LastIndexAny(a.name, `"'\`)+1:] // of a value in a JSON text, whose quotes are escaped
	k := j
	for k < len(s) && strings.IndexByte(space, s[k]) >= 0 {
		k++
	}
	if k >= len(s) || s[k] != '=' {
		return a, j
	}
	k++
	for k < len(s) && strings.IndexByte(space, s[k]) >= 0 {
		k++
	}
	if k < len(s) && (s[k] == '"' || s[k] == '\'') {
		n := strings.IndexByte(s[k+1:], s[k])
		if n < 0 {
			return attribute{a.name, s[k+1:]}, len(s)
		}
		return attribute{a.name, s[k+1 : k+1+n]}, k + n + 2
	}
	start = k
	for k < len(s) && strings.IndexByte(space+">", s[k]) < 0 {
		k++
	}
	return attribute{a.name, s[start:k]}, k
}

// Tags and attributes that load or run. Any name that begins with on is a handler.
var (
	frameTags = []string{"iframe", "frame", "object", "embed", "applet", "base", "portal", "fencedframe"}

	// loadingTags load what href names; for all others it is a link to follow.
	loadingTags = []string{"link", "image", "use", "feimage"}

	// loadingAttributes name what is fetched when the tag is rendered.
	loadingAttributes = []string{
		"src", "srcset", "imagesrcset", "data", "poster", "background", "lowsrc", "dynsrc", "codebase", "archive", "classid",
		"manifest", "icon", "ping",
	}
	linkAttributes = []string{"href", "xlink:href", "action", "formaction", "cite", "longdesc", "values", "to", "from", "by"}
)

// active reports whether a browser that renders the tag loads or runs something. A name may have a prefix, of SVG or XHTML.
func (f *Filter) activeTag(t tag) bool {
	_, name, prefixed := strings.Cut(t.name, ":")
	if !prefixed {
		name = t.name
	}
	if name == "script" {
		return true
	}
	return slices.ContainsFunc(t.attributes, func(a attribute) bool { return f.activeAttribute(name, a) })
}

func (f *Filter) activeAttribute(tag string, a attribute) bool {
	switch {
	case handler(a.name):
		return true
	case a.name == "srcdoc" || a.name == "http-equiv":
		return true
	case slices.Contains(frameTags, tag) && (slices.Contains(loadingAttributes, a.name) || a.name == "href" || a.name == "code"):
		return true
	case a.name == "style":
		return f.activeStyle(a.value)
	case slices.Contains(loadingAttributes, a.name) || slices.Contains(loadingTags, tag) && strings.HasSuffix(a.name, "href"):
		return f.fetches(a.value)
	case slices.Contains(linkAttributes, a.name):
		return runs(a.value)
	}
	return false
}

// fetches is for one address or a list of them.
func (f *Filter) fetches(value string) bool {
	if runs(value) || f.loads(value) {
		return true
	}
	for candidate := range strings.FieldsFuncSeq(html.UnescapeString(value), func(r rune) bool { return r == ',' || r <= ' ' }) {
		if f.loads(candidate) {
			return true
		}
	}
	return false
}

// handler reports whether an attribute of that name is run.
func handler(name string) bool {
	return len(name) > 3 && strings.HasPrefix(name, "on") && !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}

// activeStyle reports whether a style may load something. One that is escaped or has comments is not looked into.
func (f *Filter) activeStyle(css string) bool {
	css = strings.ToLower(html.UnescapeString(css))
	for _, sign := range []string{"url(", "image-set(", "@import", "expression(", "-moz-binding", "behavior:", `\`, "/*", "src("} {
		if strings.Contains(css, sign) {
			return true
		}
	}
	return false
}
