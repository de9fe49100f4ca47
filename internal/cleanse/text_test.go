package cleanse_test

import (
	"strings"
	"testing"

	"countersign/internal/cleanse"
)

// benign are texts that nothing is to change in.
var benign = map[string]string{
	"plain":                "All good.\n\tIndented.\r\nA second line.",
	"accents":              "Ça marche, naïve façade, Ελληνικά, Русский, 日本語, 한국어, עברית, العربية",
	"combining":            "e\u0301 n\u0303",
	"family":               "👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️‍🔥 ☺️ ☎︎ 1️⃣ #️⃣ ✔️",
	"flags":                "🇩🇪 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 🏴‍☠️",
	"Persian":              "می\u200cخواهم کتاب\u200cها را ببینم",
	"Devanagari":           "क्\u200dष र्\u200dय श्\u200cच",
	"Sinhala":              "ශ්\u200dරී ලංකා",
	"Hebrew with a mark":   "שלום\u200f! 123",
	"numbers":              `{"id": 12345678901234567890, "price": 1.0, "e": 1e-7}`,
	"a fence":              "Example:\n```html\n<script src=\"https://a.example/x.js\"></script>\n![x](http://a.example/y.png)\n```\nDone.",
	"tildes":               "~~~\n<iframe src=//a.example></iframe>\n~~~\n",
	"code spans":           "Use `<img src=http://a.example/x>` or ``![a](http://b.example/`c)`` here.",
	"a table":              "| a | b |\n|---|---|\n| 1 < 2 | x > y |",
	"comparison":           "if a < b && c > d { return a<<2 }",
	"generics":             "Map<String, List<Object>> m = new HashMap<>(); vector<int> v; Option<Frame>",
	"Rust":                 "#![allow(dead_code)]\nlet x = vec![1, 2][0]; println!(\"{}\", a[i]);",
	"Go":                   "m := map[string][]int{}\nfor i := range xs[1:] { ch <- i }\nx := !ok && a[i](b)",
	"Python":               "d = {k: v for k, v in x[1:]}\nprint(f\"{a!r:>10}\")\n",
	"shell":                "cat <<EOF\n$HOME ${USER}\nEOF\n! [ -f x ] && echo 'no'",
	"a diff":               "--- a/x.go\n+++ b/x.go\n@@ -1,3 +1,4 @@\n-old\n+new",
	"a log":                "2026-11-22T19:40:19.123Z INFO [main] request id=7f3a9c12 status=200 took=12ms",
	"commit":               "commit 06e629d2f3c6f7b8a9c0d1e2f3a4b5c6d7e8f901",
	"uuid":                 "id 550e8400-e29b-41d4-a716-446655440000",
	"sha256":               "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"a lock file":          `"integrity": "sha512-Gd2UZBJDkXlY7GbJxfsE8/nvKkUEU1G38c1siN6QP6a9PT9MmHB8GnpscSmMJSoF8LOIrt8ud/wPtojys4G6+g=="`,
	"Markdown links":       "See [the docs](https://docs.example.com/a?b=c), <https://example.com> and [this][1].\n\n[1]: https://example.com/x",
	"relative image":       "![logo](./docs/logo.png) <img src=\"logo.png\" width=10>",
	"embedded image":       "![dot](data:image/png;base64,iVBORw0KGgo=)",
	"harmless HTML":        "<p class=\"x\">Hi <b>there</b><br/><a href=\"https://example.com\">link</a></p><!-- note -->",
	"a style sheet":        "<style>p { color: red }</style>",
	"mail":                 "Write to someone@example.com or <someone@example.com>.",
	"an address with port": "http://localhost:8080/a@b and postgres://host.docker.internal:5432/mydb",
	"an example password":  "postgres://user:password@localhost/db https://user:<password>@host",
	"a phone number":       "+49 30 123456-78, 2026-11-22 19:40:19, 1732304419123",
	"big numbers":          "1234567890123456 4111111111111112 4.111111111111111 17323044191234567",
	"Windows paths":        `C:\Users\x\file.txt and \\server\share`,
	"regular expression":   `^\s*(?:[a-z]+)\](.*)$ and [^\]]:x`,
	"LaTeX":                `\frac{a}{b} $x_1 < y^2$ \[ z \]`,
	"TypeScript":           "const f = <T,>(x: T): T => x;\nconst a: Array<number> = [1][0] as any;",
	"a data comment":       "data: the file: contents; javascript: a language",
	"JSON":                 `{"a":["x"],"b":{"c":null},"d":"\u00e9\n"}`,
	"YAML":                 "a: [x, y]\nb: !ruby/object {}\nc: !!str 1",
	"CSV":                  "a,b\n1,\"x, y\"\n",
	"placeholder of ours":  "[image removed] [secret removed: aws-access-token] key = [secret removed: generic-api-key]",
}

