package policy

import (
	"cmp"
	"slices"
)

// Near is a grant that would allow if the caller had what it needs.
type Near struct {
	Grant     *Grant
	Index     int      // in the document
	Needs     []string // in words: "be in group support"; empty only if it reaches another tool
	Elsewhere []string // names of the tools of the server that it reaches, if it does not reach the one asked for
	distance  int
}

// mostNear is how many grants are told.
const mostNear = 3

// nearest returns the grants that miss by the least: those that reach what is asked for, and if there is none, those
// that reach something else of the server.
func (t *tracer) nearest(s *server, found []int) []Near {
	var near []Near
	seen := map[int]int{} // grant → place in near
	collect := func(tool *Tool, elsewhere bool) {
		t.turn(s.Server, tool)
		for _, g := range tool.Grants {
			at, known := seen[g]
			if !known {
				at = len(near)
				seen[g] = at
				near = append(near, t.near(g, elsewhere))
			}
			if elsewhere {
				near[at].Elsewhere = append(near[at].Elsewhere, tool.Name)
			}
		}
	}
	for _, i := range found {
		collect(&s.Tools[i], false)
	}
	if len(near) == 0 {
		for i := range s.Tools {
			if s.Tools[i].Kind == t.request.Kind {
				collect(&s.Tools[i], true)
			}
		}
	}
	slices.SortStableFunc(near, func(a, b Near) int { return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.Index, b.Index)) })
	return near[:min(len(near), mostNear)]
}

// near says what the caller lacks for a grant. The distance puts what can be had by asking again, or later, before what
// an agent is, and that before who one is. Whether its condition would be true of another tool is not asked.
func (t *tracer) near(g int, elsewhere bool) Near {
	rule := &t.index.document.Grants[g]
	n := Near{Grant: rule, Index: g}
	for _, miss := range t.lacks(g) {
		n.Needs = append(n.Needs, rule.need(miss, &t.request))
		n.distance += distances[miss]
	}
	if made := t.index.grants[g].condition; !elsewhere && made != nil && !t.favours(made) {
		n.Needs = append(n.Needs, t.evaluation(made).need())
		n.distance += distances[MissCondition]
	}
	return n
}

var distances = map[Miss]int{
	MissCondition: 1, MissBefore: 2, MissModel: 3, MissAgent: 4, MissGroup: 6, MissAfter: 8, MissUser: 10, MissNobody: 20,
}

// lacks returns every part of a grant that misses the caller, but for its condition.
func (t *tracer) lacks(g int) []Miss {
	var all []Miss
	rule := &t.index.grants[g]
	s := &rule.subject
	if !s.everyone {
		users := len(s.users)+len(s.userGlobs) > 0
		if users && !s.matchUser(&t.caller, false) {
			all = append(all, MissUser)
		}
		if s.groups.given() && !s.matchGroup(&t.caller, false) {
			all = append(all, MissGroup)
		}
		if s.agents.given() && !s.agents.match(t.caller.agent, t.caller.Agent, false) {
			all = append(all, MissAgent)
		}
		if s.models.given() && !s.matchModel(&t.caller, false) {
			all = append(all, MissModel)
		}
		if !users && !s.groups.given() && !s.agents.given() && !s.models.given() {
			all = append(all, MissNobody)
		}
	}
	switch now := t.request.Now; {
	case rule.NotBefore != nil && now.Before(*rule.NotBefore):
		all = append(all, MissBefore)
	case rule.NotAfter != nil && !now.Before(*rule.NotAfter):
		all = append(all, MissAfter)
	}
	return all
}
