package web

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/a-h/templ"
	"golang.org/x/net/html"
)

func rendered(t *testing.T, c templ.Component) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Render(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func parsed(t *testing.T, source string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// elements are those that accept takes, in the order of the document.
func elements(root *html.Node, accept func(*html.Node) bool) []*html.Node {
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && accept(n) {
			out = append(out, n)
		}
	}
	return out
}

func tagged(names ...string) func(*html.Node) bool {
	return func(n *html.Node) bool { return slices.Contains(names, n.Data) }
}

func attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func textOf(n *html.Node) string {
	var out strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			out.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(out.String())
}

func TestStories(t *testing.T) {
	t.Parallel()
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			checkPage(t, rendered(t, s.page))
		})
	}
}

func TestHostileStories(t *testing.T) {
	t.Parallel()
	for _, s := range hostileStories() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			source := rendered(t, s.page)
			checkPage(t, source)
			checkHarmless(t, source)
		})
	}
}

// checkPage holds what is true of every page, whatever it shows.
func checkPage(t *testing.T, source string) {
	t.Helper()
	doc := parsed(t, source)
	if got := len(elements(doc, tagged("h1"))); got != 1 {
		t.Errorf("%d h1, want 1", got)
	}
	for _, n := range elements(doc, tagged("h1", "h2", "h3", "title", "button", "a", "th", "label", "legend", "summary")) {
		if textOf(n) == "" {
			t.Errorf("empty <%s %v>", n.Data, n.Attr)
		}
	}
	for _, n := range elements(doc, tagged("script")) {
		if src, _ := attr(n, "src"); !strings.HasPrefix(src, "/static/") || textOf(n) != "" {
			t.Errorf("a script that is not ours: %v %q", n.Attr, textOf(n))
		}
	}
	if got := elements(doc, tagged("style", "iframe", "object", "embed", "img", "base")); len(got) > 0 {
		t.Errorf("<%s> in the page", got[0].Data)
	}
	for _, n := range elements(doc, func(*html.Node) bool { return true }) {
		checkAttributes(t, n)
	}
	checkIDs(t, doc)
	checkForms(t, doc)
}

