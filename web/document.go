package web

import (
	"fmt"
	"regexp"
	"strings"
)

// mostLines is how much of a document a page shows. The rest is where machines read it.
const mostLines = 5000

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
