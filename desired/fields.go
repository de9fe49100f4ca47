package desired

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/policy"
)

// Field is a part of an object as one line of visible text, for a person who compares. Lists are in order, and values
// that mean different things have different texts.
type Field struct {
	Name  string
	Value string
}

// fields collects what an object says; what it does not say is left out.
type fields []Field

func (f *fields) text(name, value string) {
	if value != "" {
		*f = append(*f, Field{name, Visible(value)})
	}
}

func (f *fields) truth(name string, value bool) {
	if value {
		f.text(name, "yes")
	}
}

func (f *fields) number(name string, value int64) {
	if value != 0 {
		f.text(name, strconv.FormatInt(value, 10))
	}
}

func (f *fields) time(name string, at *time.Time) {
	if at != nil {
		f.text(name, timeText(*at))
	}
}

// fieldList adds a list without regard to its order: it is a set.
func fieldList[T ~string](f *fields, name string, values []T) {
	if len(values) == 0 {
		return
	}
	items := make([]string, len(values))
	for i, v := range values {
		if items[i] = Visible(string(v)); strings.ContainsAny(items[i], `,"`) || strings.TrimSpace(items[i]) != items[i] {
			items[i] = `"` + strings.ReplaceAll(items[i], `"`, `\u{22}`) + `"`
		}
	}
	slices.Sort(items)
	*f = append(*f, Field{name, strings.Join(slices.Compact(items), ", ")})
}

func (f *fields) subject(part string, s policy.Subject) {
	f.truth(part+".everyone", s.Everyone)
	fieldList(f, part+".users", s.Users)
	fieldList(f, part+".groups", s.Groups)
	fieldList(f, part+".agents", s.Agents)
	fieldList(f, part+".models", s.Models)
	f.truth(part+".allow_declared", s.AllowDeclared)
}

func (f *fields) resource(part string, r policy.Resource) {
	fieldList(f, part+".servers", lower(r.Servers))
	fieldList(f, part+".labels", r.Labels)
	fieldList(f, part+".kinds", r.Kinds)
	fieldList(f, part+".names", r.Names)
	fieldList(f, part+".risks", r.Risks)
	fieldList(f, part+".tool_labels", r.ToolLabels)
}

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

// Fields says what the team is.
func (t Team) Fields() []Field {
	var f fields
	f.text("name", t.Name)
	fieldList(&f, "groups", t.Groups)
	return f
}

// Fields says what the server is. Its name is not among them: it never changes.
func (s Server) Fields() []Field {
	var f fields
	f.text("title", s.Title)
	f.text("description", s.Description)
	f.text("team", s.Team)
	fieldList(&f, "labels", s.Labels)
	fieldList(&f, "client_requests", s.ClientRequests)
	f.text("url", s.URL)
	f.text("command", s.Command)
	f.text("command_digest", s.CommandDigest)
	f.text("state", string(s.State))
	return f
}

// Fields says what the grant is, its key apart.
func (g Grant) Fields() []Field {
	var f fields
	f.text("name", g.Name)
	f.subject("for", g.For)
	f.resource("on", g.On)
	f.text("condition", g.Condition)
	f.time("from", g.From)
	f.time("until", g.Until)
	f.text("reason", g.Reason)
	return f
}

// Fields says what the guardrail is, its key apart.
func (g Guardrail) Fields() []Field {
	var f fields
	f.text("name", g.Name)
	f.subject("for", g.For)
	f.subject("except", g.Except)
	f.resource("on", g.On)
	f.text("condition", g.Condition)
	f.truth("deny", g.Deny)
	if g.Approval != nil {
		f.approval(g.Approval)
	}
	f.truth("mfa", g.MFA)
	f.stepUp("step_up", g.StepUp)
	if t := g.Tainted; t != nil {
		fieldList(&f, "tainted.labels", t.Labels)
		f.span("tainted.within", t.Within)
	}
	if g.RateLimit != nil {
		f.text("rate_limit", g.RateLimit.String())
	}
	f.text("require", g.Require)
	if g.TokenBudget != nil {
		f.text("token_budget", g.TokenBudget.String())
	}
	f.number("max_response_bytes", g.MaxResponseBytes)
	f.text("reason", g.Reason)
	return f
}

// Difference is a field that differs; "" is what is not said.
type Difference struct {
	Name   string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Differences compares the fields of two objects of one kind, in their order.
func Differences(before, after []Field) []Difference {
	var out []Difference
	for _, b := range before {
		if a := valueOf(after, b.Name); a != b.Value {
			out = append(out, Difference{b.Name, b.Value, a})
		}
	}
	for _, a := range after {
		if valueOf(before, a.Name) == "" {
			out = append(out, Difference{a.Name, "", a.Value})
		}
	}
	return out
}

func valueOf(fields []Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
