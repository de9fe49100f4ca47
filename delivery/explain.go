package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Question is a call that nobody makes, and the policy to hold it against.
type Question struct {
	Request policy.Request // Now: zero is the present

	// One of both says whose policy: that in force for the audience, or for the audience of the gateway. Without either it
	// is the registry as it is now, published or not, for a gateway that sees everything.
	AudienceID string
	GatewayID  string

	Draft *Draft // the registry as it is now with this in it; an audience or a gateway then only says what is seen
}

// Against says what a question was held against.
type Against string

// What a question may be held against.
const (
	AgainstRevision Against = "revision" // what gateways of the audience are told to run
	AgainstRegistry Against = "registry" // the rules as they are stored now
	AgainstDraft    Against = "draft"    // those with a draft in them
)

// Explanation is an answer.
type Explanation struct {
	policy.Trace
	Against    Against
	AudienceID string // "": one that sees everything
	Audience   string // its name
	Epoch      int64
	Revision   int64     // in force; 0 where it is not a revision
	Generation int64     // up to which generation of the registry it speaks
	At         time.Time // of the call
	Wording    policy.Wording
	Counted    []string // names of the guardrails that would count the call, sorted; none if it is denied
}

// Sentence is the verdict in words.
func (e Explanation) Sentence() string { return e.Words(e.Wording) }

// Explain says what would become of a call, by which rules, and what a caller who is denied would need. Nothing is
// called and nothing is counted. It needs identity.ReadPolicy.
//
// Problems: Invalid invalid_question with fields server, name, kind, principal, arguments; Invalid invalid_draft;
// NotFound no_such_audience, no_such_gateway; Unavailable policy_compiling while the audience has no revision yet.
func (d *Delivery) Explain(ctx context.Context, who identity.Principal, q Question) (Explanation, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Explanation{}, err
	}
	if err := q.clean(); err != nil {
		return Explanation{}, err
	}
	seer, err := d.seer(ctx, q)
	if err != nil {
		return Explanation{}, err
	}
	s, err := d.stands(ctx)
	if err != nil {
		return Explanation{}, err
	}
	if q.Request.Now.IsZero() {
		q.Request.Now = s.at
	}
	e := Explanation{AudienceID: seer.ID, Audience: seer.Name, At: q.Request.Now, Wording: policy.Wording{Teams: s.teams}}
	if seer.ID != "" && q.Draft == nil {
		return d.explainRevision(e, q)
	}
	return explainNow(e, q, s, seer.Servers)
}

// explainRevision answers by what is in force.
func (d *Delivery) explainRevision(e Explanation, q Question) (Explanation, error) {
	now := d.Current(e.AudienceID)
	if now == nil {
		return Explanation{}, problem.New(problem.Unavailable, "policy_compiling", "This audience has no policy yet. Ask again in a moment.")
	}
	e.Against, e.Epoch, e.Revision, e.Generation = AgainstRevision, now.Epoch, now.Revision, now.CompiledGeneration
	e.trace(now.Index, q)
	return e, nil
}

// explainNow answers by the registry, as those who see these servers would be served it. Only the server of the call is
// compiled: no rule reaches from one to another.
func explainNow(e Explanation, q Question, s standing, sight []string) (Explanation, error) {
	e.Against, e.Epoch, e.Generation = AgainstRegistry, s.Epoch, s.Generation
	rules := s.Snapshot
	if q.Draft != nil {
		e.Against = AgainstDraft
		var err error
		if rules, err = q.Draft.on(rules); err != nil {
			return Explanation{}, err
		}
	}
	rules.Servers = slices.DeleteFunc(slices.Clone(rules.Servers), func(server policy.Server) bool {
		return server.Name != q.Request.Server || !sees(sight, server.Name)
	})
	document, _, err := compileAll(rules, s.at)
	if err != nil {
		return Explanation{}, err
	}
	ix, err := policy.NewIndex(document)
	if err != nil {
		return Explanation{}, err
	}
	e.trace(ix, q)
	return e, nil
}

func (e *Explanation) trace(ix *policy.Index, q Question) {
	e.Trace = ix.Trace(q.Request)
	e.Counted = counting(ix.Document(), e.Verdict)
}

// seer is whose policy a question is about.
type seer struct {
	ID, Name string
	Servers  []string
}

func (d *Delivery) seer(ctx context.Context, q Question) (seer, error) {
	if q.AudienceID == "" && q.GatewayID == "" {
		return seer{Servers: []string{"*"}}, nil
	}
	rows, _ := d.pool.Query(ctx, `
		select a.id, a.name, a.servers
		from audiences a
		where (@audience = '' or a.id = @audience)
		  and (@gateway = '' or a.id = (select g.audience_id from gateways g where g.id = @gateway))`,
		pgx.StrictNamedArgs{"audience": q.AudienceID, "gateway": q.GatewayID})
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[seer])
	switch {
	case errors.Is(err, pgx.ErrNoRows) && q.GatewayID != "":
		return seer{}, problem.New(problem.NotFound, "no_such_gateway", "There is no such gateway.")
	case errors.Is(err, pgx.ErrNoRows):
		return seer{}, problem.New(problem.NotFound, "no_such_audience", "There is no such audience.")
	case err != nil:
		return seer{}, fmt.Errorf("reading the audience: %w", err)
	}
	return found, nil
}

// clean says everything that is wrong with a question, with the words that a policy test has for it.
func (q *Question) clean() error {
	invalid := problem.New(problem.Invalid, "invalid_question", "This cannot be answered yet.")
	r := &q.Request
	if r.Principal == nil {
		r.Principal = &policy.Principal{}
	}
	p := r.Principal
	given := Given{
		Server: r.Server, Kind: r.Kind, Name: r.Name, Arguments: r.Arguments,
		Principal: GivenPrincipal{
			User: p.Subject, Issuer: p.Issuer, Groups: p.Groups, Agent: p.Agent, Model: p.Model, Assurance: p.ModelAssurance, AMR: p.AMR,
			Tainted: p.Taint.Labels(),
		},
	}
	given.clean(invalid, "")
	if len(invalid.Fields) > 0 {
		return invalid
	}
	r.Kind, r.Arguments = given.Kind, given.Arguments
	if len(r.Arguments) == 0 && r.Kind == policy.KindResource {
		r.Arguments, _ = json.Marshal(map[string]string{"uri": r.Name}) // a string can be written
	}
	return nil
}
