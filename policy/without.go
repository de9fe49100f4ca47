package policy

import (
	"cmp"
	"reflect"
	"slices"
	"time"
)

// What is left of one rule's saying beside another is judged by the patterns alone, and errs to leaving too much. A
// pattern matches whatever another does if it matches its text: where that has a *, a * of the first takes it. Of a
// condition only the text is known: what holds under one leaves of another all but where both are true.

// without returns what a gives that b does not, in parts; changed is false if that is all of a.
func (a Access) without(b Access) (rest []Access, changed bool) {
	if a.Subject.AllowDeclared && !b.Subject.AllowDeclared && len(b.Subject.Models) > 0 {
		return nil, false // those that only declare their model are not told apart
	}
	shared, own, ok := a.Subject.split(b.Subject)
	if !ok || apart(a, b) {
		return nil, false
	}
	add := func(s Subject, from, until *time.Time) {
		part := a
		part.Subject, part.NotBefore, part.NotAfter = s, from, until
		rest = append(rest, part)
	}
	if !own.isZero() {
		add(own, a.NotBefore, a.NotAfter)
	}
	if b.NotBefore != nil && (a.NotBefore == nil || a.NotBefore.Before(*b.NotBefore)) {
		add(shared, a.NotBefore, b.NotBefore)
	}
	if b.NotAfter != nil && (a.NotAfter == nil || b.NotAfter.Before(*a.NotAfter)) {
		add(shared, b.NotAfter, a.NotAfter)
	}
	switch {
	case under(a.Condition, b.Condition):
		return rest, true
	case len(rest) > 0: // parts of which only some are under a condition would be more to read than what they leave out
		return nil, false
	}
	a.Unless = sortedSet(append(slices.Clone(a.Unless), b.Condition))
	return []Access{a}, true
}

// under reports whether wide is known to be true wherever narrow is.
func under(narrow, wide string) bool { return wide == "" || wide == narrow }

// apart reports whether one of two windows ends before the other begins.
func apart(a, b Access) bool {
	ends := func(until, from *time.Time) bool { return until != nil && from != nil && !from.Before(*until) }
	return ends(a.NotAfter, b.NotBefore) || ends(b.NotAfter, a.NotBefore)
}

// without returns what a does that b does not. Only equal effects are compared, and b may except nobody whom a does not.
func (a Restraint) without(b Restraint) (rest []Restraint, changed bool) {
	if !reflect.DeepEqual(a.Effect, b.Effect) {
		return nil, false
	}
	if !b.Except.isZero() {
		more, known := Access{Subject: b.Except}.without(Access{Subject: a.Except})
		if !known || len(more) > 0 {
			return nil, false
		}
	}
	_, own, ok := a.Subject.split(b.Subject)
	switch {
	case !ok:
		return nil, false
	case under(a.Condition, b.Condition) && own.isZero():
		return nil, true
	case under(a.Condition, b.Condition):
		a.Subject = own
		return []Restraint{a}, true
	case !own.isZero():
		return nil, false
	}
	a.Unless = sortedSet(append(slices.Clone(a.Unless), b.Condition))
	return []Restraint{a}, true
}

// split parts s into those whom by matches as well, whatever they do not tell, and the others, whom it matches or not.
// Together they are s. It is not ok if nobody is known to be in the first part. Who vouches for a model is left aside.
func (s Subject) split(by Subject) (shared, own Subject, ok bool) {
	switch {
	case by.Everyone:
		return s, Subject{}, true
	case s.Everyone || by.isZero():
		return Subject{}, s, false
	}
	shared, own = s, s
	partly := false
	for _, kind := range []struct {
		mine, theirs *[]string
		in, out      *[]string
		matches      func(wide, narrow string) bool
	}{
		{&s.Users, &by.Users, &shared.Users, &own.Users, matchesUser},
		{&s.Groups, &by.Groups, &shared.Groups, &own.Groups, Glob},
		{&s.Agents, &by.Agents, &shared.Agents, &own.Agents, Glob},
		{&s.Models, &by.Models, &shared.Models, &own.Models, Glob},
	} {
		if len(*kind.theirs) == 0 {
			continue
		}
		in, out := partition(*kind.mine, func(narrow string) bool {
			return slices.ContainsFunc(*kind.theirs, func(wide string) bool { return kind.matches(wide, narrow) })
		})
		switch {
		case len(in) == 0 || len(out) > 0 && partly: // parts of two kinds cannot be said as one subject
			return Subject{}, s, false
		case len(out) > 0:
			partly = true
			*kind.in, *kind.out = in, out
		}
	}
	if !partly {
		own = Subject{}
	}
	return shared, own, true
}

