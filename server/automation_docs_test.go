package server

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"countersign/auth"
	"countersign/identity"
)

// TestTheExamplesOfAutomationRun does what docs/automation.md says, in order: each command as a shell would read it, and
// after it the status, and the code, that the page promises. What is assigned is kept for the commands below.
func TestTheExamplesOfAutomationRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	issued, err := w.auth.CreateClient(t.Context(), installer, auth.NewClient{
		Name: "pipeline", Kind: auth.AutomationClient, Roles: []identity.Role{identity.Admin}, TeamID: w.team.ID,
	})
	must(t, err)
	must(t, w.auth.Refresh(t.Context()))
	page, err := os.ReadFile("../docs/automation.md")
	must(t, err)
	d := &docShell{w: w, t: t, vars: map[string]string{"CS": w.url, "ID": issued.ID, "SECRET": issued.Secret}}
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		text := regexp.MustCompile(`\\\n|\n  `).ReplaceAllString(block[1], " ")
		for line := range strings.Lines(text) {
			d.line(strings.TrimSpace(line))
		}
	}
	if d.ran < 12 {
		t.Errorf("only %d commands were found", d.ran)
	}
}

// docShell runs the few forms of line that the page has.
type docShell struct {
	w    *world
	t    *testing.T
	vars map[string]string
	last answer
	ran  int
}

var (
	capturing = regexp.MustCompile(`^(\w+)=\$\((curl .*) \| jq -r '?([^' ]+)'?\)$`)
	promise   = regexp.MustCompile(`^# (\d{3})(?: (\w+))?$`)
)

func (d *docShell) line(line string) {
	d.t.Helper()
	switch {
	case line == "" || strings.HasPrefix(line, "CS=") || strings.HasPrefix(line, "ID="):
	case promise.MatchString(line):
		m := promise.FindStringSubmatch(line)
		status, _ := strconv.Atoi(m[1])
		if m[2] != "" {
			d.last.wantProblem(d.t, status, m[2])
		} else {
			d.last.want(d.t, status)
		}
	case capturing.MatchString(line):
		m := capturing.FindStringSubmatch(line)
		d.curl(m[2])
		if d.last.status >= 300 {
			d.t.Fatalf("%s: %s", line, d.last.shown())
		}
		d.vars[m[1]] = d.member(m[3])
	case strings.HasPrefix(line, "curl "):
		d.curl(line)
	default:
		for _, word := range d.words(line) {
			name, value, ok := strings.Cut(word, "=")
			if !ok {
				d.t.Fatalf("what is this? %s", line)
			}
			d.vars[name] = value
		}
	}
}

// member picks a value out of the last answer, as jq -r does for a plain path.
func (d *docShell) member(path string) string {
	d.t.Helper()
	value := into[any](d.t, d.last)
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			must(d.t, err)
			value = v[i]
		}
	}
	text, ok := value.(string)
	if !ok {
		d.t.Fatalf("%s is no text in %s", path, d.last.body)
	}
	return text
}

// curl sends what the command line says.
func (d *docShell) curl(line string) {
	d.t.Helper()
	d.ran++
	words := d.words(line)[1:]
	method, url, body := get, "", ""
	var header []string
	for i := 0; i < len(words); i++ {
		option := words[i]
		if option == "-sS" {
			continue
		}
		if !strings.HasPrefix(option, "-") {
			url = option
			continue
		}
		i++
		switch option {
		case "-X":
			method = words[i]
		case "-H":
			name, value, _ := strings.Cut(words[i], ": ")
			header = append(header, name, value)
		case "-u":
			header = append(header, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(words[i])))
		case "-d":
			body = words[i]
			if method == get {
				method = post
			}
		default:
			d.t.Fatalf("what is %s?", option)
		}
	}
	if body != "" && !json.Valid([]byte(body)) {
		header = append(header, "Content-Type", "application/x-www-form-urlencoded")
	}
	d.last = d.w.anonymous().send(method, strings.TrimPrefix(url, d.w.url), body, header...)
}

// words splits a line as a shell does: double quotes expand variables, single ones do not.
func (d *docShell) words(line string) []string {
	var words []string
	word, started, quote := "", false, rune(0)
	end := func() {
		if started {
			words = append(words, word)
		}
		word, started = "", false
	}
	plain := ""
	expand := func() {
		word += regexp.MustCompile(`\$(\w+)`).ReplaceAllStringFunc(plain, func(name string) string { return d.vars[name[1:]] })
		plain = ""
	}
	for _, r := range line {
		switch {
		case quote == 0 && (r == '"' || r == '\''):
			expand()
			quote, started = r, true
		case r == quote && quote == '\'':
			word, plain, quote = word+plain, "", 0
		case r == quote:
			expand()
			quote = 0
		case quote == 0 && r == ' ':
			expand()
			end()
		default:
			plain += string(r)
			started = true
		}
	}
	expand()
	end()
	return words
}
