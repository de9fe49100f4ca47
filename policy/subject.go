package policy

import "slices"

// term stands for an exact user, group, agent or model that a rule names, so that
// matching compares numbers. The zero term is that of nothing that is named.
type term int32

// terms knows every exact name in a document.
type terms struct {
	last      term
	users     map[string]term    // of any issuer
	qualified map[[2]string]term // issuer, subject
	groups    map[string]term
	agents    map[string]term
	models    map[string]term
}

func newTerms() *terms {
	return &terms{
		users: map[string]term{}, qualified: map[[2]string]term{},
		groups: map[string]term{}, agents: map[string]term{}, models: map[string]term{},
	}
}

// intern returns the term of a name, a new one if it has none.
func intern[K comparable](t *terms, in map[K]term, name K) term {
	if known, ok := in[name]; ok {
		return known
	}
	t.last++
	in[name] = t.last
	return t.last
}

// caller is a principal with its terms. It lives on the stack of Decide.
type caller struct {
	*Principal
	user, qualified, agent, model term
	groups                        []term // those of its groups that some rule names
}

// resolve returns the caller that p is, nobody if it is nil; groups is where it keeps terms while they fit.
func (t *terms) resolve(p *Principal, groups []term) caller {
	c := caller{Principal: p, groups: groups}
	if p == nil {
		return c
	}
	if p.Subject != "" {
		c.user = t.users[p.Subject]
		c.qualified = t.qualified[[2]string{p.Issuer, p.Subject}]
	}
	if p.Agent != "" {
		c.agent = t.agents[p.Agent]
	}
	if p.Model != "" {
		c.model = t.models[p.Model]
	}
	for _, g := range p.Groups {
		if known := t.groups[g]; known != 0 {
			c.groups = append(c.groups, known)
		}
	}
	return c
}

// names is one kind of a subject: exact names as terms, and patterns.
type names struct {
	exact []term
	globs []string
}

func (n *names) given() bool { return len(n.exact)+len(n.globs) > 0 }

// userPattern is a pattern of users; issuer is empty for any.
type userPattern struct{ issuer, subject string }

// subject is a Subject made ready to match.
type subject struct {
	everyone      bool
	allowDeclared bool
	users         []term
	userGlobs     []userPattern
	groups        names
	agents        names
	models        names
}

func (t *terms) subject(s Subject) subject {
	c := subject{everyone: s.Everyone, allowDeclared: s.AllowDeclared}
	for _, p := range s.Users {
		issuer, sub, qualified := splitUser(p)
		switch {
		case isGlob(p):
			c.userGlobs = append(c.userGlobs, userPattern{issuer, sub})
		case qualified:
			c.users = append(c.users, intern(t, t.qualified, [2]string{issuer, sub}))
		default:
			c.users = append(c.users, intern(t, t.users, sub))
		}
	}
	c.groups = t.names(t.groups, s.Groups)
	c.agents = t.names(t.agents, s.Agents)
	c.models = t.names(t.models, s.Models)
	return c
}

func (t *terms) names(in map[string]term, patterns []string) names {
	var n names
	for _, p := range patterns {
		if isGlob(p) {
			n.globs = append(n.globs, p)
		} else {
			n.exact = append(n.exact, intern(t, in, p))
		}
	}
	return n
}

// Miss says which part of a rule did not match; "" is none.
type Miss string

// The misses, in the order in which the parts are looked at.
const (
	MissUser   Miss = "user"
	MissGroup  Miss = "group"
	MissAgent  Miss = "agent"
	MissModel  Miss = "model"
	MissExcept Miss = "exempt"  // the guardrail excepts this caller
	MissBefore Miss = "not_yet" // the window of the grant has not begun
	MissAfter  Miss = "over"    // the window of the grant has passed
	MissNobody Miss = "nobody"  // the rule names nobody
)

// grants reports how c misses s as the subject of a grant or of an exception:
// only what is known matches.
func (s *subject) grants(c *caller) Miss { return s.match(c, false) }

// restrains reports how c misses s as the subject of a guardrail: what is not
// known matches.
func (s *subject) restrains(c *caller) Miss { return s.match(c, true) }

func (s *subject) match(c *caller, unknown bool) Miss {
	if s.everyone {
		return ""
	}
	users := len(s.users)+len(s.userGlobs) > 0
	switch {
	case users && !s.matchUser(c, unknown):
		return MissUser
	case s.groups.given() && !s.matchGroup(c, unknown):
		return MissGroup
	case s.agents.given() && !s.agents.match(c.agent, c.Agent, unknown):
		return MissAgent
	case s.models.given() && !s.matchModel(c, unknown):
		return MissModel
	case !users && !s.groups.given() && !s.agents.given() && !s.models.given():
		return MissNobody
	}
	return ""
}

func (s *subject) matchUser(c *caller, unknown bool) bool {
	if c.Subject == "" {
		return unknown
	}
	for _, t := range s.users {
		if t == c.user || t == c.qualified {
			return true
		}
	}
	for _, p := range s.userGlobs {
		if Glob(p.subject, c.Subject) && (p.issuer == "" || Glob(p.issuer, c.Issuer)) {
			return true
		}
	}
	return false
}

// matchGroup tells a caller without groups from one whose groups nobody told: providers leave the claim out when
// somebody has too many.
func (s *subject) matchGroup(c *caller, unknown bool) bool {
	if c.Groups == nil {
		return unknown
	}
	for _, g := range c.groups {
		if slices.Contains(s.groups.exact, g) {
			return true
		}
	}
	for _, p := range s.groups.globs {
		for _, g := range c.Groups {
			if g != "" && Glob(p, g) {
				return true
			}
		}
	}
	return false
}

// matchModel looks at who vouches for the model first: a declaration proves
// nothing to a guardrail, and is enough for a grant only where that says so.
func (s *subject) matchModel(c *caller, unknown bool) bool {
	switch {
	case c.Model != "" && c.ModelAssurance == Attested:
		return s.models.match(c.model, c.Model, false)
	case unknown:
		return true
	case c.Model != "" && c.ModelAssurance == Declared && s.allowDeclared:
		return s.models.match(c.model, c.Model, false)
	}
	return false
}

// match reports whether a name, whose term is t, is among n.
func (n *names) match(t term, name string, unknown bool) bool {
	if name == "" {
		return unknown
	}
	if slices.Contains(n.exact, t) {
		return true
	}
	return anyGlob(n.globs, name)
}
