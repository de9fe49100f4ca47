package policy

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Diff says what changes when after replaces before; nil is a policy of nothing. It is pure and deterministic. Ids and
// names of rules do not matter, nor their order.
//
// Access is what could be called: a grant on a held tool or on a suspended server gives none. What is left to a subject
// by other rules is not lost, and what it had by others is not gained, as far as the patterns tell: where the users of a
// grant were ann and ben and are ann, it is ben who loses. So with guardrails of one effect. What two conditions have in
// common is not known: where one takes the place of another, what begins is told with where it held already.
func Diff(before, after *Document) Changes {
	d := differ{
		access:     newSayings(Access.without, func(a Access) bool { return asksOffer(a.Condition) }),
		restraints: newSayings(Restraint.without, func(r Restraint) bool { return asksOffer(r.Condition) || asksOffer(r.Effect.Require) }),
	}
	was, is := d.read(before), d.read(after)
	c := Changes{AppearServers: missing(is.servers, was.servers), VanishServers: missing(was.servers, is.servers)}
	names := slices.Collect(maps.Keys(was.tools))
	for name := range is.tools {
		if was.tools[name] == nil {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, ToolName.compare)
	for _, name := range names {
		d.compare(&c, name, was.tools[name], is.tools[name])
	}
	c.GainKeys, c.LoseKeys = keysWithout(after, before), keysWithout(before, after)
	c.GainRequests, c.LoseRequests = requestsWithout(after, before), requestsWithout(before, after)
	c.GainModels, c.LoseModels = modelsWithout(after, before), modelsWithout(before, after)
	for _, s := range d.access.changed() {
		c.Gains, c.Loses = addAccess(c.Gains, s.what, s.begins), addAccess(c.Loses, s.what, s.ends)
	}
	for _, s := range d.restraints.changed() {
		c.Begins, c.Stops = addRestraint(c.Begins, s.what, s.begins), addRestraint(c.Stops, s.what, s.ends)
	}
	return c
}

func addAccess(to []Access, a Access, tools []ToolName) []Access {
	if len(tools) == 0 {
		return to
	}
	a.Tools = tools
	return append(to, a)
}

func addRestraint(to []Restraint, r Restraint, tools []ToolName) []Restraint {
	if len(tools) == 0 {
		return to
	}
	r.Tools = tools
	return append(to, r)
}

// missing returns what is in a and not in b, sorted.
func missing(a, b map[string]bool) []string {
	var names []string
	for name := range a {
		if !b[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// differ compares two editions by what their rules say.
type differ struct {
	access     sayings[Access]
	restraints sayings[Restraint]
}

// edition is one of the two policies.
type edition struct {
	servers map[string]bool
	tools   map[ToolName]*offer
}

// offer is what an edition says of a tool: places in sayings, ascending.
type offer struct {
	risk       Risk
	facts      string // what expressions can ask of it and its server, beside their names
	access     []int
	restraints []int
}

func (d *differ) read(doc *Document) edition {
	e := edition{servers: map[string]bool{}, tools: map[ToolName]*offer{}}
	if doc == nil {
		return e
	}
	grants, guardrails := make([]int, len(doc.Grants)), make([]int, len(doc.Guardrails))
	for i, g := range doc.Grants {
		grants[i] = d.access.place(Access{
			Subject: g.Subject.canonical(), NotBefore: inUTC(g.NotBefore), NotAfter: inUTC(g.NotAfter), Condition: g.Condition,
		})
	}
	for i, g := range doc.Guardrails {
		guardrails[i] = d.restraints.place(Restraint{
			Subject: g.Subject.canonical(), Except: g.Except.canonical(), Condition: g.Condition, Effect: g.Effect.canonical(),
		})
	}
	for i := range doc.Servers {
		s := &doc.Servers[i]
		e.servers[s.Name] = true
		facts := strings.Join(append([]string{s.Team}, s.Labels...), "\x00")
		for j := range s.Tools {
			t := &s.Tools[j]
			o := &offer{risk: t.Risk, facts: strings.Join(append([]string{string(t.Risk), facts}, t.Labels...), "\x00"), restraints: placesOf(t.Guardrails, guardrails)}
			if s.State == Active && !t.Held {
				o.access = placesOf(t.Grants, grants)
			}
			e.tools[ToolName{s.Name, t.Kind, t.Name}] = o
		}
	}
	return e
}

func placesOf(rules, places []int) []int {
	all := make([]int, len(rules))
	for i, rule := range rules {
		all[i] = places[rule]
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// compare notes what changes about one tool, which one of was and is may not have.
func (d *differ) compare(c *Changes, name ToolName, was, is *offer) {
	switch {
	case was == nil:
		c.Appears = append(c.Appears, name)
		was = &offer{}
	case is == nil: // its guardrails go with it, which is no loosening
		c.Vanishes = append(c.Vanishes, name)
		is = &offer{facts: was.facts, restraints: was.restraints}
	case was.risk != is.risk:
		c.Risks = append(c.Risks, RiskChange{name, was.risk, is.risk})
	}
	turned := was.facts != is.facts
	d.access.compare(name, was.access, is.access, turned)
	d.restraints.compare(name, was.restraints, is.restraints, turned)
}

// sayings are the different things that rules say, and the tools where each begins or ends.
type sayings[T any] struct {
	all    []saying[T]
	places map[string]int // by key
	rest   func(a, b T) (rest []T, changed bool)
	asks   func(T) bool     // whether it says something else where the tool or its server are others
	known  map[[2]int][]int // what rest returned for two places, if something changed
}

type saying[T any] struct {
	key          string // its JSON
	what         T
	asks         bool
	begins, ends []ToolName
}

func newSayings[T any](rest func(a, b T) ([]T, bool), asks func(T) bool) sayings[T] {
	return sayings[T]{places: map[string]int{}, rest: rest, asks: asks, known: map[[2]int][]int{}}
}

// asksOffer reports whether an expression asks about the tool or its server.
func asksOffer(expr string) bool {
	if expr == "" {
		return false
	}
	c, err := compileCondition(expr)
	return err != nil || c.usesOffer
}

// place returns where what is in all.
func (s *sayings[T]) place(what T) int {
	text, _ := json.Marshal(what) // Access or Restraint, which have nothing that cannot be written
	key := string(text)
	at, known := s.places[key]
	if !known {
		at = len(s.all)
		s.places[key] = at
		s.all = append(s.all, saying[T]{key: key, what: what, asks: s.asks(what)})
	}
	return at
}

// compare notes what is said of a tool in one edition only. If the tool or its server have turned into others, what asks
// about them is no longer the same in both.
func (s *sayings[T]) compare(name ToolName, was, is []int, turned bool) {
	wasToo, isToo := was, is
	if turned {
		asks := func(i int) bool { return s.all[i].asks }
		wasToo, isToo = slices.DeleteFunc(slices.Clone(was), asks), slices.DeleteFunc(slices.Clone(is), asks)
	}
	for _, i := range s.without(is, wasToo) {
		s.all[i].begins = append(s.all[i].begins, name)
	}
	for _, i := range s.without(was, isToo) {
		s.all[i].ends = append(s.all[i].ends, name)
	}
}

// without returns the places of what a says and b does not, each once.
func (s *sayings[T]) without(a, b []int) []int {
	if slices.Equal(a, b) {
		return nil
	}
	var left []int
	for _, i := range a {
		if _, found := slices.BinarySearch(b, i); found {
			continue
		}
		rest := []int{i}
		for _, other := range b {
			var next []int
			for _, r := range rest {
				next = append(next, s.less(r, other)...)
			}
			rest = next
		}
		left = append(left, rest...)
	}
	slices.Sort(left)
	return slices.Compact(left)
}

// less returns the places of what is left of what is at i beside what is at other.
func (s *sayings[T]) less(i, other int) []int {
	pair := [2]int{i, other}
	if rest, known := s.known[pair]; known {
		return rest
	}
	parts, changed := s.rest(s.all[i].what, s.all[other].what)
	if !changed {
		return []int{i}
	}
	rest := make([]int, 0, len(parts))
	for _, p := range parts {
		rest = append(rest, s.place(p))
	}
	s.known[pair] = rest
	return rest
}

// changed returns what begins or ends anywhere, in an order that is always the same.
func (s *sayings[T]) changed() []saying[T] {
	changed := slices.DeleteFunc(slices.Clone(s.all), func(x saying[T]) bool { return len(x.begins)+len(x.ends) == 0 })
	slices.SortFunc(changed, func(a, b saying[T]) int { return cmp.Compare(a.key, b.key) })
	return changed
}

// keysWithout returns the keys of a that b has not, or has with another meaning; sorted as those of a.
func keysWithout(a, b *Document) []Key {
	if a == nil {
		return nil
	}
	had := map[Key]bool{}
	if b != nil {
		for _, k := range b.Keys {
			had[k] = true
		}
	}
	var rest []Key
	for _, k := range a.Keys {
		if !had[k] {
			rest = append(rest, k)
		}
	}
	return rest
}

// modelsWithout returns the models of the agents of a that these have not in b.
func modelsWithout(a, b *Document) []Agent {
	if a == nil {
		return nil
	}
	had := map[string][]string{}
	if b != nil {
		for _, agent := range b.Agents {
			had[agent.Agent] = agent.Models
		}
	}
	var rest []Agent
	for _, agent := range a.Agents {
		models := slices.DeleteFunc(slices.Clone(agent.Models), func(m string) bool { return slices.Contains(had[agent.Agent], m) })
		if len(models) > 0 {
			rest = append(rest, Agent{Agent: agent.Agent, Models: models})
		}
	}
	return rest
}
