package policy

import (
	"cmp"
	"fmt"
	"slices"

	"countersign/canonical"
)

// Index is a document made ready to decide on. It is immutable: any number of
// goroutines may use it.
type Index struct {
	document   Document
	servers    map[string]*server
	terms      *terms
	grants     []grant
	guardrails []guardrail
	keys       map[canonical.Digest]int // places in Document.Keys
	models     map[string][]string      // that an agent is registered with
}

// server is a Server and what it offers, by kind and name.
type server struct {
	*Server
	tools     map[string]int // of each kind: from the name to its place in Server.Tools and in reaches
	prompts   map[string]int
	resources map[string]int
	templates []template
	reaches   []reaches
}

// reaches is how to find the grants of a tool: those that reach all of its kind
// on the server, which are kept once, and the tool's own.
type reaches struct {
	common  *reach
	own     reach
	limits  []int // those of the tool's guardrails that limit a rate, ascending
	budgets []int // those that limit what is spent
}

// offers returns what s offers of one kind.
func (s *server) offers(k Kind) map[string]int {
	switch k {
	case KindTool:
		return s.tools
	case KindPrompt:
		return s.prompts
	case KindResource:
		return s.resources
	}
	return nil
}

// reach is how to find, among some grants, those that a caller may match, without
// looking at all of them. A grant that names exact users is
// found by these, else one that names exact groups by those, and so on; what is
// left is open to anybody's try.
type reach struct {
	mask  uint64 // bit term%64 is set for each keyed term
	keyed []keyed
	open  []int32
}

type keyed struct {
	term  term
	grant int32
}

type grant struct {
	subject   subject
	condition *condition // nil: none
	*Grant
}

type guardrail struct {
	subject subject
	except  subject
	exempts bool // except is not empty
	effect  Effect

	condition *condition // nil: none
	require   *condition // what the effect requires; nil: nothing
}

// NewIndex validates d and indexes it; d is part of the index from then on and
// must not change. The error is an *Error within.
func NewIndex(d Document) (*Index, error) {
	if err := d.validate(); err != nil {
		return nil, fmt.Errorf("indexing policy: %w", err)
	}
	ix := &Index{
		document: d, servers: make(map[string]*server, len(d.Servers)), terms: newTerms(),
		grants: make([]grant, len(d.Grants)), guardrails: make([]guardrail, len(d.Guardrails)),
	}
	if err := ix.indexRules(); err != nil {
		return nil, fmt.Errorf("indexing policy: %w", err)
	}
	ix.indexAgents()
	for i := range d.Servers {
		ix.servers[d.Servers[i].Name] = ix.newServer(&d.Servers[i])
	}
	return ix, nil
}

// indexRules makes the rules of the document ready to match.
func (ix *Index) indexRules() error {
	conditions := conditions{}
	for i := range ix.document.Grants {
		g := &ix.document.Grants[i]
		condition, err := conditions.compile(g.Condition)
		if err != nil {
			return inField(fmt.Sprintf("grants[%d].condition", i), err)
		}
		ix.grants[i] = grant{subject: ix.terms.subject(g.Subject), condition: condition, Grant: g}
	}
	for i := range ix.document.Guardrails {
		g := &ix.document.Guardrails[i]
		condition, err := conditions.compile(g.Condition)
		if err != nil {
			return inField(fmt.Sprintf("guardrails[%d].condition", i), err)
		}
		require, err := conditions.compile(g.Effect.Require)
		if err != nil {
			return inField(fmt.Sprintf("guardrails[%d].effect.require", i), err)
		}
		ix.guardrails[i] = guardrail{
			subject: ix.terms.subject(g.Subject), except: ix.terms.subject(g.Except),
			exempts: !g.Except.isZero(), effect: g.Effect, condition: condition, require: require,
		}
	}
	return nil
}

// Document returns the document that ix decides by. It must not be changed.
func (ix *Index) Document() *Document { return &ix.document }

func (ix *Index) newServer(s *Server) *server {
	n := &server{
		Server: s, tools: map[string]int{}, prompts: map[string]int{}, resources: map[string]int{},
		reaches: make([]reaches, len(s.Tools)),
	}
	shared := map[Kind]*reach{}
	commons := commonGrants(s.Tools)
	for k, grants := range commons {
		r := ix.newReach(grants)
		shared[k] = &r
	}
	for i := range s.Tools {
		t := &s.Tools[i]
		n.offers(t.Kind)[t.Name] = i
		if t.Kind == KindResource {
			if pattern, ok := newTemplate(t.Name); ok {
				n.templates = append(n.templates, template{tool: i, pattern: pattern})
			}
		}
		n.reaches[i] = reaches{
			common: shared[t.Kind], own: ix.newReach(without(t.Grants, commons[t.Kind])),
			limits:  ix.those(t.Guardrails, func(e *Effect) bool { return e.RateLimit != nil }),
			budgets: ix.those(t.Guardrails, func(e *Effect) bool { return e.TokenBudget != nil }),
		}
	}
	return n
}

// those returns the guardrails whose effect is of a kind.
func (ix *Index) those(guardrails []int, kind func(*Effect) bool) []int {
	var chosen []int
	for _, g := range guardrails {
		if kind(&ix.guardrails[g].effect) {
			chosen = append(chosen, g)
		}
	}
	return chosen
}

// commonGrants returns, for each kind, the grants that reach all tools of it.
func commonGrants(tools []Tool) map[Kind][]int {
	commons := map[Kind][]int{}
	for _, t := range tools {
		if common, ok := commons[t.Kind]; ok {
			commons[t.Kind] = without(common, without(common, t.Grants))
		} else {
			commons[t.Kind] = t.Grants
		}
	}
	return commons
}

// without returns those of a that are not in b; both ascend.
func without(a, b []int) []int {
	var rest []int
	for _, x := range a {
		for len(b) > 0 && b[0] < x {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != x {
			if rest == nil {
				rest = make([]int, 0, len(a))
			}
			rest = append(rest, x)
		}
	}
	return rest
}

func (ix *Index) newReach(grants []int) reach {
	if len(grants) == 0 {
		return reach{}
	}
	r := reach{keyed: make([]keyed, 0, len(grants))}
	for _, g := range grants {
		keys := ix.grants[g].subject.keys()
		if keys == nil {
			r.open = append(r.open, int32(g)) //nolint:gosec // an index of a document of at most 256 MiB
		}
		for _, t := range keys {
			r.keyed = append(r.keyed, keyed{term: t, grant: int32(g)}) //nolint:gosec // as above
			r.mask |= 1 << (t % 64)
		}
	}
	slices.SortFunc(r.keyed, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.term, b.term), cmp.Compare(a.grant, b.grant))
	})
	return r
}

// keys returns terms of which a caller must have one to match s; nil if there are
// no such terms.
func (s *subject) keys() []term {
	switch {
	case len(s.users) > 0 && len(s.userGlobs) == 0:
		return s.users
	case len(s.groups.exact) > 0 && len(s.groups.globs) == 0:
		return s.groups.exact
	case len(s.agents.exact) > 0 && len(s.agents.globs) == 0:
		return s.agents.exact
	case len(s.models.exact) > 0 && len(s.models.globs) == 0:
		return s.models.exact
	}
	return nil
}
