package policy

import (
	"iter"
	"slices"
	"time"
)

// Access of a subject is told as rules say it: who exactly is behind "group support" is known only when somebody calls.
// So a guardrail holds for a subject always, perhaps or never, judged by the patterns alone.

// certainty says how sure something is of a subject.
type certainty int

const (
	never certainty = iota
	perhaps
	always
)

// Effective is what a subject, or one caller, may do with a tool.
type Effective struct {
	Server     *Server
	Tool       *Tool
	Outcome    Outcome
	Reason     Reason
	Depends    bool  // on the arguments, the time, a second factor, or on who of the subject it is
	Grants     []int // indexes of those that give it
	Guardrails []int // indexes of those that deny it, hold it, or are why it depends
}

// Subjects returns what grants of d say about whom they are for, each once and sorted by their words, with the indexes
// of the grants.
func (d *Document) Subjects() []GrantSubject {
	known := map[string]int{}
	var all []GrantSubject
	for i, g := range d.Grants {
		subject := g.Subject.canonical()
		key := subjectKey(subject)
		at, seen := known[key]
		if !seen {
			at = len(all)
			known[key] = at
			all = append(all, GrantSubject{Subject: subject, Words: subject.Words(), Key: key})
		}
		all[at].Grants = append(all[at].Grants, i)
	}
	slices.SortFunc(all, GrantSubject.compare)
	return all
}

// EffectiveFor returns what some subjects of d may do with a tool of it, at a time: one Effective for each that a grant
// gives something, by the place of the subject. subjects is those of [Document.Subjects], or some of them.
func (a *Appraisal) EffectiveFor(s *Server, t *Tool) map[int]Effective {
	out := map[int]Effective{}
	for _, g := range t.Grants {
		at, wanted := a.of[g]
		rule := &a.document.Grants[g]
		if !wanted || rule.NotAfter != nil && !a.now.Before(*rule.NotAfter) {
			continue
		}
		e, known := out[at]
		if !known {
			e = Effective{Server: s, Tool: t, Depends: true}
		}
		later := rule.NotBefore != nil && a.now.Before(*rule.NotBefore)
		e.Depends = e.Depends && (later || rule.Condition != "")
		e.Grants = append(e.Grants, g)
		out[at] = e
	}
	for at, e := range out {
		out[at] = a.restrain(at, e)
	}
	return out
}

// Appraisal is how to look at the access of subjects, one tool after the other.
type Appraisal struct {
	document *Document
	subjects []GrantSubject
	now      time.Time
	of       map[int]int          // grant → place in subjects
	holds    map[[2]int]certainty // guardrail, place in subjects → whether it holds for them
}

// Appraise begins to look at the access of some of d's subjects at a time.
func (d *Document) Appraise(subjects []GrantSubject, now time.Time) *Appraisal {
	a := &Appraisal{document: d, subjects: subjects, now: now, of: map[int]int{}, holds: map[[2]int]certainty{}}
	for at, s := range subjects {
		for _, g := range s.Grants {
			a.of[g] = at
		}
	}
	return a
}

// restrain says what guardrails, and the state of the server and the tool, leave of an access.
func (a *Appraisal) restrain(at int, e Effective) Effective {
	e.Outcome, e.Reason = Allow, ReasonAllowed
	switch {
	case e.Server.State != Active:
		return e.deny(ReasonSuspended)
	case e.Tool.Held:
		return e.deny(ReasonDrifted)
	}
	for _, g := range e.Tool.Guardrails {
		rule := &a.document.Guardrails[g]
		sure := a.certain(g, at)
		if sure == always && (rule.Condition != "" || rule.Effect.Tainted != nil) {
			sure = perhaps
		}
		if sure == never || rule.Effect.counts() {
			continue
		}
		e.Guardrails = append(e.Guardrails, g)
		switch {
		case sure == always && rule.Effect.Deny:
			e.Guardrails = []int{g}
			return e.deny(ReasonDeniedByGuardrail)
		case sure == always && rule.Effect.Approval != nil:
			e.Outcome, e.Reason = Hold, ReasonApprovalRequired
		default:
			e.Depends = true
		}
	}
	return e
}

func (e Effective) deny(why Reason) Effective {
	e.Outcome, e.Reason, e.Depends = Deny, why, false
	return e
}

// counts reports whether an effect decides nothing: it counts calls, or bounds their results.
func (e *Effect) counts() bool {
	return e.RateLimit != nil || e.TokenBudget != nil || e.MaxResponseBytes > 0
}

