package registry

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"countersign/desired"
	"countersign/internal/problem"
	"countersign/policy"
)

// planner compares a set with what is present. It finds everything that is wrong with the set before it gives up.
type planner struct {
	present
	set desired.Set
	PlanOptions
	invalid  *problem.Error
	steps    []planStep
	wanted   map[string]bool   // paths of what the set names
	made     map[string]string // names of teams that the set makes, by lower-case name
	compared []suitCheck
}

// planStep is one change of a plan, what it makes of the policy and how it is done.
type planStep struct {
	PlannedChange
	foresee func(*foreseen)
	do      func(context.Context, *applier) error
}

// newPlanner compares. The error is a *problem.Error of the kind Invalid.
func newPlanner(now present, set desired.Set, opts PlanOptions) (*planner, error) {
	p := &planner{
		present: now, set: set, PlanOptions: opts, wanted: map[string]bool{}, made: map[string]string{},
		invalid: invalidSet(),
	}
	for _, t := range set.Teams {
		p.made[strings.ToLower(t.Name)] = t.Name
	}
	for _, t := range sortedBy(set.Teams, desired.Team.Path) {
		p.team(t)
	}
	for _, s := range sortedBy(set.Servers, desired.Server.Path) {
		p.server(s)
	}
	for _, g := range sortedBy(set.Grants, desired.Grant.Path) {
		p.grant(g)
	}
	for _, g := range sortedBy(set.Guardrails, desired.Guardrail.Path) {
		p.guardrail(g)
	}
	if opts.Prune {
		p.ends()
	}
	if len(p.invalid.Fields) > 0 {
		return nil, p.invalid
	}
	return p, nil
}

func sortedBy[T any](all []T, path func(T, string) string) []T {
	return slices.SortedFunc(slices.Values(all), func(a, b T) int { return strings.Compare(path(a, ""), path(b, "")) })
}

// add keeps a step, with its text made visible.
func (p *planner) add(s planStep) {
	s.Key, s.Name = desired.Visible(s.Key), desired.Visible(s.Name)
	p.steps = append(p.steps, s)
}

// fields takes over what a problem says of an object, by the names that a set has for its fields.
func (p *planner) fields(err error, path func(string) string) bool {
	if err == nil {
		return true
	}
	for field, message := range problem.From(err).Fields {
		p.invalid.Field(path(setField(field)), message)
	}
	return false
}

// setField is the name that a set has for a field of the registry.
func setField(field string) string {
	part, rest, deeper := strings.Cut(field, ".")
	if other, ok := map[string]string{"subject": "for", "resource": "on", "not_before": "from", "not_after": "until"}[part]; ok {
		part = other
	}
	switch {
	case part == "effect":
		return strings.Replace(rest, "pending_seconds", "pending", 1)
	case deeper:
		return part + "." + rest
	}
	return part
}

// needTeam complains of a team that there will not be.
func (p *planner) needTeam(name, path string) bool {
	_, there := p.teams[strings.ToLower(name)]
	if _, made := p.made[strings.ToLower(name)]; there || made || p.strays[name] {
		return true
	}
	p.invalid.Field(path, "There is no team "+desired.Visible(visible(name, 100))+", and the files make none of that name.")
	return false
}

func (p *planner) team(want desired.Team) {
	p.wanted[want.Path("")] = true
	now, there := p.teams[strings.ToLower(want.Name)]
	n := NewTeam{Name: want.Name, IDPGroups: slices.Clone(want.Groups), PersonIDs: now.People}
	if !p.fields(n.clean(), want.Path) {
		return
	}
	want.Name, want.Groups = n.Name, n.IDPGroups
	change := PlannedChange{Kind: Adds, What: "team", Key: want.Name, Name: want.Name}
	if !there {
		change.Fields = desired.Differences(nil, want.Fields())
		p.add(planStep{PlannedChange: change, do: func(ctx context.Context, a *applier) error { return a.createTeam(ctx, n) }, foresee: nothing})
		return
	}
	if change.Kind, change.Fields = Changes, desired.Differences(now.is.Fields(), want.Fields()); len(change.Fields) == 0 {
		return
	}
	change.Consequence = "who is asked for approvals of this team, and may change its servers, changes with it"
	p.add(planStep{PlannedChange: change, do: func(ctx context.Context, a *applier) error { return a.editTeam(ctx, now.ID, n) }, foresee: nothing})
}

func (p *planner) grant(want desired.Grant) {
	p.wanted[want.Path("")] = true
	now, there := p.grants[want.Key]
	if there && len(desired.Differences(now.is.Fields(), want.Fields())) == 0 {
		return
	}
	n := NewGrant{
		Key: want.Key, Name: want.Name, Subject: want.For, Resource: want.On, Condition: want.Condition,
		NotBefore: want.From, NotAfter: want.Until, Reason: want.Reason,
	}
	if !p.fields(n.clean(), want.Path) {
		return
	}
	want.Name, want.Reason, want.From, want.Until = n.Name, n.Reason, n.NotBefore, n.NotAfter
	change := PlannedChange{Kind: Adds, What: "grant", Key: want.Key, Name: want.Name, Fields: desired.Differences(now.is.Fields(), want.Fields())}
	source := policy.SourceGrant{
		Grant: policy.Grant{
			ID: cmp.Or(now.id, "new "+want.Key), Name: n.Name, Subject: n.Subject, Condition: n.Condition,
			NotBefore: n.NotBefore, NotAfter: n.NotAfter,
		},
		Resource: n.Resource,
	}
	foresee := func(f *foreseen) { f.grants[source.ID] = source }
	if !there {
		p.compare(n.expressions(), source.ID, want.Path)
		p.add(planStep{change, foresee, func(ctx context.Context, a *applier) error { return a.createGrant(ctx, n) }})
		return
	}
	if change.Kind = Changes; len(change.Fields) == 0 {
		return
	}
	p.compare(n.expressions().touched(change.Fields), source.ID, want.Path)
	p.add(planStep{change, foresee, func(ctx context.Context, a *applier) error { return a.changeGrant(ctx, now.id, now.version, n) }})
}

