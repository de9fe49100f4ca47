package web

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"
)

// run is a stretch of text that is shown as it is, or of characters that are shown by their numbers.
type run struct {
	text  string
	glyph bool
}

// runs takes text apart so that every character that is invisible, reorders, controls or means nothing is shown by
// its code point. Line breaks and tabs stay. A stretch of one such character is one run, and so are tag characters,
// which spell a text that only a model reads: a megabyte of either is no megabyte of page.
func runs(s string) []run {
	var out []run
	from, marks := 0, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !hidden(r, s[i:]) && !strays(r, i == 0, &marks) {
			i += size
			continue
		}
		if from < i {
			out = append(out, run{text: s[from:i]})
		}
		label, length := glyph(s[i:])
		out = append(out, run{text: label, glyph: true})
		i += length
		from = i
	}
	if from < len(s) {
		out = append(out, run{text: s[from:]})
	}
	return out
}

// hidden says whether a reader would not see r, the beginning of rest, as what it is.
func hidden(r rune, rest string) bool {
	switch r {
	case utf8.RuneError:
		_, size := utf8.DecodeRuneInString(rest)
		return size <= 1
	case ' ', '\n', '\t':
		return false
	case blankBraille:
		return true
	}
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

const blankBraille = 0x2800 // a symbol by its class, and looks like a space

// mostMarks is how many combining marks a letter may carry. More paint over the lines above and below.
const mostMarks = 3

// strays says whether r is a combining mark that would change what it does not belong to: one too many, or one at
// the beginning, where it would stand on our own words. marks counts those before it.
func strays(r rune, first bool, marks *int) bool {
	if !unicode.Is(unicode.M, r) {
		*marks = 0
		return false
	}
	*marks++
	return first || *marks > mostMarks
}

// glyph is the label of the hidden characters at the beginning of s, and how many bytes they take.
func glyph(s string) (label string, length int) {
	if spelled := tags(s); len(spelled) > 1 {
		return fmt.Sprintf("%d hidden tags: %s", len(spelled), spelled), 4 * len(spelled)
	}
	r, size := utf8.DecodeRuneInString(s)
	label, n := fmt.Sprintf("U+%04X", r), 1
	if r == utf8.RuneError {
		label = fmt.Sprintf("0x%X", s[:size])
	}
	for strings.HasPrefix(s[n*size:], s[:size]) {
		n++
	}
	if n > 1 {
		label += fmt.Sprintf(" ×%d", n)
	}
	return label, n * size
}

// tags is what the tag characters at the beginning of s spell, one byte each.
func tags(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r < 0xE0020 || r > 0xE007E {
			break
		}
		out.WriteByte(byte(r - 0xE0000))
	}
	return out.String()
}

// plain is text for places that cannot hold markup, such as the title of the tab: what is hidden stands there by
// its code point.
func plain(s string) string {
	var out strings.Builder
	for _, r := range runs(s) {
		if r.glyph {
			r.text = "‹" + r.text + "›"
		}
		out.WriteString(r.text)
	}
	return out.String()
}

// markup is HTML that stands in this package's source.
type markup string

// said is a sentence of ours about things that others named: each %s of it takes a value, shown as Visible does.
func said(sentence markup, values ...string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		first, rest, _ := strings.Cut(string(sentence), "%s")
		out := strings.Builder{}
		out.WriteString(first)
		for _, value := range values {
			for _, r := range runs(value) {
				if r.glyph {
					out.WriteString(`<span class="glyph">` + templ.EscapeString(r.text) + `</span>`)
				} else {
					out.WriteString(templ.EscapeString(r.text))
				}
			}
			var part string
			part, rest, _ = strings.Cut(rest, "%s")
			out.WriteString(part)
		}
		_, err := io.WriteString(w, out.String())
		return err
	})
}

// local is an address of this console; anything else leads to the overview. Browsers take a backslash for a
// slash and leave out tabs and line breaks, so that neither may hide a second slash.
func local(address string) templ.SafeURL {
	if !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\\t\r\n") {
		return "/"
	}
	return templ.SafeURL(address)
}

// foldAfter is how many lines of a text are shown before it folds.
const foldAfter = 12

func long(s string) bool { return strings.Count(s, "\n") >= foldAfter || len(s) > 2000 }

// head is the beginning of a long text.
func head(s string) string {
	lines := strings.SplitN(s, "\n", foldAfter+1)
	if len(lines) > foldAfter {
		lines = lines[:foldAfter]
	}
	h := strings.Join(lines, "\n")
	for len(h) > 1200 {
		h = h[:1200]
		for !utf8.ValidString(h) && len(h) > 0 {
			h = h[:len(h)-1]
		}
	}
	return h
}

func initials(name string) string {
	var out []rune
	for word := range strings.FieldsSeq(name) {
		r, _ := utf8.DecodeRuneInString(word)
		out = append(out, unicode.ToUpper(r))
		if len(out) == 2 {
			break
		}
	}
	return string(out)
}

// ago tells how long ago t was, in words.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < 0:
		return t.UTC().Format("2 Jan 2006 15:04")
	case d < 10*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d/time.Minute))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", int(d/time.Hour))
	case d < 14*24*time.Hour:
		return plural(int(d/(24*time.Hour)), "day", "days") + " ago"
	}
	return t.UTC().Format("2 Jan 2006 15:04")
}

// left tells a remaining time: minutes and seconds, or hours when there are some. app.js says it the same way.
func left(d time.Duration) string {
	d = max(0, d)
	if d >= time.Hour {
		return fmt.Sprintf("%d h %d min", int(d/time.Hour), int(d%time.Hour/time.Minute))
	}
	return fmt.Sprintf("%d:%02d", int(d/time.Minute), int(d%time.Minute/time.Second))
}

// whole tells how long something takes in all.
func whole(d time.Duration) string {
	if d >= time.Hour {
		return left(d)
	}
	return fmt.Sprintf("%d min", int(d/time.Minute))
}

func shortDigest(d string) string {
	if len(d) < 30 {
		return d
	}
	return d[:15] + "…" + d[len(d)-4:]
}

func sizeOf(n int) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f KB", float64(n)/1024)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