// certain says whether a guardrail holds for a subject.
func (a *Appraisal) certain(g, at int) certainty {
	pair := [2]int{g, at}
	if known, ok := a.holds[pair]; ok {
		return known
	}
	rule, s := &a.document.Guardrails[g], a.subjects[at].Subject
	sure := s.within(rule.Subject, true)
	if !rule.Except.isZero() && sure != never {
		switch s.within(rule.Except, false) {
		case always:
			sure = never
		case perhaps:
			sure = perhaps
		case never:
		}
	}
	a.holds[pair] = sure
	return sure
}

// within says whether those of s are in by: as the subject of a guardrail, which what is not known matches, or as an
// exception, which it does not.
func (s Subject) within(by Subject, unknown bool) certainty {
	if by.Everyone {
		return always
	}
	declares := s.AllowDeclared && len(by.Models) > 0
	switch {
	case apartIn(s.Agents, by.Agents), apartUsers(s.Users, by.Users):
		return never
	case apartIn(s.Models, by.Models) && (!declares || !unknown): // a guardrail matches whoever only declares a model
		return never
	}
	if _, own, ok := s.split(by); ok && own.isZero() && (unknown || by.AllowDeclared || !declares) {
		return always
	}
	return perhaps
}

// apartIn reports whether two lists of names, without any pattern, have none in common.
func apartIn(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, isGlob) || slices.ContainsFunc(b, isGlob) {
		return false
	}
	return !slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

// apartUsers is apartIn for users, where a subject of any issuer may be that of one.
func apartUsers(a, b []string) bool {
	subjects := func(list []string) []string {
		out := make([]string, len(list))
		for i, u := range list {
			_, out[i], _ = splitUser(u)
		}
		return out
	}
	if slices.ContainsFunc(a, isGlob) || slices.ContainsFunc(b, isGlob) {
		return false
	}
	return apartIn(subjects(a), subjects(b))
}

// Access goes through everything on a server that a grant lets p call with some arguments, were nothing else in the way,
// in order: what is in the way of it, and what it depends on.
func (ix *Index) Access(server string, p *Principal, now time.Time) iter.Seq[Effective] {
	return func(yield func(Effective) bool) {
		s := ix.servers[server]
		if s == nil || p == nil {
			return
		}
		asked := question{request: Request{Server: server, Principal: p, Now: now}, listing: true}
		t := tracer{index: ix, question: asked, caller: ix.terms.resolve(p, nil)}
		for i := range s.Tools {
			t.Steps = t.Steps[:0]
			t.request.Kind, t.request.Name = s.Tools[i].Kind, s.Tools[i].Name
			t.rules(s, &s.Tools[i])
			if e := effective(s.Server, &s.Tools[i], t.Steps); len(e.Grants) > 0 && !yield(e) {
				return
			}
		}
	}
}

// effective sums up the steps of a tool.
func effective(s *Server, tool *Tool, steps []Step) Effective {
	e := Effective{Server: s, Tool: tool, Outcome: Allow, Reason: ReasonAllowed}
	sure := false // a grant does not ask about the arguments
	for i := range steps {
		switch step := &steps[i]; step.Rule {
		case "grant":
			if step.Matched() {
				e.Grants = append(e.Grants, step.Index)
				sure = sure || !step.open
			}
		case "guardrail":
			e.restrain(step)
		}
	}
	e.Depends = e.Depends || !sure
	switch {
	case s.State != Active:
		return e.deny(ReasonSuspended)
	case tool.Held:
		return e.deny(ReasonDrifted)
	case e.Outcome == Deny:
		return e.deny(e.Reason)
	}
	return e
}

// restrain takes a guardrail into account that perhaps holds.
func (e *Effective) restrain(step *Step) {
	rule := step.Guardrail
	switch {
	case rule.Effect.counts() || step.Ruling == RulingMet && !step.open || step.Ruling == RulingMiss && !step.open:
		return
	case step.open, rule.Effect.MFA, rule.Effect.StepUp != nil: // known when somebody calls, or to be had by signing in again
		e.Depends = true
	case step.Ruling == RulingHold && e.Outcome == Allow:
		e.Outcome, e.Reason = Hold, ReasonApprovalRequired
	case step.Ruling == RulingDeny && e.Outcome != Deny:
		e.Outcome, e.Reason = Deny, ReasonRequirementNotMet
		if rule.Effect.Deny {
			e.Reason = ReasonDeniedByGuardrail
		}
	}
	e.Guardrails = append(e.Guardrails, step.Index)
}

// Granting returns the grants that reach what r names, whoever r is from and whenever.
func (ix *Index) Granting(r Request) []*Grant {
	s := ix.servers[r.Server]
	var indexes []int
	for _, i := range ix.candidates(s, r) {
		indexes = append(indexes, s.Tools[i].Grants...)
	}
	slices.Sort(indexes)
	var grants []*Grant
	for _, g := range slices.Compact(indexes) {
		grants = append(grants, &ix.document.Grants[g])
	}
	return grants
}
