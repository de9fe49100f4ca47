package policy_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"countersign/policy"
)

// floor is the hash index that one would write by hand for the world of the
// benchmark and nothing else: subjects × patterns, with neither windows nor
// exceptions, agents, models, nor a document to point into. Decide is measured
// against it in the same run.
type floor struct {
	subjects map[string]uint64
	servers  map[string][2]uint64 // server, team
	tools    map[string]uint64
	grants   map[uint64]struct{} // subject<<40 | scope<<16 | tool, where scope is a server, a team or 0
	risks    map[uint64]policy.Risk
	classes  map[uint64]uint8 // of a subject: which of the five forms its grants have
}

func newFloor(src policy.Source) *floor {
	f := &floor{
		subjects: map[string]uint64{}, servers: map[string][2]uint64{}, tools: map[string]uint64{},
		grants: map[uint64]struct{}{}, risks: map[uint64]policy.Risk{}, classes: map[uint64]uint8{},
	}
	number := func(in map[string]uint64, name string) uint64 {
		if _, ok := in[name]; !ok {
			in[name] = uint64(len(in) + 1)
		}
		return in[name]
	}
	scopes := map[string]uint64{"*": 0}
	for _, s := range src.Servers {
		team, _, _ := strings.Cut(s.Name, "/")
		ids := [2]uint64{number(scopes, s.Name), number(scopes, team+"/*")}
		f.servers[s.Name] = ids
		for _, t := range s.Tools {
			f.risks[ids[0]<<16|number(f.tools, t.Name)] = t.Risk
		}
	}
	for _, g := range src.Grants {
		who := "*"
		if !g.Subject.Everyone {
			who = strings.Join(append(g.Subject.Users, g.Subject.Groups...), "")
		}
		var tool uint64
		class := uint8(1)
		if len(g.Resource.Names) > 0 {
			tool = f.tools[g.Resource.Names[0]]
			class = 2
		}
		subject := number(f.subjects, who)
		f.grants[subject<<40|scopes[g.Resource.Servers[0]]<<16|tool] = struct{}{}
		f.classes[subject] |= class
	}
	return f
}

func (f *floor) decide(r policy.Request) policy.Outcome {
	s, ok := f.servers[r.Server]
	tool := f.tools[r.Name]
	if !ok || tool == 0 {
		return policy.Deny
	}
	if !f.allows(r.Principal.Subject, s, tool) && !f.allowsAny(r.Principal.Groups, s, tool) && !f.allows("*", s, tool) {
		return policy.Deny
	}
	if f.risks[s[0]<<16|tool] == policy.Destructive {
		return policy.Hold
	}
	return policy.Allow
}

func (f *floor) allowsAny(subjects []string, s [2]uint64, tool uint64) bool {
	for _, name := range subjects {
		if f.allows(name, s, tool) {
			return true
		}
	}
	return false
}

func (f *floor) allows(name string, s [2]uint64, tool uint64) bool {
	subject := f.subjects[name]
	if subject == 0 {
		return false
	}
	class := f.classes[subject]
	for _, scope := range [...]uint64{s[0], s[1], 0} {
		if class&1 != 0 && f.has(subject<<40|scope<<16) || class&2 != 0 && f.has(subject<<40|scope<<16|tool) {
			return true
		}
	}
	return false
}

func (f *floor) has(key uint64) bool { _, ok := f.grants[key]; return ok }

func TestFloorAgrees(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	f := newFloor(bigSource(random))
	ix, _ := bigIndex(t)
	for _, r := range bigRequests(random, 8192) {
		if got, want := ix.Decide(r).Outcome, f.decide(r); got != want {
			t.Fatalf("%s: %v, the floor says %v", describe(r), got, want)
		}
	}
}

func BenchmarkFloor(b *testing.B) {
	random := rand.New(rand.NewPCG(7, 7))
	f := newFloor(bigSource(random))
	requests := bigRequests(random, 8192)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.decide(requests[i%len(requests)])
	}
}