func (p *planner) guardrail(want desired.Guardrail) {
	p.wanted[want.Path("")] = true
	want = p.nameTeams(want)
	now, there := p.guardrails[want.Key]
	if there && len(desired.Differences(now.is.Fields(), want.Fields())) == 0 {
		return
	}
	n := NewGuardrail{
		Key: want.Key, Name: want.Name, Subject: want.For, Except: want.Except, Resource: want.On,
		Condition: want.Condition, Effect: want.Effect(), Reason: want.Reason,
	}
	good := p.fields(n.clean(), want.Path)
	for field, names := range n.Effect.Teams() {
		for _, name := range names {
			good = p.needTeam(name, want.Path(field)) && good
		}
	}
	if !good {
		return
	}
	want.Name, want.Reason = n.Name, n.Reason
	change := PlannedChange{Kind: Adds, What: "guardrail", Key: want.Key, Name: want.Name, Fields: desired.Differences(now.is.Fields(), want.Fields())}
	source := policy.SourceGuardrail{
		Guardrail: policy.Guardrail{
			ID: cmp.Or(now.id, "new "+want.Key), Name: n.Name, Subject: n.Subject, Except: n.Except, Condition: n.Condition,
			Effect: p.withIDs(n.Effect),
		},
		Resource: n.Resource,
	}
	foresee := func(f *foreseen) { f.guardrails[source.ID] = source }
	if !there {
		p.compare(n.expressions(), source.ID, want.Path)
		p.add(planStep{change, foresee, func(ctx context.Context, a *applier) error { return a.createGuardrail(ctx, n) }})
		return
	}
	if change.Kind = Changes; len(change.Fields) == 0 {
		return
	}
	change.NeedsPerson = loosens(change.Fields)
	p.compare(n.expressions().touched(change.Fields), source.ID, want.Path)
	p.add(planStep{change, foresee, func(ctx context.Context, a *applier) error { return a.changeGuardrail(ctx, now.id, now.version, n) }})
}

// nameTeams writes the names of teams as the registry does: in files, case does not matter.
func (p *planner) nameTeams(g desired.Guardrail) desired.Guardrail {
	g.SetEffect(g.Effect().WithTeams(func(name string) string {
		if team, there := p.teams[strings.ToLower(name)]; there {
			return team.is.Name
		}
		return name
	}))
	return g
}

// loosens reports whether a change of a guardrail is more than words. What is not proven stricter counts as looser.
func loosens(fields []desired.Difference) bool {
	return slices.ContainsFunc(fields, func(d desired.Difference) bool { return d.Name != "name" && d.Name != "reason" })
}

// withIDs gives the effect with the ids of teams in the place of their names, as a forecast has them.
func (p *planner) withIDs(e policy.Effect) policy.Effect {
	return e.WithTeams(func(name string) string {
		if team, ok := p.teams[strings.ToLower(name)]; ok {
			return team.ID
		} else if _, made := p.made[strings.ToLower(name)]; made {
			return newTeamID(name)
		}
		return name
	})
}

// ends plans the end of every rule and server that the set does not name. Teams do not end.
func (p *planner) ends() {
	for _, name := range slices.Sorted(maps.Keys(p.servers)) {
		if now := p.servers[name]; !p.rulesOnly && now.State != Retired && !p.wanted[now.is.Path("")] {
			p.retire(now)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.grants)) {
		if now := p.grants[key]; !p.wanted[now.is.Path("")] {
			p.add(planStep{
				PlannedChange{Kind: Ends, What: "grant", Key: key, Name: now.is.Name, Fields: desired.Differences(now.is.Fields(), nil)},
				func(f *foreseen) { delete(f.grants, now.id) },
				func(ctx context.Context, a *applier) error { return a.endGrant(ctx, now.id, now.is.Name, now.version) },
			})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.guardrails)) {
		if now := p.guardrails[key]; !p.wanted[now.is.Path("")] {
			p.add(planStep{
				PlannedChange{
					Kind: Ends, What: "guardrail", Key: key, Name: now.is.Name, Fields: desired.Differences(now.is.Fields(), nil),
					Consequence: "what it refused or held it refuses and holds no longer", NeedsPerson: true,
				},
				func(f *foreseen) { delete(f.guardrails, now.id) },
				func(ctx context.Context, a *applier) error {
					return a.endGuardrail(ctx, now.id, now.is.Name, now.version)
				},
			})
		}
	}
}

// unmanaged counts what the set does not name and what stays.
func (p *planner) unmanaged() Unmanaged {
	var n Unmanaged
	for _, t := range p.teams {
		n.Teams += p.absent(t.is.Path(""))
	}
	if p.Prune {
		return n
	}
	for _, s := range p.servers {
		if s.State != Retired {
			n.Servers += p.absent(s.is.Path(""))
		}
	}
	for _, g := range p.grants {
		n.Grants += p.absent(g.is.Path(""))
	}
	for _, g := range p.guardrails {
		n.Guardrails += p.absent(g.is.Path(""))
	}
	return n
}

func (p *planner) absent(path string) int {
	if p.wanted[path] {
		return 0
	}
	return 1
}
