package web

import (
	"fmt"
	"regexp"
	"strings"
)

// mostLines is how much of a document a page shows. The rest is where machines read it.
const mostLines = 2000

// Indent lays a JSON document out for people as encoding/json does, as far as a page shows it: a policy may have hundreds of
// thousands of lines. The document has no space between its tokens.
func Indent(document []byte) string {
	var out strings.Builder
	depth, lines, quoted := 0, 0, false
	line := func() {
		lines++
		out.WriteString("\n" + strings.Repeat("  ", depth))
	}
	for i := 0; i < len(document) && lines <= mostLines; i++ {
		c := document[i]
		empty := i+1 < len(document) && (c == '{' && document[i+1] == '}' || c == '[' && document[i+1] == ']')
		switch {
		case quoted && c == '\\' && i+1 < len(document):
			out.Write(document[i : i+2])
			i++
		case quoted || c == '"':
			quoted = quoted != (c == '"')
			out.WriteByte(c)
		case empty:
			out.Write(document[i : i+2])
			i++
		case c == '{' || c == '[':
			depth++
			out.WriteByte(c)
			line()
		case c == '}' || c == ']':
			depth = max(0, depth-1)
			line()
			out.WriteByte(c)
		case c == ',':
			out.WriteByte(c)
			line()
		case c == ':':
			out.WriteString(": ")
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// stretch is a part of an indented JSON document that can be linked to: a member of the document itself, as
// "grants", or an element of it, as "grants-3".
type stretch struct {
	id, text string
	member   bool
}

// memberLine begins a member of the document whose value is a list or an object.
var memberLine = regexp.MustCompile(`^  "([a-z_]+)": [\[{]`)

// stretches takes an indented document apart where something begins that one may want to point at.
func stretches(document string) (parts []stretch, cut bool) {
	lines := strings.SplitAfter(document, "\n")
	if cut = len(lines) > mostLines; cut {
		lines = lines[:mostLines]
	}
	var text strings.Builder
	var now stretch
	begin := func(next stretch) {
		if now.text = text.String(); now.text != "" {
			parts = append(parts, now)
		}
		text.Reset()
		now = next
	}
	section, element := "", 0
	for _, line := range lines {
		if found := memberLine.FindStringSubmatch(line); found != nil {
			section, element = found[1], 0
			begin(stretch{id: section, member: true})
		} else if section != "" && strings.TrimRight(line, "\n") == "    {" {
			begin(stretch{id: fmt.Sprintf("%s-%d", section, element)})
			element++
		} else if strings.HasPrefix(line, "  ]") || strings.HasPrefix(line, "  }") {
			section = ""
		}
		text.WriteString(line)
	}
	begin(stretch{})
	return parts, cut
}
