package registry

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
	"countersign/policy"
)

// foreseen is a snapshot that the steps of a plan change, by id, without a word to the database.
type foreseen struct {
	servers    map[string]policy.Server
	grants     map[string]policy.SourceGrant
	guardrails map[string]policy.SourceGuardrail
}

// nothing is what a step foresees that leaves the policy as it is.
func nothing(*foreseen) {}

func foresee(s Snapshot) *foreseen {
	f := &foreseen{
		servers: map[string]policy.Server{}, grants: map[string]policy.SourceGrant{}, guardrails: map[string]policy.SourceGuardrail{},
	}
	for _, v := range s.Servers {
		f.servers[v.ID] = v
	}
	for _, v := range s.Grants {
		f.grants[v.ID] = v
	}
	for _, v := range s.Guardrails {
		f.guardrails[v.ID] = v
	}
	return f
}

// document compiles what is foreseen, as if one gateway saw everything.
func (f *foreseen) document() (policy.Document, error) {
	d, _, err := policy.Compile(policy.Source{
		Issuer: "plan", Audience: "plan", MaxStaleSeconds: 1,
		Servers: slices.Collect(maps.Values(f.servers)), Grants: slices.Collect(maps.Values(f.grants)),
		Guardrails: slices.Collect(maps.Values(f.guardrails)),
	}, time.Unix(0, 0))
	return d, err
}

// mostNamed is how many tools of a server a sentence names.
const mostNamed = 20

// effectsTx says what the steps of a plan make of the policy. tx sees one state of the database.
func (r *Registry) effectsTx(ctx context.Context, tx pgx.Tx, p *planner) ([]policy.Sentence, error) {
	snapshot, err := r.SnapshotTx(ctx, tx)
	if err != nil {
		return nil, err
	}
	f := foresee(snapshot)
	before, err := f.document()
	if err != nil {
		return nil, err
	}
	for _, s := range p.steps {
		s.foresee(f)
	}
	after, err := f.document()
	if err != nil {
		return nil, err
	}
	if err := p.checkSuits(&after); err != nil {
		return nil, err
	}
	wording := policy.Wording{Teams: maps.Clone(p.names), Most: mostNamed}
	for _, name := range p.made {
		wording.Teams[newTeamID(name)] = name
	}
	sentences := policy.Diff(&before, &after).Words(wording)
	if sentences == nil {
		sentences = []policy.Sentence{}
	}
	return sentences, nil
}

// newTeamID stands for the id of a team that will be made.
func newTeamID(name string) string { return "new " + strings.ToLower(name) }

// foreseeServer is what the policy has of a server after its change. A server that it has not is not callable, and
// stays so.
func (p *planner) foreseeServer(now presentServer, want desired.Server, to Location, moves bool) func(*foreseen) {
	return func(f *foreseen) {
		s, known := f.servers[now.ID]
		if !known {
			return
		}
		s.Labels, s.ClientRequests, s.State = want.Labels, requestsOf(want), string(want.State)
		if team, there := p.teams[strings.ToLower(want.Team)]; there {
			s.Team = team.ID
		} else {
			s.Team = newTeamID(want.Team)
		}
		if moves {
			s.Tools = nil
			if digest, err := to.digest(); err == nil {
				s.Endpoint = Endpoint{Location: to, Digest: digest}.policy()
			}
		}
		f.servers[now.ID] = s
	}
}