func TestBenignTextsStay(t *testing.T) {
	t.Parallel()
	f := cleanse.New(cleanse.Options{})
	for name, text := range benign {
		if got, found := f.Text(text); got != text || found.Texts != 0 {
			t.Errorf("%s: Text(%q) = %q, %v", name, text, got, found.Kinds.Names())
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	const key = "ghp_0123456789abcdefghijABCDEFGHIJ456789"
	cases := []struct {
		name, in, want string
		kinds          string
	}{
		{"colours", "\x1b[1;31mred\x1b[0m", "red", "terminal"},
		{"cursor", "a\x1b[2J\x1b[H\x1b[?25lb", "ab", "terminal"},
		{"a hyperlink", "\x1b]8;;http://e.example\x1b\\text\x1b]8;;\x07", "text", "terminal"},
		{"the clipboard", "a\x1b]52;c;ZWNobw==\x07b", "ab", "terminal"},
		{"a device string", "a\x1bPq#0\x1b\\b", "ab", "terminal"},
		{"two-byte escapes", "a\x1bcb\x1b(0c", "abc", "terminal"},
		{"C1 forms", "a\u009b31mb\u009d0;title\u009cc\u0090x\u009cd", "abcd", "terminal"},
		{"no terminator", "a\x1b]0;title and more", "a0;title and more", "terminal"},
		{"an escape in an escape", "a\x1b\x1b[31mb\x1b[\x1b[0mc", "abc", "terminal"},
		{"overwriting", "safe\rrm -rf /", "safe\nrm -rf /", "terminal"},
		{"erasing", "rm\b\bls", "rmls", "terminal"},
		{"overstrike", "N\bNA\bAM\bME\bE _\bx", "NAME x", "terminal"},
		{"other controls", "a\x00b\x07c\x7fd\x0ce", "abcde", "terminal"},
		{"zero width", "pay\u200bload\ufeff\u2060", "payload", "hidden"},
		{"bidirectional", "a\u202eb\u2066c\u2069\u202c", "abc", "hidden"},
		{"tag characters", "hi\U000e0069\U000e0067\U000e006e", "hi", "hidden"},
		{"a flag with a message", "🏴\U000e0065\U000e0076\U000e007f", "🏴", "hidden"},
		{"soft hyphen and fillers", "a\u00adb\u115fc\u3164d\uffa0e", "abcde", "hidden"},
		{"variation selectors", "a\ufe0fb\ufe01c\U000e0100", "abc", "hidden"},
		{"joiners in Latin", "pass\u200dword\u200c", "password", "hidden"},
		{"runs of joiners", "می\u200c\u200c\u200cخ", "می\u200cخ", "hidden"},
		{"interlinear", "a\ufff9b\ufffbc", "abc", "hidden"},
		{"line separators", "a\u2028b\u0085c", "a\nb\nc", "hidden"},
		{"not UTF-8", "a\xffb\xc3", "a\ufffdb\ufffd", "encoding"},

		{"a remote image", "![the logo](https://e.example/?q=secret \"t\")", "the logo [image removed]", "active_content"},
		{"no alternative", "![](//e.example/x)", "[image removed]", "active_content"},
		{"in angle brackets", "![a](<http://e.example/x y>)", "a [image removed]", "active_content"},
		{"in a link", "[![a](http://e.example/i)](http://f.example)", "[a [image removed]](http://f.example)", "active_content"},
		{"entities", "![a](h&#116;tp&colon;//e.example)", "a [image removed]", "active_content"},
		{"a backslash", `![a](\\e.example\x) ![b](http\://e.example)`, "a [image removed] b [image removed]", "active_content"},
		{"by reference", "![a][r] ![r] ![R][]\n\n[r]: https://e.example/x", "a [image removed] r [image removed] R [image removed]\n\n[r]: https://e.example/x", "active_content"},
		{"brackets in code", "![a `](x)` ](http://e.example)", "! [a `](x)` ](http://e.example)", "active_content"},
		{"an indented fence in a list", "- a\n  ```\n![x](http://e.example)\n", "- a\n  ```\nx [image removed]\n", "active_content"},
		{"backticks over lines", "a ` b\n` ![x](http://e.example) `c`", "a ` b\n` x [image removed] `c`", "active_content"},
		{"a fence in a comment", "<!--\n```\n--><img src=http://e.example>\n```", "<!--\n```\n-->[image removed]\n```", "active_content"},
		{"backticks in HTML", "<div>\n`<img src=//e.example>`\n</div>", "<div>\n`[image removed]`\n</div>", "active_content"},
		{"a javascript link", "[x](javascript:alert(1))", "[x](#removed)", "active_content"},
		{"spelt with entities", "[x](java&#x73;cript&colon;alert)", "[x](#removed)", "active_content"},
		{"a data link", "[x](data:text/html,hi) [y](<vbscript:x>)", "[x](#removed) [y](#removed)", "active_content"},
		{"a local file", "[x](file:///etc/passwd)", "[x](#removed)", "active_content"},
		{"a definition", "[x]\n\n[x]: javascript:alert(1)", "[x]\n\n[x]: #removed", "active_content"},
		{"an autolink", "<javascript:alert(1)>", "&lt;javascript:alert(1)>", "active_content"},
		{"a script", "a<script>x()</script>", "a&lt;script>x()</script>", "active_content"},
		{"upper case", "<SCRIPT/SRC=//e.example>", "&lt;SCRIPT/SRC=//e.example>", "active_content"},
		{"a handler", "<b onmouseover=x()>b</b>", "&lt;b onmouseover=x()>b</b>", "active_content"},
		{"a handler after a quote", `<b title="x"onclick=y>`, `&lt;b title="x"onclick=y>`, "active_content"},
		{"an image that loads", `<img alt="a cat" src="https://e.example/i">`, "a cat [image removed]", "active_content"},
		{"sets of sources", `<img srcset="a.png 1x, //e.example/b 2x">`, "[image removed]", "active_content"},
		{"a frame", "<iframe src=x></iframe>", "&lt;iframe src=x></iframe>", "active_content"},
		{"an HTML link", `<a href=" java` + "\n" + `script:x">y</a>`, `&lt;a href=" java` + "\n" + `script:x">y</a>`, "active_content"},
		{"a style", `<p style="background:url(//e.example)">`, `&lt;p style="background:url(//e.example)">`, "active_content"},
		{"a style sheet", `<style>@import "//e.example"</style>`, `&lt;style>@import "//e.example"</style>`, "active_content"},
		{"SVG", `<svg><image href="http://e.example"/><animate attributeName=href to="javascript:x"/></svg>`, `<svg>&lt;image href="http://e.example"/>&lt;animate attributeName=href to="javascript:x"/></svg>`, "active_content"},
		{"refresh", `<meta http-equiv=refresh content="0;url=http://e.example">`, `&lt;meta http-equiv=refresh content="0;url=http://e.example">`, "active_content"},
		{"a tag in an attribute", `<a title="<img src=x onerror=y>">`, `<a title="[image removed]">`, "active_content"},
		{"HTML in JSON", `{"a":"<img src=\"http://e.example/x\">"}`, `{"a":"[image removed]"}`, "active_content"},

		{"a key", "token " + key, "token [secret removed: github-pat]", "secret"},
		{"a key cut by nothing", key[:10] + "\u200b" + key[10:], "[secret removed: github-pat]", "hidden secret"},
		{"a key coloured", key[:10] + "\x1b[31m" + key[10:], "[secret removed: github-pat]", "terminal secret"},
		{"an AWS key", "AKIAZ5GMXQZQ7NOPQRST", "[secret removed: aws-access-token]", "secret"},
		{"a private key", "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA7vbqajDw4o6gJy8UtmIbkcpnkO3Kwc4qsEnSZp\n", 3) + "-----END RSA PRIVATE KEY-----", "[secret removed: private-key]", "secret"},
		{"a password in an address", "postgres://bob:hunter2x@db/x", "postgres://bob:[secret removed: url-password]@db/x", "secret"},
		{"base64", "x Z2hwXzAxMjM0NTY3ODlhYmNkZWZnaGlqQUJDREVGR0hJSjQ1Njc4OQ== y", "x [secret removed: github-pat (encoded)] y", "secret"},
		{"hexadecimal", "6768705f303132333435363738396162636465666768696a4142434445464748494a343536373839", "[secret removed: github-pat (encoded)]", "secret"},
		{"percent signs", "%67%68%70%5f0123456789abcdefghijABCDEFGHIJ456789", "[secret removed: github-pat (encoded)]", "secret"},
		{"a card", "4111 1111 1111 1111 and 378282246310005, 5555-5555-5555-4444 12/27", "[secret removed: card-number] and [secret removed: card-number], [secret removed: card-number] 12/27", "secret"},
		{"an account", "DE89 3704 0044 0532 0130 00, GB82WEST12345698765432", "[secret removed: iban], [secret removed: iban]", "secret"},
	}
	f := cleanse.New(cleanse.Options{})
	for _, c := range cases {
		got, found := f.Text(c.in)
		if kinds := strings.Join(found.Kinds.Names(), " "); got != c.want || kinds != c.kinds {
			t.Errorf("%s: Text(%q)\n = %q (%s)\nwant %q (%s)", c.name, c.in, got, kinds, c.want, c.kinds)
		}
		if again, _ := f.Text(got); again != got {
			t.Errorf("%s: a second time %q becomes %q", c.name, got, again)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	const text = "![a](https://img.example.com/x) ![b](https://evil.example/x) AKIAZ5GMXQZQ7NOPQRST \u200b"
	cases := []struct {
		name string
		o    cleanse.Options
		want string
	}{
		{"keep both", cleanse.Options{KeepActive: true, KeepSecrets: true}, "![a](https://img.example.com/x) ![b](https://evil.example/x) AKIAZ5GMXQZQ7NOPQRST "},
		{"a host", cleanse.Options{AllowHosts: []string{"img.example.com"}, KeepSecrets: true}, "![a](https://img.example.com/x) b [image removed] AKIAZ5GMXQZQ7NOPQRST "},
		{"hosts below", cleanse.Options{AllowHosts: []string{"*.example.com"}}, "![a](https://img.example.com/x) b [image removed] [secret removed: aws-access-token] "},
	}
	for _, c := range cases {
		if got, _ := cleanse.New(c.o).Text(text); got != c.want {
			t.Errorf("%s: Text = %q, want %q", c.name, got, c.want)
		}
	}
}
