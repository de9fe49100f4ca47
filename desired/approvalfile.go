package desired

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"countersign/policy"
)

// approval reads an approval. A quorum that is not said is 1.
func (c *collector) approval(into **Approval) func(ast.Node) {
	return func(n ast.Node) {
		a := &Approval{Quorum: 1}
		*into = a
		c.object(n, c.path,
			field{"quorum", false, c.number(&a.Quorum)},
			field{"deny_quorum", false, c.number(&a.DenyQuorum)},
			field{"owning_team", false, c.truth(&a.OwningTeam)},
			field{"teams", false, c.texts(&a.Teams)},
			field{"pending", false, c.span(&a.Pending)},
			field{"alternatives", false, c.list(c.approvers(&a.Alternatives))},
			field{"fallback", false, c.fallback(&a.Fallback)},
			field{"evidence", false, c.truth(&a.Evidence)},
			field{"not_granter", false, c.truth(&a.NotGranter)},
			field{"step_up", false, c.stepUp(&a.StepUp)},
			field{"scope", false, c.scope(&a.Scope)},
			field{"break_glass", false, c.breakGlass(&a.BreakGlass)})
	}
}

func (c *collector) span(into *Span) func(ast.Node) {
	return parsed(&c.reader, ParseSpan, func(v Span) { *into = v })
}

func (c *collector) approvers(into *[]policy.Approvers) func(ast.Node) {
	return func(n ast.Node) {
		a := policy.Approvers{Quorum: 1}
		c.object(n, c.path,
			field{"quorum", false, c.number(&a.Quorum)},
			field{"owning_team", false, c.truth(&a.OwningTeam)},
			field{"teams", false, c.texts(&a.Teams)})
		*into = append(*into, a)
	}
}

func (c *collector) fallback(into **Fallback) func(ast.Node) {
	return func(n ast.Node) {
		f := &Fallback{Quorum: 1}
		*into = f
		c.object(n, c.path,
			field{"after", true, c.span(&f.After)},
			field{"quorum", false, c.number(&f.Quorum)},
			field{"owning_team", false, c.truth(&f.OwningTeam)},
			field{"teams", false, c.texts(&f.Teams)})
	}
}

func (c *collector) stepUp(into **StepUp) func(ast.Node) {
	return func(n ast.Node) {
		s := &StepUp{}
		*into = s
		c.object(n, c.path,
			field{"max_age", false, c.span(&s.MaxAge)},
			field{"mfa", false, c.truth(&s.MFA)},
			field{"acr", false, c.texts(&s.ACR)})
	}
}

func (c *collector) tainted(into **Tainted) func(ast.Node) {
	return func(n ast.Node) {
		t := &Tainted{}
		*into = t
		c.object(n, c.path,
			field{"labels", true, c.texts(&t.Labels)},
			field{"within", false, c.span(&t.Within)})
	}
}

func (c *collector) scope(into **Scope) func(ast.Node) {
	return func(n ast.Node) {
		s := &Scope{}
		*into = s
		c.object(n, c.path,
			field{"max_uses", true, c.number(&s.MaxUses)},
			field{"within", true, c.span(&s.Within)},
			field{"free", false, c.texts(&s.Free)})
	}
}

func (c *collector) breakGlass(into **BreakGlass) func(ast.Node) {
	return func(n ast.Node) {
		b := &BreakGlass{}
		*into = b
		c.object(n, c.path,
			field{"owning_team", false, c.truth(&b.OwningTeam)},
			field{"teams", false, c.texts(&b.Teams)},
			field{"review", false, c.span(&b.Review)})
	}
}

