package policy

import (
	"iter"
	"slices"
	"time"
)

// Outcome is what becomes of a call. A greater outcome lets more happen; the zero
// value denies.
type Outcome int

// The outcomes.
const (
	Deny  Outcome = iota
	Hold          // until people approve
	Allow         // at once
)

// String returns deny, hold or allow.
func (o Outcome) String() string {
	switch o {
	case Allow:
		return "allow"
	case Hold:
		return "hold"
	default:
		return "deny"
	}
}

// MarshalText writes what String returns.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Reason says why an outcome is what it is. Its values are stable.
type Reason string

// The reasons.
const (
	ReasonAllowed           Reason = "allowed"
	ReasonApprovalRequired  Reason = "approval_required"
	ReasonUnknownServer     Reason = "unknown_server"
	ReasonUnknownTool       Reason = "unknown_tool"
	ReasonSuspended         Reason = "suspended"
	ReasonDrifted           Reason = "drifted"
	ReasonDeniedByGuardrail Reason = "denied_by_guardrail"
	ReasonNoGrant           Reason = "no_grant"
)

// Request is a call to decide on.
type Request struct {
	Server    string // name
	Kind      Kind
	Name      string // of the tool or prompt; for a resource its URI
	Principal *Principal
	Now       time.Time
}

// Verdict is the decision on a call. Its pointers are into the document, save
// Approval.
type Verdict struct {
	Outcome    Outcome
	Reason     Reason
	Server     *Server   // nil if unknown
	Tool       *Tool     // nil if unknown
	Grant      int       // index of a grant that allows; -1 if none was looked for or found
	Guardrail  int       // index of the guardrail that decided; -1 if none did
	Guardrails []int     // indexes of all that hold the call
	Approval   *Approval // if held: the strictest of what they demand, Teams in full
}

// Decide says what becomes of a call. It allocates nothing on a call that is
// allowed.
//
// A resource that is not offered by its exact URI is judged by each template it
// matches, and the strictest verdict counts, as which of them the server would
// use is not known.
func (ix *Index) Decide(r Request) Verdict {
	s := ix.servers[r.Server]
	if s == nil {
		return denied(ReasonUnknownServer)
	}
	if s.State != Active {
		v := denied(ReasonSuspended)
		v.Server = s.Server
		return v
	}
	if i, ok := s.offers(r.Kind)[r.Name]; ok {
		return ix.decide(s, i, r.Principal, r.Now)
	}
	strictest := denied(ReasonUnknownTool)
	strictest.Server = s.Server
	if r.Kind != KindResource {
		return strictest
	}
	for _, t := range s.templates {
		if !t.pattern.MatchString(r.Name) {
			continue
		}
		v := ix.decide(s, t.tool, r.Principal, r.Now)
		if strictest.Tool == nil {
			strictest = v
		} else {
			strictest = strictest.and(v)
		}
	}
	return strictest
}

func denied(why Reason) Verdict {
	return Verdict{Outcome: Deny, Reason: why, Grant: -1, Guardrail: -1}
}

// and returns the stricter of two verdicts; where both hold, v with the approvals
// of both united.
func (v Verdict) and(w Verdict) Verdict {
	switch {
	case w.Outcome < v.Outcome:
		return w
	case w.Outcome == Hold && v.Outcome == Hold:
		all := union{approval: v.Approval}
		all.add(w.Approval, v.Server.Team)
		v.Approval = all.approval
		v.Guardrails = slices.Compact(slices.Sorted(slices.Values(slices.Concat(v.Guardrails, w.Guardrails))))
	}
	return v
}

// Visible goes through what the principal may call or have held, of one kind and
// in order: what a list shows it.
func (ix *Index) Visible(serverName string, kind Kind, p *Principal, now time.Time) iter.Seq[*Tool] {
	return func(yield func(*Tool) bool) {
		s := ix.servers[serverName]
		if s == nil || s.State != Active {
			return
		}
		for i := range s.Tools {
			if s.Tools[i].Kind != kind || ix.decide(s, i, p, now).Outcome == Deny {
				continue
			}
			if !yield(&s.Tools[i]) {
				return
			}
		}
	}
}

