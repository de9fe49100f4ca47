package policy

// Decide says what becomes of a call. It allocates nothing on a call that is
// allowed without a condition, save where several limits count it and others
// between them do not.
//
// Nothing is counted here: whoever executes the call does that, for each of
// Verdict.Limits and Verdict.Budgets, and denies it where one has no room.
//
// A resource that is not offered by its exact URI is judged by each template it
// matches, and the strictest verdict counts, as which of them the server would
// use is not known.
func (ix *Index) Decide(r Request) Verdict { return ix.judge(question{request: r}) }

// Listing is Decide for a list, where the arguments are not known yet: what depends on them is decided in favour of the
// caller, so that Verdict.Listed shows what some call could be allowed. It is no permission to call anything.
func (ix *Index) Listing(r Request) Verdict { return ix.judge(question{request: r, listing: true}) }

func (ix *Index) judge(q question) Verdict {
	r := &q.request
	s := ix.servers[r.Server]
	if s == nil {
		return denied(ReasonUnknownServer)
	}
	if s.State != Active {
		v := denied(ReasonSuspended)
		v.Server = s.Server
		return v
	}
	var groups [32]term
	c := ix.terms.resolve(r.Principal, groups[:0])
	if i, ok := s.offers(r.Kind)[r.Name]; ok {
		return ix.decide(s, i, &c, &q)
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
		v := ix.decide(s, t.tool, &c, &q)
		if strictest.Tool == nil {
			strictest = v
		} else {
			strictest = strictest.and(v)
		}
	}
	if strictest.Outcome == Hold {
		strictest.Approval = ix.united(strictest.Guardrails, s.Team)
	}
	return strictest
}

// decide decides on the tool at i of an active server.
func (ix *Index) decide(s *server, i int, c *caller, q *question) Verdict {
	v := denied(ReasonNoGrant)
	v.Server, v.Tool = s.Server, &s.Tools[i]
	if v.Tool.Held {
		v.Reason = ReasonDrifted
		return v
	}
	if c.Principal == nil {
		return v
	}
	q.turn(v.Server, v.Tool)
	d := ix.demands(v.Tool, &s.reaches[i], c, q)
	if d.denies >= 0 {
		v.Reason, v.Guardrail = ReasonDeniedByGuardrail, d.denies
		return v
	}
	if v.Grant = ix.grantFor(s, i, c, q); v.Grant < 0 {
		if q.unmet {
			v.Reason = ReasonConditionNotMet
		}
		return v
	}
	if v.Reason, v.Guardrail = ix.refuses(v.Tool, &d, c, q); v.Reason != "" {
		if v.Reason == ReasonStepUpRequired {
			v.StepUp = ix.stepUp(v.Tool, c, q)
		}
		return v
	}
	v.Limits, v.Budgets, v.MaxResponseBytes = d.limits, d.budgets, d.response
	if d.holds {
		ix.hold(&v, c, q)
		return v
	}
	v.Outcome, v.Reason = Allow, ReasonAllowed
	return v
}

// refuses says which demand a granted call does not meet, and whose it is. A list, which shows what signing in again is
// enough for, looks at what is required first.
func (ix *Index) refuses(t *Tool, d *demands, c *caller, q *question) (Reason, int) {
	reason, by := d.signIn(c)
	if reason != "" && !q.listing {
		return reason, by
	}
	if g := ix.unmet(t, d, c, q); g >= 0 {
		return ReasonRequirementNotMet, g
	}
	return reason, by
}

// signIn says what is in the way of how the caller signed in: a second factor before all else.
func (d *demands) signIn(c *caller) (Reason, int) {
	switch {
	case d.factor >= 0 && !c.SecondFactor():
		return ReasonMFARequired, d.factor
	case d.stale >= 0:
		return ReasonStepUpRequired, d.stale
	}
	return "", -1
}

// stepUp unites what the matching guardrails want of a sign-in.
func (ix *Index) stepUp(t *Tool, c *caller, q *question) *StepUp {
	var all *StepUp
	for _, g := range t.Guardrails {
		rule := &ix.guardrails[g]
		switch {
		case rule.effect.StepUp == nil && !rule.effect.MFA || rule.misses(c, q) != "":
		case rule.effect.MFA:
			all = all.and(&StepUp{MFA: true})
		default:
			all = all.and(rule.effect.StepUp)
		}
	}
	return all
}

// unmet returns the index of the first guardrail whose requirement is not true, or -1.
func (ix *Index) unmet(t *Tool, d *demands, c *caller, q *question) int {
	if !d.requires {
		return -1
	}
	for _, g := range t.Guardrails {
		if rule := &ix.guardrails[g]; rule.require != nil && rule.misses(c, q) == "" && !q.favours(rule.require) {
			return g
		}
	}
	return -1
}

// demands are what the guardrails that match a call do to it.
type demands struct {
	denies   int   // index of the first that denies, -1 if none does
	factor   int   // index of the first that wants a second factor, -1 if none does
	stale    int   // index of the first that wants a sign-in other than the caller's, -1 if none does
	holds    bool  // one wants an approval
	requires bool  // one requires something
	limits   []int // indexes of those that limit how often it is made
	budgets  []int // indexes of those that limit what it costs
	response int64 // the least of what they limit a result to; 0: no limit
}