// approval writes what approval of collector reads.
func (w *writer) approval(a *Approval) {
	w.approvers(policy.Approvers{Quorum: a.Quorum, OwningTeam: a.OwningTeam, Teams: a.Teams}, a.DenyQuorum)
	w.span("pending", a.Pending)
	if len(a.Alternatives) > 0 {
		w.inside("alternatives", func() {
			w.indent++ // behind the dash
			for _, other := range a.Alternatives {
				w.dash = true
				w.approvers(other, 0)
			}
			w.indent--
		})
	}
	if f := a.Fallback; f != nil {
		w.inside("fallback", func() {
			w.span("after", f.After)
			w.approvers(policy.Approvers{Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams}, 0)
		})
	}
	w.truth("evidence", a.Evidence)
	w.truth("not_granter", a.NotGranter)
	w.stepUp(a.StepUp)
	if s := a.Scope; s != nil {
		w.inside("scope", func() {
			w.number("max_uses", int64(s.MaxUses))
			w.span("within", s.Within)
			w.texts("free", s.Free)
		})
	}
	if b := a.BreakGlass; b != nil {
		w.inside("break_glass", func() {
			w.truth("owning_team", b.OwningTeam)
			w.texts("teams", b.Teams)
			w.span("review", b.Review)
		})
	}
}

func (w *writer) approvers(a policy.Approvers, denials int) {
	w.number("quorum", int64(a.Quorum))
	w.number("deny_quorum", int64(denials))
	w.truth("owning_team", a.OwningTeam)
	w.texts("teams", a.Teams)
}

func (w *writer) span(name string, s Span) {
	if s != 0 {
		w.field(name, s.String())
	}
}

func (w *writer) stepUp(s *StepUp) {
	if s == nil {
		return
	}
	w.inside("step_up", func() {
		w.span("max_age", s.MaxAge)
		w.truth("mfa", s.MFA)
		w.texts("acr", s.ACR)
	})
}

func (w *writer) tainted(t *Tainted) {
	if t == nil {
		return
	}
	w.inside("tainted", func() {
		w.texts("labels", t.Labels)
		w.span("within", t.Within)
	})
}

// approval says what an approval demands.
func (f *fields) approval(a *Approval) {
	f.number("approval.quorum", int64(a.Quorum))
	f.number("approval.deny_quorum", int64(a.DenyQuorum))
	f.truth("approval.owning_team", a.OwningTeam)
	fieldList(f, "approval.teams", a.Teams)
	f.span("approval.pending", a.Pending)
	for i, other := range a.Alternatives {
		f.approvers(fmt.Sprintf("approval.alternatives[%d]", i), other)
	}
	if b := a.Fallback; b != nil {
		f.span("approval.fallback.after", b.After)
		f.approvers("approval.fallback", policy.Approvers{Quorum: b.Quorum, OwningTeam: b.OwningTeam, Teams: b.Teams})
	}
	f.truth("approval.evidence", a.Evidence)
	f.truth("approval.not_granter", a.NotGranter)
	f.stepUp("approval.step_up", a.StepUp)
	if s := a.Scope; s != nil {
		f.number("approval.scope.max_uses", int64(s.MaxUses))
		f.span("approval.scope.within", s.Within)
		fieldList(f, "approval.scope.free", s.Free)
	}
	if b := a.BreakGlass; b != nil {
		f.truth("approval.break_glass.owning_team", b.OwningTeam)
		fieldList(f, "approval.break_glass.teams", b.Teams)
		f.span("approval.break_glass.review", b.Review)
	}
}

func (f *fields) approvers(part string, a policy.Approvers) {
	f.number(part+".quorum", int64(a.Quorum))
	f.truth(part+".owning_team", a.OwningTeam)
	fieldList(f, part+".teams", a.Teams)
}

func (f *fields) stepUp(part string, s *StepUp) {
	if s == nil {
		return
	}
	f.span(part+".max_age", s.MaxAge)
	f.truth(part+".mfa", s.MFA)
	fieldList(f, part+".acr", s.ACR)
}

func (f *fields) span(name string, s Span) {
	if s != 0 {
		f.text(name, s.String())
	}
}