// Granted reports whether a grant would let the principal have what r asks for, were nothing else in the way. A
// caller without one is not told why else it is refused: to them it does not exist.
func (ix *Index) Granted(r Request) bool {
	s := ix.servers[r.Server]
	if s == nil || r.Principal == nil {
		return false
	}
	var groups [32]term
	c := ix.terms.resolve(r.Principal, groups[:0])
	granted := func(i int) bool {
		return ix.findGrant(s.reaches[i].common, &c, r.Now) >= 0 || ix.findGrant(&s.reaches[i].own, &c, r.Now) >= 0
	}
	if i, ok := s.offers(r.Kind)[r.Name]; ok {
		return granted(i)
	}
	if r.Kind != KindResource {
		return false
	}
	for _, t := range s.templates {
		if t.pattern.MatchString(r.Name) && granted(t.tool) {
			return true
		}
	}
	return false
}

// decide decides on the tool at i of an active server.
func (ix *Index) decide(s *server, i int, p *Principal, now time.Time) Verdict {
	v := denied(ReasonNoGrant)
	v.Server, v.Tool = s.Server, &s.Tools[i]
	if v.Tool.Held {
		v.Reason = ReasonDrifted
		return v
	}
	if p == nil {
		return v
	}
	var groups [32]term
	c := ix.terms.resolve(p, groups[:0])
	holds := false
	for _, g := range v.Tool.Guardrails {
		rule := &ix.guardrails[g]
		if rule.misses(&c) != "" {
			continue
		}
		if rule.effect.Deny {
			v.Reason, v.Guardrail = ReasonDeniedByGuardrail, g
			return v
		}
		holds = true
	}
	if v.Grant = ix.findGrant(s.reaches[i].common, &c, now); v.Grant < 0 {
		if v.Grant = ix.findGrant(&s.reaches[i].own, &c, now); v.Grant < 0 {
			return v
		}
	}
	if holds {
		ix.hold(&v, &c)
		return v
	}
	v.Outcome, v.Reason = Allow, ReasonAllowed
	return v
}

// hold unites what the matching guardrails demand.
func (ix *Index) hold(v *Verdict, c *caller) {
	var all union
	for _, g := range v.Tool.Guardrails {
		if rule := &ix.guardrails[g]; rule.misses(c) == "" {
			all.add(rule.effect.Approval, v.Server.Team)
			v.Guardrails = append(v.Guardrails, g)
		}
	}
	v.Outcome, v.Reason = Hold, ReasonApprovalRequired
	v.Guardrail, v.Approval = v.Guardrails[0], all.approval
}

// misses reports why g does not hold for c, "" if it does.
func (g *guardrail) misses(c *caller) Miss {
	if miss := g.subject.restrains(c); miss != "" {
		return miss
	}
	if g.exempts && g.except.grants(c) == "" {
		return MissExcept
	}
	return ""
}

// misses reports why g does not allow c at a time, "" if it does.
func (g *grant) misses(c *caller, now time.Time) Miss {
	if miss := g.subject.grants(c); miss != "" {
		return miss
	}
	switch {
	case g.NotBefore != nil && now.Before(*g.NotBefore):
		return MissBefore
	case g.NotAfter != nil && !now.Before(*g.NotAfter):
		return MissAfter
	}
	return ""
}

// findGrant returns the index of a grant among r that allows c, or -1.
func (ix *Index) findGrant(r *reach, c *caller, now time.Time) int {
	for _, g := range r.open {
		if ix.grants[g].misses(c, now) == "" {
			return int(g)
		}
	}
	for _, t := range [...]term{c.user, c.qualified, c.agent, c.model} {
		if g := ix.findKeyed(r, t, c, now); g >= 0 {
			return g
		}
	}
	for _, t := range c.groups {
		if g := ix.findKeyed(r, t, c, now); g >= 0 {
			return g
		}
	}
	return -1
}

// findKeyed returns the index of a grant that t leads to and that allows c, or -1.
func (ix *Index) findKeyed(r *reach, t term, c *caller, now time.Time) int {
	if t == 0 || r.mask&(1<<(t%64)) == 0 {
		return -1
	}
	low, high := 0, len(r.keyed)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if r.keyed[middle].term < t {
			low = middle + 1
		} else {
			high = middle
		}
	}
	for ; low < len(r.keyed) && r.keyed[low].term == t; low++ {
		if g := r.keyed[low].grant; ix.grants[g].misses(c, now) == "" {
			return int(g)
		}
	}
	return -1
}
