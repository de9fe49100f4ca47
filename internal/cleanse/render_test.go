package cleanse_test

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	markdown "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"

	"countersign/internal/cleanse"
)

// pieces are what texts are put together from, at random.
var pieces = []string{
	"`", "``", "```\n", "\n```\n", "~~~\n", "\n", "\n\n", "  ", "    ", "> ", "- ", "1. ", "# ", "| ", "|---|\n", "<!--", "-->", "<?", "?>", "<![CDATA[", "]]>",
	"![", "[", "]", "](", "][r]", "][]", ")", "(", "<", ">", "\"", "'", "\\", "=", " ", "a", "\t", "&lt;", "&#x3c;", "&Tab;", "&colon;",
	"\n\n[r]: //evil.example\n", "[r]:", "\n[a]: http://evil.example\n", "![a]", "![r]", "![a](http://evil.example)", "![a](<http://evil.example/x>)", "(//evil.example)", "http://evil.example", "//evil.example", "\\\\evil.example",
	"javascript:alert(1)", "java&#115;cript:x", "JaVaScRiPt:", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "[x](javascript:y)", "<javascript:x>", "<http://ok.example>",
	"<img src=//evil.example>", "<img ", "src=", "srcset=", "alt=", "title=\"", "onerror=x", "onclick='", "style=\"background:url(//evil.example)\"", "<script>", "</script>", "<script src=//evil.example>", "<div>", "</div>",
	"<a href=\"javascript:x\">", "<a href=", "<svg>", "<image href=//evil.example>", "<iframe src=//evil.example>", "<style>", "@import url(//evil.example);", "</style>", "<pre>", "<textarea>", "</textarea>", "<title>", "<table>", "<b ", "/>", "<p>",
	"<math>", "<video poster=//evil.example>", "<link rel=stylesheet href=//evil.example>", "<object data=//evil.example>", "<base href=//evil.example>", "<meta http-equiv=refresh content='0;url=//evil.example'>", "<form action=javascript:x>",
}

var renderers = map[string]goldmark.Markdown{
	"CommonMark": goldmark.New(goldmark.WithRendererOptions(markdown.WithUnsafe())),
	"GFM":        goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(markdown.WithUnsafe())),
}

// TestRenderedTextIsInert renders texts with another implementation of Markdown, parses the page with one of HTML, and looks
// for what a browser would load or run.
func TestRenderedTextIsInert(t *testing.T) {
	t.Parallel()
	f := cleanse.New(cleanse.Options{KeepSecrets: true})
	random := rand.New(rand.NewPCG(1, 2)) // the same texts each time
	for range 6_000 {
		var b strings.Builder
		for range 1 + random.IntN(14) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		text, _ := f.Text(b.String())
		if again, _ := f.Text(text); again != text {
			t.Errorf("%q becomes %q, and then %q", b.String(), text, again)
		}
		for name, m := range renderers {
			var page bytes.Buffer
			if err := m.Convert([]byte(text), &page); err != nil {
				t.Fatal(err)
			}
			if what := loaded(t, page.String()); what != "" {
				t.Errorf("%s: %q\n becomes %q\n is rendered as %q\n which has %s", name, b.String(), text, page.String(), what)
			}
		}
		if !strings.ContainsAny(text, "`~") {
			if what := loaded(t, text); what != "" {
				t.Errorf("%q becomes %q, which is a page with %s", b.String(), text, what)
			}
		}
	}
}

var runsScript = regexp.MustCompile(`(?i)^(javascript|vbscript|file|data:text)`)

// loaded describes the first thing in a page that loads or runs, "" if there is none.
func loaded(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" || n.Data == "style" && n.FirstChild != nil && strings.Contains(n.FirstChild.Data, "url(") {
			return n.Data
		}
		for _, a := range n.Attr {
			value := strings.Map(func(r rune) rune {
				if r <= ' ' {
					return -1
				}
				return r
			}, a.Val)
			remote := strings.HasPrefix(value, "http:") || strings.HasPrefix(strings.ReplaceAll(value, `\`, "/"), "//")
			link := a.Key == "href" && n.Data != "image" && n.Data != "link" && n.Data != "base" || a.Key == "action"
			fetched := a.Key == "src" || a.Key == "srcset" || a.Key == "poster" || a.Key == "data" || a.Key == "href" && !link
			switch {
			case regexp.MustCompile(`^on[a-z]{2,}$`).MatchString(a.Key), fetched && remote, a.Key == "style" && strings.Contains(value, "url("),
				(link || fetched) && runsScript.MatchString(value):
				return n.Data + " " + a.Key + "=" + a.Val
			}
		}
	}
	return ""
}
