// Command sprite writes static/icons.svg, one file with every icon of the console: those of Lucide that are
// named here, from node_modules, and our own mark. Run it with go generate in package web.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

var icons = []string{
	"arrow-left", "ban", "bell", "chart-column", "check", "circle-check", "circle-dashed", "circle-x", "clock",
	"copy", "eye", "file-json", "fingerprint", "git-compare", "hand", "key-round", "layers", "layout-dashboard", "link", "list-checks",
	"loader-circle", "lock", "log-in", "log-out", "menu", "octagon-alert", "pencil", "plus", "radio-tower", "rotate-cw", "scroll-text",
	"search", "server", "shield", "shield-check", "triangle-alert", "undo-2", "unplug", "user", "wrench", "x",
}

const mark = `<symbol id="countersign" viewBox="1 1 22 22"><path stroke-width="2.2" d="M16.6 4.7C10.6 2.4 3 6.2 3 12.6c0 4.8 4.3 7.5 9.1 6.6 2.3-.4 4.2-1.7 5.5-3.4"/><path stroke-width="2.8" d="M9.4 11.3c1.6-.1 2.7 1.3 3.5 3.8C15 11 17.7 8.1 21.3 6.3"/></symbol>`

var (
	inside = regexp.MustCompile(`(?s)<svg[^>]*>(.*)</svg>`)
	spaces = regexp.MustCompile(`\s+`)
)

func main() {
	if err := write("static/icons.svg", filepath.Join("..", "node_modules", "lucide-static", "icons")); err != nil {
		fmt.Fprintln(os.Stderr, "sprite:", err)
		os.Exit(1)
	}
}

func write(to, from string) error {
	var out bytes.Buffer
	out.WriteString("<!-- Lucide icons, https://lucide.dev, ISC License; see NOTICE. The mark \"countersign\" is ours. -->\n")
	out.WriteString(`<svg xmlns="http://www.w3.org/2000/svg">` + "\n" + mark + "\n")
	for _, name := range icons {
		file, err := os.ReadFile(filepath.Join(from, name+".svg"))
		if err != nil {
			return fmt.Errorf("reading icon %s (run make deps first): %w", name, err)
		}
		found := inside.FindSubmatch(file)
		if found == nil {
			return fmt.Errorf("icon %s has no svg element", name)
		}
		paths := bytes.TrimSpace(spaces.ReplaceAll(found[1], []byte(" ")))
		fmt.Fprintf(&out, `<symbol id="%s" viewBox="0 0 24 24">%s</symbol>`+"\n", name, bytes.ReplaceAll(paths, []byte(" />"), []byte("/>")))
	}
	out.WriteString("</svg>\n")
	return os.WriteFile(to, out.Bytes(), 0o644) //nolint:gosec // a public file of the checkout
}
