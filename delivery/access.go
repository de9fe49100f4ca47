package delivery

import (
	"context"
	"slices"
	"strings"
	"time"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// AccessFilter selects a part of who may call what.
type AccessFilter struct {
	Server  string      // part of the name
	Team    string      // id of the owning team
	Subject string      // part of the subject in words
	Tool    string      // part of the name
	Risk    policy.Risk // "": any
	Tools   bool        // also every tool by itself, not only how many
	After   string      // cursor: Page.Next of the page before
	Limit   int         // subjects on a page: 1 to 200, default 50
}

// AccessRow is what one subject, as grants say it, may do.
type AccessRow struct {
	Subject policy.Subject
	Words   string // the subject in words
	Key     string // the same for the same subject, always
	Grants  []RuleName
	Cells   []AccessCell // by name of the server; only those where it has something
}

// RuleName names a rule.
type RuleName struct {
	ID   string
	Name string
}

// AccessCell is what a subject may do on one server.
type AccessCell struct {
	ServerID string
	Server   string
	Team     string // id
	Counts   AccessCounts
	Tools    []AccessTool // if they were asked for
}

// AccessCounts is how many tools, prompts and resources are accessible in which way.
type AccessCounts struct {
	Allow   int
	Hold    int         // an approval is needed
	Deny    int         // granted, and a guardrail, a suspension or drift is in the way
	Depends int         // of those allowed and held: it depends on more
	Worst   policy.Risk // the greatest risk of what is allowed or held; "" if nothing is
}

// AccessTool is one tool of a cell.
type AccessTool struct {
	ID         string
	Kind       policy.Kind
	Name       string
	Risk       policy.Risk
	Outcome    policy.Outcome
	Reason     policy.Reason
	Depends    bool // on the arguments, the time, a second factor, or on who of the subject it is
	Grants     []RuleName
	Guardrails []RuleName // that deny it, hold it, or are why it depends
}

// AccessMatrix says who may call what by the rules as they are now, published or not: subjects as grants say them, and
// what each has on each server. Grants that are over give nothing. It needs identity.ReadPolicy. Problem: Invalid
// invalid_filter.
func (d *Delivery) AccessMatrix(ctx context.Context, who identity.Principal, f AccessFilter) (registry.Page[AccessRow], error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return registry.Page[AccessRow]{}, err
	}
	if f.Risk != "" && !f.Risk.Known() {
		return registry.Page[AccessRow]{}, problem.New(problem.Invalid, "invalid_filter", "There is no such risk.").Field("risk", "It is read_only, write or destructive.")
	}
	s, err := d.stands(ctx)
	if err != nil {
		return registry.Page[AccessRow]{}, err
	}
	document, _, err := s.whole()
	if err != nil {
		return registry.Page[AccessRow]{}, err
	}
	subjects, next := f.page(document.Subjects())
	return registry.Page[AccessRow]{Items: f.rows(document, subjects, s.at), Next: next}, nil
}

const (
	defaultRows = 50
	maxRows     = 200
)

// page gives the subjects of one page, and the cursor for the next. A cursor is a subject: its words and its key.
func (f AccessFilter) page(subjects []policy.GrantSubject) ([]policy.GrantSubject, string) {
	words, key, _ := cutLast(f.After, " ")
	part := strings.ToLower(f.Subject)
	limit := f.Limit
	if limit <= 0 {
		limit = defaultRows
	}
	limit = min(limit, maxRows)
	var found []policy.GrantSubject
	for _, s := range subjects {
		before := f.After != "" && (s.Words < words || s.Words == words && s.Key <= key)
		if before || !strings.Contains(strings.ToLower(s.Words), part) {
			continue
		}
		if len(found) == limit {
			last := found[limit-1]
			return found, last.Words + " " + last.Key
		}
		found = append(found, s)
	}
	return found, ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// rows looks at each tool once, for all the subjects.
func (f AccessFilter) rows(d *policy.Document, subjects []policy.GrantSubject, at time.Time) []AccessRow {
	rows := make([]AccessRow, len(subjects))
	for i, s := range subjects {
		rows[i] = AccessRow{Subject: s.Subject, Words: s.Words, Key: s.Key, Grants: grantNames(d, s.Grants)}
	}
	appraisal := d.Appraise(subjects, at)
	for i := range d.Servers {
		server := &d.Servers[i]
		if !f.wantsServer(server) {
			continue
		}
		cells := map[int]*AccessCell{}
		for j := range server.Tools {
			tool := &server.Tools[j]
			if !f.wantsTool(tool) {
				continue
			}
			for at, e := range appraisal.EffectiveFor(server, tool) {
				if cells[at] == nil {
					cells[at] = &AccessCell{ServerID: server.ID, Server: server.Name, Team: server.Team}
				}
				f.add(cells[at], d, e)
			}
		}
		for at, cell := range cells {
			rows[at].Cells = append(rows[at].Cells, *cell)
		}
	}
	return rows
}

func (f AccessFilter) wantsServer(s *policy.Server) bool {
	return (f.Team == "" || s.Team == f.Team) && strings.Contains(strings.ToLower(s.Name), strings.ToLower(f.Server))
}

func (f AccessFilter) wantsTool(t *policy.Tool) bool {
	return (f.Risk == "" || t.Risk == f.Risk) && strings.Contains(strings.ToLower(t.Name), strings.ToLower(f.Tool))
}

func (f AccessFilter) add(cell *AccessCell, d *policy.Document, e policy.Effective) {
	cell.Counts.add(e)
	if f.Tools {
		cell.Tools = append(cell.Tools, accessTool(d, e))
	}
}

func accessTool(d *policy.Document, e policy.Effective) AccessTool {
	t := e.Tool
	return AccessTool{
		ID: t.ID, Kind: t.Kind, Name: t.Name, Risk: t.Risk, Outcome: e.Outcome, Reason: e.Reason, Depends: e.Depends,
		Grants: grantNames(d, e.Grants), Guardrails: guardrailNames(d, e.Guardrails),
	}
}

func (c *AccessCounts) add(e policy.Effective) {
	switch e.Outcome {
	case policy.Deny:
		c.Deny++
		return
	case policy.Hold:
		c.Hold++
	case policy.Allow:
		c.Allow++
	}
	if e.Depends {
		c.Depends++
	}
	risks := []policy.Risk{"", policy.ReadOnly, policy.Write, policy.Destructive}
	if slices.Index(risks, e.Tool.Risk) > slices.Index(risks, c.Worst) {
		c.Worst = e.Tool.Risk
	}
}

func grantNames(d *policy.Document, indexes []int) []RuleName {
	names := make([]RuleName, len(indexes))
	for i, g := range indexes {
		names[i] = RuleName{d.Grants[g].ID, d.Grants[g].Name}
	}
	return names
}

func guardrailNames(d *policy.Document, indexes []int) []RuleName {
	names := make([]RuleName, len(indexes))
	for i, g := range indexes {
		names[i] = RuleName{d.Guardrails[g].ID, d.Guardrails[g].Name}
	}
	return names
}
