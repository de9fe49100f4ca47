package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/canonical"
)

// Source is what Compile reads: the registry as one audience may see it. It holds
// active and suspended servers with their pinned tools, whose Grants and
// Guardrails are empty, and the rules that have not ended.
type Source struct {
	Issuer          string
	Audience        string
	Epoch           int64
	Generation      int64 // becomes the revision
	MaxStaleSeconds int
	Servers         []Server
	Grants          []SourceGrant
	Guardrails      []SourceGuardrail
	Keys            []Key   // that have not ended, of agents that have not
	Agents          []Agent // that have not ended
}

// SourceGrant is a grant whose resource is not resolved yet.
type SourceGrant struct {
	Grant
	Resource Resource
}

// SourceGuardrail is a guardrail whose resource is not resolved yet.
type SourceGuardrail struct {
	Guardrail
	Resource Resource
}

// Compile resolves every resource to concrete tools and returns the document for
// the audience. Rules that reach none of its tools are left out, so that an
// audience learns nothing of what it may not see.
//
// It is deterministic: the order of the source does not matter, and at is only
// the time of issue. Any broken rule or server is an error, an *Error naming it
// within: a policy is compiled whole or not at all.
func Compile(src Source, at time.Time) (Document, []Warning, error) {
	d := Document{
		Format: Format, Issuer: src.Issuer, Audience: src.Audience, Epoch: src.Epoch, Revision: src.Generation,
		IssuedAt: at.UTC().Truncate(time.Second), MaxStaleSeconds: src.MaxStaleSeconds,
		Servers: make([]Server, 0, len(src.Servers)), Grants: []Grant{}, Guardrails: []Guardrail{},
	}
	for _, s := range src.Servers {
		compiled, err := compileServer(s)
		if err != nil {
			return Document{}, nil, fmt.Errorf("compiling server %q: %w", s.Name, err)
		}
		d.Servers = append(d.Servers, compiled)
	}
	slices.SortFunc(d.Servers, compareServers)
	if err := uniqueIDs(d.Servers); err != nil {
		return Document{}, nil, fmt.Errorf("compiling servers: %w", err)
	}
	r := newResolver(d.Servers)
	grants, err := d.addGrants(r, src.Grants, at)
	if err != nil {
		return Document{}, nil, err
	}
	guardrails, err := d.addGuardrails(r, src.Guardrails)
	if err != nil {
		return Document{}, nil, err
	}
	d.addAgents(src.Keys, src.Agents)
	if err := d.validate(); err != nil {
		return Document{}, nil, fmt.Errorf("compiling policy: %w", err)
	}
	return d, slices.Concat(grants, guardrails, d.unapprovable()), nil
}

// compileServer returns s in order, sharing nothing that it changes.
func compileServer(s Server) (Server, error) {
	s.Labels = slices.Compact(slices.Sorted(slices.Values(s.Labels)))
	s.ClientRequests = slices.Compact(slices.Sorted(slices.Values(s.ClientRequests)))
	tools := make([]Tool, len(s.Tools))
	copy(tools, s.Tools)
	slices.SortFunc(tools, compareTools)
	s.Tools = tools
	for i := range tools {
		t := &tools[i]
		t.Grants, t.Guardrails = nil, nil
		t.Labels = sortedSet(t.Labels)
		if len(t.InputSchema) == 0 {
			t.InputSchema = nil
			continue
		}
		limits := canonical.Limits{MaxBytes: canonical.MaxDefinitionBytes, MaxDepth: canonical.MaxDefinitionDepth}
		if err := canonical.Check(t.InputSchema, limits); err != nil {
			return Server{}, fmt.Errorf("input schema of %s %q: %w", t.Kind, t.Name, err)
		}
	}
	return s, nil
}

func uniqueIDs(servers []Server) error {
	seen := make(map[string]bool, len(servers))
	for _, s := range servers {
		if seen[s.ID] {
			return wrong("id", "is that of two servers")
		}
		seen[s.ID] = true
	}
	return nil
}

// addGrants adds those grants that reach a tool.
func (d *Document) addGrants(r *resolver, grants []SourceGrant, at time.Time) ([]Warning, error) {
	var warnings []Warning
	for _, g := range sortedByID(grants, func(g SourceGrant) string { return g.ID }) {
		if err := validateRule(g.validate(), g.Resource); err != nil {
			return nil, fmt.Errorf("compiling grant %q: %w", g.ID, err)
		}
		g.NotBefore, g.NotAfter = inUTC(g.NotBefore), inUTC(g.NotAfter)
		reached := r.resolve(g.Resource)
		if len(reached) == 0 {
			warnings = append(warnings, reachesNothing("grant", g.ID, g.Name))
			continue
		}
		if g.NotAfter != nil && !at.Before(*g.NotAfter) {
			warnings = append(warnings, grantIsOver(g.Grant))
		}
		for _, t := range reached {
			t.Grants = append(t.Grants, len(d.Grants))
		}
		d.Grants = append(d.Grants, g.Grant)
	}
	return warnings, nil
}

