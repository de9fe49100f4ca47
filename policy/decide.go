package policy

import (
	"encoding/json"
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
	ReasonMFARequired       Reason = "mfa_required"        // granted, and a guardrail wants a second factor
	ReasonConditionNotMet   Reason = "condition_not_met"   // there is a grant, but its condition is not true
	ReasonRequirementNotMet Reason = "requirement_not_met" // granted, and what a guardrail requires is not true
)

// Request is a call to decide on.
type Request struct {
	Server    string // name
	Kind      Kind
	Name      string // of the tool or prompt; for a resource its URI
	Principal *Principal
	Arguments json.RawMessage // of the call, strictly read JSON: an object; none is {}. Of a resource {"uri": …}
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
	Limits     []int     // if not denied: indexes of all whose rate limit counts the call, ascending; read only
	Budgets    []int     // the same of those whose token budget counts it

	MaxResponseBytes int64 // if not denied: the least of what they limit a result to; 0: no limit
}

// Listed reports whether a list shows what was decided on. It shows what the caller could have by signing in with a
// second factor, as the answer to a call tells them to.
func (v Verdict) Listed() bool { return v.Outcome != Deny || v.Reason == ReasonMFARequired }

// Decide says what becomes of a call. It allocates nothing on a call that is
// allowed, save where several limits count it and others between them do not.
//
// Nothing is counted here: whoever executes the call does that, for each of
// Verdict.Limits, and denies it where one has no room.
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
// of both united. The limits of both count a call that is not denied. A second
// factor is asked for only where nothing else is in the way.
func (v Verdict) and(w Verdict) Verdict {
	limits := both(v.Limits, w.Limits)
	switch {
	case w.Outcome < v.Outcome, w.Outcome == Deny && v.Reason == ReasonMFARequired:
		v = w
	case w.Outcome == Hold && v.Outcome == Hold:
		all := union{approval: v.Approval}
		all.add(w.Approval, v.Server.Team)
		v.Approval = all.approval
		v.Guardrails = both(v.Guardrails, w.Guardrails)
	}
	if v.Outcome != Deny {
		v.Limits = limits
	}
	return v
}

// both returns what is in a or b, ascending.
func both(a, b []int) []int {
	if len(a) == 0 || len(b) == 0 {
		return slices.Concat(a, b)
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// Visible goes through what is listed for the principal, of one kind and in order.
func (ix *Index) Visible(serverName string, kind Kind, p *Principal, now time.Time) iter.Seq[*Tool] {
	return func(yield func(*Tool) bool) {
		s := ix.servers[serverName]
		if s == nil || s.State != Active {
			return
		}
		for i := range s.Tools {
			if s.Tools[i].Kind != kind || !ix.decide(s, i, p, now).Listed() {
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
	d := ix.demands(v.Tool, s.reaches[i].limits, &c)
	if d.denies >= 0 {
		v.Reason, v.Guardrail = ReasonDeniedByGuardrail, d.denies
		return v
	}
	if v.Grant = ix.findGrant(s.reaches[i].common, &c, now); v.Grant < 0 {
		if v.Grant = ix.findGrant(&s.reaches[i].own, &c, now); v.Grant < 0 {
			return v
		}
	}
	if d.factor >= 0 && !p.SecondFactor() {
		v.Reason, v.Guardrail = ReasonMFARequired, d.factor
		return v
	}
	v.Limits = d.limits
	if d.holds {
		ix.hold(&v, &c)
		return v
	}
	v.Outcome, v.Reason = Allow, ReasonAllowed
	return v
}

// demands are what the guardrails that match a call do to it.
type demands struct {
	denies int   // index of the first that denies, -1 if none does
	factor int   // index of the first that wants a second factor, -1 if none does
	holds  bool  // one wants an approval
	limits []int // indexes of those that count it
}

// demands goes through the guardrails of a tool; limits are those among them that limit a rate.
func (ix *Index) demands(t *Tool, limits []int, c *caller) demands {
	d := demands{denies: -1, factor: -1}
	limit := 0 // place in limits
	for _, g := range t.Guardrails {
		rule := &ix.guardrails[g]
		if rule.effect.RateLimit != nil {
			limit++
		}
		if rule.misses(c) != "" {
			continue
		}
		switch {
		case rule.effect.Deny:
			d.denies = g
			return d
		case rule.effect.RateLimit != nil:
			d.limits = chosen(d.limits, limits, limit-1)
		case rule.effect.Approval != nil:
			d.holds = true
		case d.factor < 0: // what is left demands a second factor
			d.factor = g
		}
	}
	return d
}

// chosen returns some, an ascending choice from all[:i], with all[i]. While the choice lies together it is a part of
// all, so that nothing is allocated.
func chosen(some, all []int, i int) []int {
	first := i - len(some)
	if len(some) == 0 || some[0] == all[first] {
		return all[first : i+1 : i+1]
	}
	return append(some, all[i])
}

// hold unites the approvals that the matching guardrails demand.
func (ix *Index) hold(v *Verdict, c *caller) {
	var all union
	for _, g := range v.Tool.Guardrails {
		if rule := &ix.guardrails[g]; rule.effect.Approval != nil && rule.misses(c) == "" {
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