// demands goes through the guardrails of a tool.
func (ix *Index) demands(t *Tool, r *reaches, c *caller, q *question) demands {
	d := demands{denies: -1, factor: -1, stale: -1}
	limit, budget := 0, 0 // places in r.limits and r.budgets
	for _, g := range t.Guardrails {
		rule := &ix.guardrails[g]
		limited, budgeted := rule.effect.RateLimit != nil, rule.effect.TokenBudget != nil
		if limited {
			limit++
		}
		if budgeted {
			budget++
		}
		if rule.misses(c, q) != "" {
			continue
		}
		switch {
		case rule.effect.Deny:
			d.denies = g
			return d
		case limited:
			d.limits = chosen(d.limits, r.limits, limit-1)
		case budgeted:
			d.budgets = chosen(d.budgets, r.budgets, budget-1)
		case rule.effect.MaxResponseBytes > 0:
			d.response = least(d.response, rule.effect.MaxResponseBytes)
		case rule.require != nil:
			d.requires = true
		case rule.effect.Approval != nil:
			d.holds = true
		case rule.effect.StepUp != nil:
			if d.stale < 0 && !rule.effect.StepUp.Met(c.Principal, q.request.Now) {
				d.stale = g
			}
		case d.factor < 0: // what is left demands a second factor
			d.factor = g
		}
	}
	return d
}

// least returns the lesser of two limits to the bytes of a result, where 0 is none.
func least(a, b int64) int64 {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
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

// hold finds the guardrails that hold a call, and unites what they demand.
func (ix *Index) hold(v *Verdict, c *caller, q *question) {
	for _, g := range v.Tool.Guardrails {
		if rule := &ix.guardrails[g]; rule.effect.Approval != nil && rule.misses(c, q) == "" {
			v.Guardrails = append(v.Guardrails, g)
		}
	}
	v.Outcome, v.Reason = Hold, ReasonApprovalRequired
	v.Guardrail, v.Approval = v.Guardrails[0], ix.united(v.Guardrails, v.Server.Team)
}

// united is what some guardrails that hold a call, to a server that team owns, demand together.
func (ix *Index) united(guardrails []int, team string) *Approval {
	demands := make([]*Approval, len(guardrails))
	for i, g := range guardrails {
		demands[i] = ix.guardrails[g].effect.Approval
	}
	return unite(demands, team)
}

// misses reports why g does not hold for a call of c, "" if it does.
func (g *guardrail) misses(c *caller, q *question) Miss {
	if miss := g.subject.restrains(c); miss != "" {
		return miss
	}
	if g.exempts && g.except.grants(c) == "" {
		return MissExcept
	}
	if t := g.effect.Tainted; t != nil && (q.listing || !t.holds(c.Principal, q.request.Now)) {
		return MissTaint
	}
	if g.condition != nil && !q.restrains(g.condition) {
		return MissCondition
	}
	return ""
}

// misses reports why g does not allow a call of c, "" if it does.
func (g *grant) misses(c *caller, q *question) Miss {
	if miss := g.subject.grants(c); miss != "" {
		return miss
	}
	switch now := q.request.Now; {
	case g.NotBefore != nil && now.Before(*g.NotBefore):
		return MissBefore
	case g.NotAfter != nil && !now.Before(*g.NotAfter):
		return MissAfter
	}
	if g.condition != nil && !q.favours(g.condition) {
		return MissCondition
	}
	return ""
}

// grantFor returns the index of a grant that allows the tool at i, or -1.
func (ix *Index) grantFor(s *server, i int, c *caller, q *question) int {
	q.turn(s.Server, &s.Tools[i])
	if g := ix.findGrant(s.reaches[i].common, c, q); g >= 0 {
		return g
	}
	return ix.findGrant(&s.reaches[i].own, c, q)
}

// findGrant returns the index of a grant among r that allows the call, or -1.
func (ix *Index) findGrant(r *reach, c *caller, q *question) int {
	for _, g := range r.open {
		if ix.allows(g, c, q) {
			return int(g)
		}
	}
	for _, t := range [...]term{c.user, c.qualified, c.agent, c.model} {
		if g := ix.findKeyed(r, t, c, q); g >= 0 {
			return g
		}
	}
	for _, t := range c.groups {
		if g := ix.findKeyed(r, t, c, q); g >= 0 {
			return g
		}
	}
	return -1
}

// findKeyed returns the index of a grant that t leads to and that allows the call, or -1.
func (ix *Index) findKeyed(r *reach, t term, c *caller, q *question) int {
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
		if g := r.keyed[low].grant; ix.allows(g, c, q) {
			return int(g)
		}
	}
	return -1
}

// allows reports whether the grant at g allows the call, and notes where only its condition is in the way.
func (ix *Index) allows(g int32, c *caller, q *question) bool {
	miss := ix.grants[g].misses(c, q)
	q.unmet = q.unmet || miss == MissCondition
	return miss == ""
}
