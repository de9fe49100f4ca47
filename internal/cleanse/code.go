package cleanse

import "strings"

// span is a part of a text, from start to before end.
type span struct{ start, end int }

// codeSpans finds what every reader of Markdown takes for code: blocks between fences that begin in the first column,
// and spans between backticks in one line. It is wary, as who smuggles an image past it wins: nothing is code from where
// raw HTML that may go over blank lines began, and no line of a paragraph has code spans if backticks are left over in
// it, if a line of it begins with HTML, or if a backtick stands in a tag or beside the border of a cell. Nor is anything code
// from a fence on that is indented, in a list or a quotation, or in a paragraph of HTML.
func codeSpans(s string) []span {
	if !strings.Contains(s, "`") && !strings.Contains(s, "~~~") {
		return nil
	}
	c := coder{s: s}
	for c.pos < len(s) && !c.open {
		c.line()
	}
	c.endParagraph()
	return c.spans
}

type coder struct {
	s         string
	pos       int
	paragraph []span // its lines so far
	html      bool   // a line of it begins with HTML
	open      bool   // HTML that ends at no blank line has begun
	spans     []span
}

// line reads one line, and the whole block if it opens a fence.
func (c *coder) line() {
	line, next := lineAt(c.s, c.pos)
	text := c.s[line.start:line.end]
	trimmed := strings.TrimLeft(text, " \t>-+*0123456789.)")
	switch {
	case strings.TrimSpace(text) == "":
		c.endParagraph()
	case c.opensFence(text) && !c.html:
		c.endParagraph()
		c.fence(line.start)
		return
	case strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~"):
		c.open = true
	case strings.HasPrefix(trimmed, "<"):
		c.html = true
		c.open = opensLongHTML(trimmed)
		c.paragraph = append(c.paragraph, line)
	default:
		c.paragraph = append(c.paragraph, line)
	}
	c.pos = next
}

// opensLongHTML reports whether a line begins HTML that goes on over blank lines.
func opensLongHTML(line string) bool {
	name := strings.ToLower(line[1:min(len(line), 12)])
	for _, start := range []string{"!", "?", "script", "pre", "style", "textarea"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

func lineAt(s string, i int) (line span, next int) {
	n := strings.IndexByte(s[i:], '\n')
	if n < 0 {
		return span{i, len(s)}, len(s)
	}
	end := i + n
	if end > i && s[end-1] == '\r' {
		return span{i, end - 1}, end + 1
	}
	return span{i, end}, end + 1
}

func fenceLength(text string) int {
	n := 0
	for n < len(text) && text[n] == text[0] {
		n++
	}
	return n
}

func (c *coder) opensFence(text string) bool {
	if !strings.HasPrefix(text, "```") && !strings.HasPrefix(text, "~~~") {
		return false
	}
	return text[0] == '~' || !strings.Contains(text[fenceLength(text):], "`")
}

// fence takes the block whose opening line begins at start, which ends with its closing line or with the text.
func (c *coder) fence(start int) {
	opening, next := lineAt(c.s, start)
	mark, length := c.s[start], fenceLength(c.s[start:opening.end])
	for next < len(c.s) {
		line, after := lineAt(c.s, next)
		text := strings.TrimRight(c.s[line.start:line.end], " \t")
		inner := strings.TrimLeft(text, " ")
		next = after
		if len(text)-len(inner) <= 3 && len(inner) >= length && inner[0] == mark && fenceLength(inner) == len(inner) {
			c.spans = append(c.spans, span{start, line.end})
			c.pos = next
			return
		}
	}
	c.spans = append(c.spans, span{start, len(c.s)})
	c.pos = len(c.s)
}

// endParagraph takes the code spans of the paragraph that ends, unless they are in doubt.
func (c *coder) endParagraph() {
	lines, html := c.paragraph, c.html
	c.paragraph, c.html = c.paragraph[:0], false
	before := len(c.spans)
	for _, line := range lines {
		if html || !c.inline(line) {
			c.spans = c.spans[:before]
			return
		}
	}
}

// inline takes the code spans of one line. It reports whether there is no doubt about them.
func (c *coder) inline(line span) bool {
	for i := line.start; i < line.end; {
		switch c.s[i] {
		case '\\':
			i += 2
		case '<':
			end := strings.IndexByte(c.s[i:line.end], '>')
			if end < 0 && strings.Contains(c.s[i:line.end], "`") || end > 0 && strings.Contains(c.s[i:i+end], "`") {
				return false
			}
			i++
		case '`':
			end := endOfSpan(c.s[:line.end], i)
			if end < 0 {
				return false
			}
			if strings.Contains(c.s[i:end], "|") {
				return false
			}
			c.spans = append(c.spans, span{i, end})
			i = end
		default:
			i++
		}
	}
	return true
}

// endOfSpan returns where the code span ends whose backticks begin at i, -1 if it does not.
func endOfSpan(s string, i int) int {
	run := fenceLength(s[i:])
	for j := i + run; j < len(s); {
		next := strings.IndexByte(s[j:], '`')
		if next < 0 {
			return -1
		}
		j += next
		n := fenceLength(s[j:])
		if n == run {
			return j + n
		}
		j += n
	}
	return -1
}