// partition returns what is in and what is not, in order.
func partition(list []string, is func(string) bool) (in, out []string) {
	for _, x := range list {
		if is(x) {
			in = append(in, x)
		} else {
			out = append(out, x)
		}
	}
	return in, out
}

// matchesUser is Glob for patterns of users.
func matchesUser(wide, narrow string) bool {
	issuer, subject, qualified := splitUser(wide)
	otherIssuer, otherSubject, otherQualified := splitUser(narrow)
	if qualified && (!otherQualified || !Glob(issuer, otherIssuer)) {
		return false
	}
	return Glob(subject, otherSubject)
}

// canonical returns s with its lists sorted, each pattern once.
func (s Subject) canonical() Subject {
	s.Users, s.Groups, s.Agents, s.Models = sortedSet(s.Users), sortedSet(s.Groups), sortedSet(s.Agents), sortedSet(s.Models)
	return s
}

// canonical returns e with what is left out for what means the same.
func (e Effect) canonical() Effect {
	e.Approval, e.StepUp, e.Tainted = e.Approval.canonical(), e.StepUp.canonical(), e.Tainted.canonical()
	return e
}

// canonical leaves the first way where it is: it is what is left where many guardrails hold a call.
func (a *Approval) canonical() *Approval {
	if a == nil {
		return nil
	}
	c := *a
	c.Teams, c.StepUp = sortedSet(a.Teams), a.StepUp.canonical()
	c.DenyQuorum = unless(a.DenyQuorum, 1)
	c.PendingSeconds = unless(a.PendingSeconds, DefaultPendingSeconds)
	c.Alternatives = nil
	for _, way := range a.Alternatives {
		c.Alternatives = append(c.Alternatives, Approvers{way.Quorum, way.OwningTeam, sortedSet(way.Teams)})
	}
	slices.SortFunc(c.Alternatives, Approvers.compare)
	if f := a.Fallback; f != nil {
		c.Fallback = &Fallback{f.AfterSeconds, f.Quorum, f.OwningTeam, sortedSet(f.Teams)}
	}
	if s := a.Scope; s != nil {
		c.Scope = &Scope{s.MaxUses, s.MaxSeconds, sortedSet(s.Free)}
	}
	if b := a.BreakGlass; b != nil {
		c.BreakGlass = &BreakGlass{b.OwningTeam, sortedSet(b.Teams), unless(b.ReviewSeconds, DefaultReviewSeconds)}
	}
	return &c
}

func (s *StepUp) canonical() *StepUp {
	if s == nil {
		return nil
	}
	return &StepUp{s.MaxAgeSeconds, s.MFA, sortedSet(s.ACR)}
}

func (a Approvers) compare(b Approvers) int {
	if c := cmp.Compare(a.Quorum, b.Quorum); c != 0 {
		return c
	}
	if a.OwningTeam != b.OwningTeam {
		if a.OwningTeam {
			return -1
		}
		return 1
	}
	return slices.Compare(a.Teams, b.Teams)
}

// unless returns n, or 0 if it is what is usual.
func unless(n, usual int) int {
	if n == usual {
		return 0
	}
	return n
}

func sortedSet(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
