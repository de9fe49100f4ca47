package web

import (
	"html"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// mustShow is every character that may not stand in a page unseen.
func mustShow(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs, unicode.Cn, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
		return true
	}
	return unicode.Is(unicode.Zs, r) && r != ' '
}

func TestEveryHiddenCharacterIsShown(t *testing.T) {
	t.Parallel()
	shown := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue // a surrogate, which no Go string holds as such
		}
		got := runs("a" + string(r) + "b")
		glyph := len(got) == 3 && got[1].glyph
		if mustShow(r) != glyph && r != blankBraille {
			t.Fatalf("U+%04X: %+v", r, got)
		}
		if glyph {
			shown++
		}
	}
	if shown < 100_000 {
		t.Errorf("only %d characters are shown by number", shown)
	}
	if got := runs("a\xffb\xed\xa0\x80"); len(got) < 3 || !got[1].glyph {
		t.Errorf("bytes that are no text: %+v", got)
	}
	if got := runs("wörter, 日本語, عربى, 👍 \uFFFD\n\t"); len(got) != 1 {
		t.Errorf("ordinary text was taken apart: %+v", got)
	}
}

func FuzzVisible(f *testing.F) {
	for _, seed := range []string{"", "plain", poison, "a\u200bb", "\xff\xfe", "\u202e\u2066<b>", "👩‍👩‍👧", "&amp;U+200B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		page := rendered(t, Visible(s))
		rest, glyphs := withoutGlyphs(page)
		visible := html.UnescapeString(rest)
		for i, r := range visible {
			if mustShow(r) || r == utf8.RuneError && !strings.HasPrefix(visible[i:], "\uFFFD") {
				t.Fatalf("U+%04X of %q is in %q", r, s, page)
			}
		}
		if strings.ContainsAny(rest, "<>") {
			t.Fatalf("%q became markup: %q", s, page)
		}
		want := 0
		for _, r := range runs(s) {
			if r.glyph {
				want++
			}
		}
		if glyphs != want {
			t.Fatalf("%q has %d glyphs, want %d: %q", s, glyphs, want, page)
		}
	})
}

// withoutGlyphs is the page without what stands for hidden characters, and how many of those there were.
func withoutGlyphs(page string) (string, int) {
	parts := strings.Split(page, `<span class="glyph">`)
	for i, part := range parts[1:] {
		_, parts[i+1], _ = strings.Cut(part, "</span>")
	}
	return strings.Join(parts, ""), len(parts) - 1
}

func TestSentences(t *testing.T) {
	t.Parallel()
	got := rendered(t, said("<b>%s</b> by %s.", "a<b>\u200b", "%s"))
	if want := `<b>a&lt;b&gt;<span class="glyph">U+200B</span></b> by %s.`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"/servers/x?y=z": "/servers/x?y=z", "javascript:alert(1)": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "": "/", " /x": "/",
		"/\t/evil.example": "/", "/\n/evil.example": "/",
	} {
		if got := local(address); string(got) != want {
			t.Errorf("local(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{ago(noon, noon.Add(-3*time.Second)), "just now"},
		{ago(noon, noon.Add(-59*time.Second)), "59 s ago"},
		{ago(noon, noon.Add(-59*time.Minute)), "59 min ago"},
		{ago(noon, noon.Add(-23*time.Hour)), "23 h ago"},
		{ago(noon, noon.Add(-25*time.Hour)), "1 day ago"},
		{ago(noon, noon.Add(-20*24*time.Hour)), "2 Nov 2026 14:31"},
		{ago(noon, noon.Add(time.Hour)), "22 Nov 2026 15:31"},
		{left(-time.Second), "0:00"},
		{left(4*time.Minute + 7*time.Second), "4:07"},
		{left(26*time.Hour + 5*time.Minute), "26 h 5 min"},
		{whole(10 * time.Minute), "10 min"},
		{shortDigest(digest), "sha256:9c1f42ab…e07d"},
		{shortDigest("short"), "short"},
		{sizeOf(1023), "1023 bytes"},
		{sizeOf(2048), "2.0 KB"},
		{initials("Dana van  Okafor"), "DV"},
		{initials(""), ""},
		{stateWords("not_required"), "Not required"},
		{stateWords("being_watched"), "Being watched"},
		{stateWords("ünbekannt"), "Ünbekannt"},
		{stateWords("\xff"), "\xff"},
		{plain("a\u202eb"), "a‹U+202E›b"},
		{brief("one\ntwo"), "one …"},
		{brief(strings.Repeat("é", 200)), strings.Repeat("é", 80) + " …"},
		{tokenWords(0), "not counted"},
		{tokenWords(1830), "≈ 1.8k tokens"},
		{durationWords(0), "–"},
		{durationWords(300 * time.Microsecond), "< 1 ms"},
		{durationWords(1234 * time.Millisecond), "1.2 s"},
		{whereWords("/inputSchema/properties/amount/maximum"), "input › amount › maximum"},
		{whereWords("/outputSchema/properties/properties/properties/a~1b"), "output › properties › a/b"},
		{whereWords("/description"), "description"},
		{whereWords(""), "the whole"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestLongTextFolds(t *testing.T) {
	t.Parallel()
	page := rendered(t, folded(lines(2000)))
	first, _, found := strings.Cut(page, "<details")
	if !found || strings.Count(first, "one more line") != foldAfter {
		t.Errorf("%d lines before the fold", strings.Count(first, "one more line"))
	}
	if got := strings.Count(page, "one more line"); got != 2000+foldAfter {
		t.Errorf("%d lines in all", got)
	}
	if got := head(strings.Repeat("é", 4000)); !utf8.ValidString(got) || len(got) > 1200 {
		t.Errorf("the head of one long word: %d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
	if strings.Contains(rendered(t, folded("short")), "<details") {
		t.Error("a short text folds")
	}
}