func checkAttributes(t *testing.T, n *html.Node) {
	t.Helper()
	for _, a := range n.Attr {
		switch {
		case a.Key == "style", strings.HasPrefix(a.Key, "on"), strings.HasPrefix(a.Key, "hx-on"):
			t.Errorf("<%s %s=%.60q>", n.Data, a.Key, a.Val)
		case a.Key == "href", a.Key == "src", a.Key == "action", a.Key == "formaction", a.Key == "hx-sse:connect":
			if !strings.HasPrefix(a.Val, "#") && (!strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "//") || strings.HasPrefix(a.Val, `/\`)) {
				t.Errorf("<%s %s=%.60q> leads elsewhere", n.Data, a.Key, a.Val)
			}
		}
	}
}

// checkIDs finds ids that are given twice, and references to ids that are not given.
func checkIDs(t *testing.T, doc *html.Node) {
	t.Helper()
	ids := map[string]bool{}
	for _, n := range elements(doc, func(*html.Node) bool { return true }) {
		if id, ok := attr(n, "id"); ok {
			if ids[id] {
				t.Errorf("id %.60q twice", id)
			}
			ids[id] = true
		}
	}
	for _, n := range elements(doc, func(*html.Node) bool { return true }) {
		for _, name := range []string{"aria-labelledby", "aria-describedby", "for", "data-copy"} {
			if id, ok := attr(n, name); ok && !ids[id] {
				t.Errorf("<%s %s=%.60q> points to nothing", n.Data, name, id)
			}
		}
	}
}

func checkForms(t *testing.T, doc *html.Node) {
	t.Helper()
	labelled := map[string]bool{}
	for _, l := range elements(doc, tagged("label")) {
		id, _ := attr(l, "for")
		labelled[id] = true
	}
	for _, form := range elements(doc, tagged("form")) {
		method, _ := attr(form, "method")
		token := elements(form, func(n *html.Node) bool { name, _ := attr(n, "name"); return n.Data == "input" && name == "csrf" })
		if (method == "post") != (len(token) == 1) {
			t.Errorf("form %v has %d csrf fields", form.Attr, len(token))
		}
		if len(elements(form, tagged("button"))) == 0 {
			t.Errorf("form %v has no button", form.Attr)
		}
	}
	for _, n := range elements(doc, tagged("input", "select", "textarea")) {
		kind, _ := attr(n, "type")
		id, _ := attr(n, "id")
		name, _ := attr(n, "aria-label")
		inside := n.Parent != nil && n.Parent.Data == "label"
		if kind != "hidden" && !inside && !labelled[id] && name == "" {
			t.Errorf("<%s %v> has no label", n.Data, n.Attr)
		}
	}
}

// checkHarmless finds text of others that reached the page as it was. What a person typed comes back as typed,
// in a field.
func checkHarmless(t *testing.T, source string) {
	t.Helper()
	for n := range parsed(t, source).Descendants() {
		if n.Type == html.TextNode && (n.Parent == nil || n.Parent.Data != "textarea") {
			if r, found := firstHidden(n.Data); found {
				t.Errorf("U+%04X in <%s> %.80q", r, n.Parent.Data, n.Data)
			}
		}
		for _, a := range n.Attr {
			if r, found := firstHidden(a.Val); found && slices.Contains([]string{"title", "aria-label", "placeholder", "content"}, a.Key) {
				t.Errorf("U+%04X in <%s %s=%.80q>", r, n.Data, a.Key, a.Val)
			}
		}
	}
	for _, raw := range []string{"<script>alert", `" onmouseover="`, "<img src=x"} {
		if strings.Contains(source, raw) {
			t.Errorf("%q is in the page as it was", raw)
		}
	}
}

func firstHidden(s string) (rune, bool) {
	for i, r := range s {
		if r != '\n' && r != '\t' && hidden(r, s[i:]) {
			return r, true
		}
	}
	return 0, false
}

// Every class that a page uses has a rule, and every rule's class is used by some page.
func TestClassesAreStyled(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, s := range append(stories(), hostileStories()...) {
		for _, n := range elements(parsed(t, rendered(t, s.page)), func(*html.Node) bool { return true }) {
			classes, _ := attr(n, "class")
			for c := range strings.FieldsSeq(classes) {
				used[c] = true
			}
		}
	}
	css, err := static.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	styled := classesOf(string(css))
	for c := range used {
		if !styled[c] && !bare[c] {
			t.Errorf("class %q has no rule", c)
		}
	}
	for c := range styled {
		if !used[c] {
			t.Errorf("class %q has a rule and no page uses it", c)
		}
	}
}

// bare are classes that only name something.
var bare = map[string]bool{"p-me": true, "p-problem": true, "p-servers": true, "wait": true}

func classesOf(css string) map[string]bool {
	out := map[string]bool{}
	for i, c := range css {
		if c != '.' || i+1 == len(css) {
			continue
		}
		end := i + 1
		for end < len(css) && (css[end] == '-' || css[end] >= 'a' && css[end] <= 'z' || end > i+1 && css[end] >= '0' && css[end] <= '9') {
			end++
		}
		if end > i+1 {
			out[css[i+1:end]] = true
		}
	}
	return out
}

// What a rule hides is nowhere in the page: not in the rows, not in the JSON, not in an attribute.
func TestHiddenArgumentsAreNotInThePage(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-is-the-secret"
	for _, arguments := range []string{
		`{"token":"` + secret + `"}`,
		`{"a":{"b":[{"password":"` + secret + `"}]}}`,
		`{"credentials":{"user":"u","pass":["` + secret + `"]}}`,
		`{"note":"ghp_` + secret + `0123456789"}`,
		`{"list":["x","Bearer ` + secret + `"],"n":1}`,
	} {
		v := queue()
		v.Chosen.Arguments = []byte(arguments)
		source := rendered(t, ApprovalsPage(page("Approvals", "/approvals"), v))
		if strings.Contains(source, secret) {
			t.Errorf("%s: the secret is in the page", arguments)
		}
		if !strings.Contains(source, "Hidden by rule") {
			t.Errorf("%s: the page does not say that something is hidden", arguments)
		}
	}
}
