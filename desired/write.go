package desired

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"countersign/policy"
)

// Write gives the YAML of the set: in its order, every field in its place, the same bytes for the same set. What it
// writes, Read reads as the same set. A set that Check finds wrong is an error.
func Write(s Set) ([]byte, error) {
	if wrong := s.Check(); len(wrong) > 0 {
		return nil, fmt.Errorf("writing %s: %s", Visible(wrong[0].Path), wrong[0].Message)
	}
	w := &writer{}
	section(w, Teams, s.Teams, w.team)
	section(w, Servers, s.Servers, w.server)
	section(w, Grants, s.Grants, w.grant)
	section(w, Guardrails, s.Guardrails, w.guardrail)
	if !utf8.Valid(w.out.Bytes()) {
		return nil, errors.New("writing a set: it holds text that is not UTF-8")
	}
	return w.out.Bytes(), nil
}

type writer struct {
	out    bytes.Buffer
	indent int
	dash   bool // the next field begins an entry of a list
}

func section[T any](w *writer, name string, all []T, write func(T)) {
	if len(all) == 0 {
		return
	}
	if w.out.Len() > 0 {
		w.out.WriteByte('\n')
	}
	w.out.WriteString(name + ":\n")
	w.indent = 2
	for _, v := range all {
		w.dash = true
		write(v)
	}
	w.indent = 0
}

// field writes a name and what is already YAML.
func (w *writer) field(name, value string) {
	lead := strings.Repeat("  ", w.indent)
	if w.dash {
		lead = lead[:len(lead)-2] + "- "
		w.dash = false
	}
	w.out.WriteString(strings.TrimRight(lead+name+": "+value, " ") + "\n")
}

func (w *writer) text(name, value string) {
	switch {
	case value == "":
	case canBlock(value):
		lead := strings.Repeat("  ", w.indent+1)
		w.field(name, "|-\n"+lead+strings.ReplaceAll(value, "\n", "\n"+lead))
	default:
		w.field(name, scalar(value))
	}
}

func (w *writer) truth(name string, value bool) {
	if value {
		w.field(name, "true")
	}
}

func (w *writer) number(name string, value int64) {
	if value != 0 {
		w.field(name, strconv.FormatInt(value, 10))
	}
}

func (w *writer) time(name string, at *time.Time) {
	if at != nil {
		w.field(name, timeText(*at))
	}
}

func timeText(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// texts writes a list: in one line where it fits, else an entry a line, so that a change is a line of a diff.
func (w *writer) texts(name string, values []string) { listOf(w, name, values) }

func listOf[T ~string](w *writer, name string, values []T) {
	if len(values) == 0 {
		return
	}
	quotedValues := make([]string, len(values))
	for i, v := range values {
		quotedValues[i] = scalar(string(v))
	}
	if line := strings.Join(quotedValues, ", "); len(line) <= 80 {
		w.field(name, "["+line+"]")
		return
	}
	lead := "\n" + strings.Repeat("  ", w.indent+1) + "- "
	w.field(name, lead+strings.Join(quotedValues, lead))
}

// inside writes what belongs to the name, deeper.
func (w *writer) inside(name string, write func()) {
	w.field(name, "")
	w.indent++
	write()
	w.indent--
}

func (w *writer) team(t Team) {
	w.text("name", t.Name)
	w.texts("groups", t.Groups)
}

func (w *writer) server(s Server) {
	w.text("name", s.Name)
	w.text("title", s.Title)
	w.text("description", s.Description)
	w.text("team", s.Team)
	w.texts("labels", s.Labels)
	w.texts("client_requests", s.ClientRequests)
	w.text("url", s.URL)
	w.text("command", s.Command)
	w.text("command_digest", s.CommandDigest)
	w.text("state", string(s.State))
}

func (w *writer) grant(g Grant) {
	w.text("key", g.Key)
	w.text("name", g.Name)
	w.inside("for", func() { w.subject(g.For) })
	w.inside("on", func() { w.resource(g.On) })
	w.text("condition", g.Condition)
	w.time("from", g.From)
	w.time("until", g.Until)
	w.text("reason", g.Reason)
}

func (w *writer) guardrail(g Guardrail) {
	w.text("key", g.Key)
	w.text("name", g.Name)
	w.inside("for", func() { w.subject(g.For) })
	if !isZero(g.Except) {
		w.inside("except", func() { w.subject(g.Except) })
	}
	w.inside("on", func() { w.resource(g.On) })
	w.text("condition", g.Condition)
	w.truth("deny", g.Deny)
	if g.Approval != nil {
		w.inside("approval", func() { w.approval(g.Approval) })
	}
	w.truth("mfa", g.MFA)
	w.stepUp(g.StepUp)
	if g.RateLimit != nil {
		w.field("rate_limit", g.RateLimit.String())
	}
	w.text("require", g.Require)
	if g.TokenBudget != nil {
		w.field("token_budget", g.TokenBudget.String())
	}
	w.number("max_response_bytes", g.MaxResponseBytes)
	w.tainted(g.Tainted)
	w.text("reason", g.Reason)
}

func (w *writer) subject(s policy.Subject) {
	w.truth("everyone", s.Everyone)
	w.texts("users", s.Users)
	w.texts("groups", s.Groups)
	w.texts("agents", s.Agents)
	w.texts("models", s.Models)
	w.truth("allow_declared", s.AllowDeclared)
}

func (w *writer) resource(r policy.Resource) {
	w.texts("servers", r.Servers)
	w.texts("labels", r.Labels)
	listOf(w, "kinds", r.Kinds)
	w.texts("names", r.Names)
	listOf(w, "risks", r.Risks)
	w.texts("tool_labels", r.ToolLabels)
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z](?:[A-Za-z0-9 ._/@=+*-]*[A-Za-z0-9._/@=+*-])?$`)
	plainURL = regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~/-]*)?$`)
	// reserved is what some reader of YAML takes for something else than text.
	reserved = regexp.MustCompile(`(?i)^(?:true|false|yes|no|on|off|y|n|null|inf|nan)$`)
)

// scalar writes text as it is where no reader could take it for anything else, and in double quotes otherwise.
func scalar(s string) string {
	if (plain.MatchString(s) && !reserved.MatchString(s)) || plainURL.MatchString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r > 0xffff && hidden(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// canBlock says whether text of several lines stays itself as a block of lines.
func canBlock(s string) bool {
	if !strings.Contains(s, "\n") {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if line == "" || strings.TrimSpace(line) != line || strings.ContainsFunc(line, hidden) {
			return false
		}
	}
	return true
}