// addGuardrails adds those guardrails that reach a tool.
func (d *Document) addGuardrails(r *resolver, guardrails []SourceGuardrail) ([]Warning, error) {
	var warnings []Warning
	for _, g := range sortedByID(guardrails, func(g SourceGuardrail) string { return g.ID }) {
		if err := validateRule(g.validate(), g.Resource); err != nil {
			return nil, fmt.Errorf("compiling guardrail %q: %w", g.ID, err)
		}
		reached := r.resolve(g.Resource)
		if len(reached) == 0 {
			warnings = append(warnings, reachesNothing("guardrail", g.ID, g.Name))
			continue
		}
		for _, t := range reached {
			t.Guardrails = append(t.Guardrails, len(d.Guardrails))
		}
		d.Guardrails = append(d.Guardrails, g.Guardrail)
	}
	return warnings, nil
}

func validateRule(rule error, resource Resource) error {
	if rule != nil {
		return rule
	}
	if err := resource.Validate(); err != nil {
		return inField("resource", err)
	}
	return nil
}

func sortedByID[T any](rules []T, id func(T) string) []T {
	sorted := slices.Clone(rules)
	slices.SortFunc(sorted, func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	return sorted
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}

// resolver finds the tools that a resource names.
type resolver struct {
	servers  []Server
	lower    []string               // names, lower case
	byName   map[string]int         // by lower-case name
	byTool   map[string][]toolPlace // by name, of whatever kind
	patterns map[string][]int       // what a pattern of names was found to match
	tools    []*Tool                // what was resolved last
}

// toolPlace is where a tool is: indexes of its server, and of it there.
type toolPlace struct{ server, tool int }

func newResolver(servers []Server) *resolver {
	r := &resolver{
		servers: servers, lower: make([]string, len(servers)),
		byName: make(map[string]int, len(servers)), byTool: map[string][]toolPlace{}, patterns: map[string][]int{},
	}
	for i, s := range servers {
		r.lower[i] = strings.ToLower(s.Name)
		r.byName[r.lower[i]] = i
		for j := range s.Tools {
			name := s.Tools[j].Name
			r.byTool[name] = append(r.byTool[name], toolPlace{i, j})
		}
	}
	return r
}

// resolve returns the tools of resource, each once. They are good until the next
// call.
func (r *resolver) resolve(resource Resource) []*Tool {
	r.tools = r.tools[:0]
	if len(resource.Kinds) == 0 {
		resource.Kinds = []Kind{KindTool}
	}
	if len(resource.Names) == 1 && !isGlob(resource.Names[0]) {
		r.addNamed(resource)
		return r.tools
	}
	for _, i := range r.named(resource.Servers) {
		s := &r.servers[i]
		if !resource.labelled(s) {
			continue
		}
		for j := range s.Tools {
			if t := &s.Tools[j]; resource.covers(t) {
				r.tools = append(r.tools, t)
			}
		}
	}
	return r.tools
}

// addNamed adds the tools that have the one name of resource, on the servers that its patterns and labels name.
func (r *resolver) addNamed(resource Resource) {
	places, wanted := r.byTool[resource.Names[0]], r.named(resource.Servers)
	if len(wanted) == len(r.servers) {
		for _, at := range places {
			r.addAt(at, resource)
		}
		return
	}
	for _, server := range wanted {
		i, _ := slices.BinarySearchFunc(places, server, func(at toolPlace, server int) int { return cmp.Compare(at.server, server) })
		for ; i < len(places) && places[i].server == server; i++ {
			r.addAt(places[i], resource)
		}
	}
}

func (r *resolver) addAt(at toolPlace, resource Resource) {
	s := &r.servers[at.server]
	if t := &s.Tools[at.tool]; resource.labelled(s) && resource.covers(t) {
		r.tools = append(r.tools, t)
	}
}

// labelled reports whether a server has a label that is asked for.
func (r Resource) labelled(s *Server) bool {
	return len(r.Labels) == 0 || slices.ContainsFunc(s.Labels, func(l string) bool { return anyGlob(r.Labels, l) })
}

// covers reports whether a tool, of a server that is covered, is covered.
func (r Resource) covers(t *Tool) bool {
	return slices.Contains(r.Kinds, t.Kind) &&
		(len(r.Risks) == 0 || slices.Contains(r.Risks, t.Risk)) &&
		(len(r.Names) == 0 || anyGlob(r.Names, t.Name)) &&
		(len(r.ToolLabels) == 0 || slices.ContainsFunc(t.Labels, func(l string) bool { return anyGlob(r.ToolLabels, l) }))
}

// named returns the servers that match any of patterns; no pattern matches all.
func (r *resolver) named(patterns []string) []int {
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	if len(patterns) == 1 {
		return r.matching(patterns[0])
	}
	var all []int
	for _, p := range patterns {
		all = append(all, r.matching(p)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (r *resolver) matching(pattern string) []int {
	pattern = strings.ToLower(pattern)
	if found, ok := r.patterns[pattern]; ok {
		return found
	}
	var found []int
	if i, ok := r.byName[pattern]; ok {
		found = []int{i}
	} else if isGlob(pattern) {
		for i, name := range r.lower {
			if Glob(pattern, name) {
				found = append(found, i)
			}
		}
	}
	r.patterns[pattern] = found
	return found
}
