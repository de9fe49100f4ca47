package registry

import (
	"fmt"
	"maps"
	"net"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// reading collects what is wrong with one entry.
type reading struct {
	problems []string
}

const maxProblems = 20

// refuse adds a sentence; the field comes first, unless it is the entry as a whole.
func (r *reading) refuse(field, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		return
	}
	sentence := fmt.Sprintf(format, args...)
	if field != "" {
		sentence = field + " " + sentence + "."
	}
	r.problems = append(r.problems, sentence)
}

// node is a place in an entry. Its value is nil when nothing, or null, is there.
type node struct {
	r     *reading
	path  string
	value any
}

func (n node) at(key string) node {
	members, _ := n.value.(map[string]any)
	path := visible(key, 60)
	if n.path != "" {
		path = n.path + "." + path
	}
	return node{r: n.r, path: path, value: members[key]}
}

func (n node) is(kind string) bool {
	switch n.value.(type) {
	case map[string]any:
		return kind == "object"
	case []any:
		return kind == "array"
	}
	return false
}

func (n node) refuse(format string, args ...any) { n.r.refuse(n.path, format, args...) }

// object and needed refuse a node that is something else, or absent.
func (n node) object() {
	if n.value != nil && !n.is("object") {
		n.refuse("is no object")
	}
}

func (n node) needed() {
	if n.value == nil || n.value == "" {
		n.refuse("is missing")
	}
}

func (n node) list() []node {
	if n.value == nil {
		return nil
	}
	values, ok := n.value.([]any)
	switch {
	case !ok:
		n.refuse("is no list")
		return nil
	case len(values) > maxThings:
		n.refuse("has more than %d elements", maxThings)
		return nil
	}
	nodes := make([]node, len(values))
	for i, v := range values {
		nodes[i] = node{r: n.r, path: fmt.Sprintf("%s[%d]", n.path, i), value: v}
		if v == nil {
			nodes[i].refuse("is missing")
		}
	}
	return nodes
}

// keys are the names of an object's members, which are texts of somebody else's as well.
func (n node) keys() []string {
	n.object()
	members, _ := n.value.(map[string]any)
	if len(members) > maxThings {
		n.refuse("has more than %d members", maxThings)
		return nil
	}
	keys := slices.Sorted(maps.Keys(members))
	for _, key := range keys {
		if message := checkLine(key, 1, maxLine); message != "" {
			n.refuse("has a member whose name cannot be used")
			return nil
		}
	}
	return keys
}

func (n node) truth() bool {
	b, ok := n.value.(bool)
	if n.value != nil && !ok {
		n.refuse("is neither true nor false")
	}
	return b
}

// line is a text without line breaks.
func (n node) line(least, most int) string { return n.written(least, most, false) }

// text may have line breaks.
func (n node) text(least, most int) string { return n.written(least, most, true) }

func (n node) written(least, most int, lines bool) string {
	s, ok := n.value.(string)
	switch length := utf8.RuneCountInString(s); {
	case n.value != nil && !ok:
		n.refuse("is no text")
	case strings.TrimSpace(s) == "" && least > 0:
		n.refuse("is missing")
	case length > most:
		n.refuse("is longer than %d characters", most)
	default:
		if hidden := findUnseen(s, lines); len(hidden) > 0 {
			n.refuse("holds %s", hidden[0].describe())
		}
	}
	return s
}

func (n node) choice(needed bool, options ...string) string {
	if needed {
		n.needed()
	}
	s, ok := n.value.(string)
	if n.value != nil && (!ok || s != "" && !slices.Contains(options, s)) {
		n.refuse("is none of %s", strings.Join(options, ", "))
	}
	return s
}

// form is a text of one form; otherwise says what is wrong.
func (n node) form(needed bool, form *regexp.Regexp, otherwise string) string {
	s, ok := n.value.(string)
	if (n.value != nil || needed) && (!ok || (s != "" || needed) && !form.MatchString(s)) {
		n.refuse("%s", otherwise)
	}
	return s
}

func (n node) serverName() string {
	s := n.line(1, 200)
	if message := checkName(s); s != "" && message != "" {
		n.refuse("is no name like com.acme/orders")
	}
	return s
}

func (n node) version(least int) string {
	s := n.line(least, 255)
	if s != "" && !ValidVersion(s) {
		n.refuse("is no version like 1.0.2")
	}
	return s
}

// link is an address that people may follow.
func (n node) link(most int) string {
	s := n.line(0, most)
	if message := checkLink(s); s != "" && message != "" {
		n.refuse("%s", message)
	}
	return s
}

// secureLink is a link by https alone.
func (n node) secureLink(most int) string {
	s := n.link(most)
	if isPlainHTTP(s) {
		n.refuse("is no https address")
	}
	return s
}

var variable = regexp.MustCompile(`\{[^{}\s]{1,100}\}`)

// template is an address whose parts in {braces} are filled in later.
func (n node) template(most int) string {
	s := n.line(0, most)
	if message := checkLink(variable.ReplaceAllLiteralString(s, "1")); s != "" && message != "" {
		n.refuse("%s", message)
	}
	return s
}

// addressForm is what RFC 3986 lets an address be made of.
var addressForm = regexp.MustCompile(`^[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~%-]+$`)

// checkLink says what is wrong with an address that may be shown as a link or put into a client's configuration.
func checkLink(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || !addressForm.MatchString(s):
		return "is no address"
	case u.Scheme != "https" && u.Scheme != "http":
		return "is no https address"
	case u.Opaque != "" || u.Hostname() == "":
		return "is an address without a host"
	case u.User != nil:
		return "carries a user name or a password"
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "is an http address, which is for one's own machine only"
	}
	return ""
}

func isPlainHTTP(s string) bool { return len(s) >= 5 && strings.EqualFold(s[:5], "http:") }

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// credentialHeaders carry credentials by their nature.
var credentialHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key"}

func canonicalHeader(name string) string {
	return textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
}

// noSecret refuses a secret that is written down. What is filled in later stands in braces.
func (n node) noSecret(in Input) {
	literal := func(s string) bool { return s != "" && !variable.MatchString(s) }
	if literal(in.Value) || literal(in.Default) {
		n.refuse("holds a secret itself, which does not belong into a manifest")
	}
}
