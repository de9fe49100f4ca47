// Package docs_test holds the documentation to the code: what it links to and names is there.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = ".."

// page is a text for people.
type page struct {
	path string // from the root
	text string
}

// pages are the README, CONTRIBUTING and all of this folder.
func pages(t *testing.T) []page {
	t.Helper()
	found, err := filepath.Glob("*.md")
	if err != nil || len(found) < 6 {
		t.Fatalf("looking for pages: %v, %v", found, err)
	}
	all := []page{{path: "README.md"}, {path: "CONTRIBUTING.md"}}
	for _, name := range found {
		all = append(all, page{path: "docs/" + name})
	}
	for i := range all {
		all[i].text = read(t, all[i].path)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	span    = regexp.MustCompile("`([^`\n]+)`")
)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := p.path
			if file != "" {
				target = filepath.Join(filepath.Dir(p.path), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", p.path, m[1])
			} else if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s links to %s, but %s has no such heading", p.path, m[1], target)
			}
		}
	}
}

// anchors are the headings of a page as a link names them.
func anchors(text string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		kept := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		all = append(all, kept)
	}
	return all
}

var repositoryPath = regexp.MustCompile(`^[\w.*/-]+/[\w.*-]+\.(go|json|yaml|yml|md|sql|sh|cfg|png)$`)

// TestFilesExist checks each file that a page names with its folder. What lies in data or on a machine is not ours.
func TestFilesExist(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, m := range span.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
			name := m[1]
			if !repositoryPath.MatchString(name) || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "data/") {
				continue
			}
			if found, err := filepath.Glob(filepath.Join(root, name)); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which is not there", p.path, name)
			}
		}
	}
}

// known says for each kind of name what is there.
type known struct {
	kind    string
	named   *regexp.Regexp // the name is the first group
	among   []string
	ignored []string // of other programs
}

// TestNamesAreReal checks commands, flags, variables, make targets, addresses and tests that a page names.
func TestNamesAreReal(t *testing.T) {
	t.Parallel()
	help := helpOfEveryCommand(t)
	sources := source(t)
	kinds := []known{
		{"command", regexp.MustCompile(`(?m)(?:^ *|bin/|\x60)countersign ([a-z]+)\b`), all(help, `(?m)^Usage: countersign ([a-z]+)`), nil},
		{"flag", regexp.MustCompile(`(?:^|[\x60 "])(--[a-z][a-z-]*)`), all(help, `(--[a-z][a-z-]*)`), strings.Fields("--ignore-scripts --profile --cli --transport")},
		{"variable", regexp.MustCompile(`\b(COUNTERSIGN_[A-Z_]+)\b`), all(help+sources, `\b(COUNTERSIGN_[A-Z_]+)\b`), nil},
		{"make target", regexp.MustCompile(`\x60make ([a-z]+)`), all(read(t, "Makefile"), `(?m)^([a-z]+):`), nil},
		{"address", regexp.MustCompile(`\b(?:GET|POST|PUT|PATCH) (/(?:v1|oauth)/[\w{}/.-]*[\w}])`), addresses(t), nil},
		{"test", regexp.MustCompile(`\x60(Test\w+)`), all(sources, `\nfunc (Test\w+)`), nil},
	}
	for _, k := range kinds {
		if len(k.among) == 0 {
			t.Fatalf("no %s was found: does this test look in the right place?", k.kind)
		}
		for _, p := range pages(t) {
			for _, m := range k.named.FindAllStringSubmatch(p.text, -1) {
				if !slices.Contains(k.among, m[1]) && !slices.Contains(k.ignored, m[1]) {
					t.Errorf("%s names the %s %s, which there is not", p.path, k.kind, m[1])
				}
			}
		}
	}
}

// TestEveryErrorIsReal checks the table of errors for gateway authors.
func TestEveryErrorIsReal(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(read(t, "docs/gateway-authors.md"), "\n| status | `code` |")
	table, _, _ = strings.Cut(table, "\n\n")
	codes := all(table, "`([a-z]+(?:_[a-z]+)*)`")
	if !found || len(codes) < 30 {
		t.Fatalf("the table of errors has %d codes", len(codes))
	}
	sources := source(t)
	for _, code := range codes {
		if !strings.Contains(sources, `"`+code+`"`) {
			t.Errorf("nothing answers with the code %s", code)
		}
	}
}

func all(text, expression string) []string {
	var found []string
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// helpOfEveryCommand builds the program and asks it.
func helpOfEveryCommand(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "countersign")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "countersign/cmd/countersign")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is always built, so that it is built once
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	ask := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), program, append(args, "--help")...).Output()
		if err != nil {
			t.Fatalf("countersign %v --help: %v", args, err)
		}
		return string(out) + "\n"
	}
	help := ask()
	for _, command := range all(help, `(?m)^  ([a-z]+(?: [a-z]+)?) (?:\[flags]|.*\[flags]|--.*|<.*>)$`) {
		help += ask(strings.Fields(command)...)
	}
	return help
}

// addresses are those of the tables of routes, written as the pages do.
func addresses(t *testing.T) []string {
	t.Helper()
	param := regexp.MustCompile(`:(\w+)`)
	var found []string
	tables, err := filepath.Glob(filepath.Join(root, "server", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range tables {
		text.WriteString(read(t, filepath.Join("server", filepath.Base(name))))
	}
	for _, path := range all(text.String(), `\{(?:get|post|put|patch), "(/(?:v1|oauth)/[^"]*)", `) {
		found = append(found, param.ReplaceAllString(path, "{$1}"))
	}
	return append(found, "/v1/confirmations/{redemption_id}/outcome") // which the table calls id
}

// source is all Go code, in one text.
func source(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".deps", "node_modules", "data", "bin"}, entry.Name()):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		code, err := os.ReadFile(path)
		text.Write(code)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}
