package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Reached is a pinned tool that a resource selector reaches.
type Reached struct {
	ServerID   string
	ServerName string
	Suspended  bool
	ToolID     string
	Kind       policy.Kind
	Name       string
	Risk       policy.Risk
	Held       bool
	Digest     canonical.Digest
}

// Preview says which pinned tools a resource reaches today, by the same code that compiles a grant. Tools that are
// pinned later are reached as well. It needs identity.ReadPolicy. Problem: Invalid invalid_resource.
func (r *Registry) Preview(ctx context.Context, who identity.Principal, resource policy.Resource) ([]Reached, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	invalid := problem.New(problem.Invalid, "invalid_resource", "This selects nothing yet.")
	if ruleField(invalid, "resource", resource.Validate()); len(invalid.Fields) > 0 {
		return nil, invalid
	}
	var snapshot Snapshot
	err := pgx.BeginTxFunc(ctx, r.pool, ReadOnly, func(tx pgx.Tx) (err error) {
		snapshot, err = r.SnapshotTx(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reachedBy(snapshot, resource)
}

func reachedBy(s Snapshot, resource policy.Resource) ([]Reached, error) {
	document, err := compilePreview(s, []policy.SourceGrant{probe(resource)})
	if err != nil {
		return nil, err
	}
	var out []Reached
	for _, server := range document.Servers {
		for _, t := range server.Tools {
			if len(t.Grants) == 0 {
				continue
			}
			out = append(out, Reached{
				ServerID: server.ID, ServerName: server.Name, Suspended: server.State == policy.Suspended,
				ToolID: t.ID, Kind: t.Kind, Name: t.Name, Risk: t.Risk, Held: t.Held, Digest: t.Definition,
			})
		}
	}
	return out, nil
}

// probe is a grant that points to what a resource reaches.
func probe(resource policy.Resource) policy.SourceGrant {
	return policy.SourceGrant{
		Grant:    policy.Grant{ID: "preview", Name: "preview", Subject: policy.Subject{Everyone: true}},
		Resource: resource,
	}
}

// compilePreview compiles grants for the servers of a snapshot as a publication would, to see what they reach. Its
// clock stands at the beginning, so that no grant is over.
func compilePreview(s Snapshot, grants []policy.SourceGrant) (policy.Document, error) {
	document, _, err := policy.Compile(policy.Source{
		Issuer: "preview", Audience: "preview", Epoch: s.Epoch, Generation: s.Generation, MaxStaleSeconds: 1,
		Servers: s.Servers, Grants: grants,
	}, time.Unix(0, 0))
	return document, err
}
