package delivery

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// asks is a question of tomas about a tool of com.acme/orders.
func asks(tool string) Question {
	return Question{Request: policy.Request{
		Server: "com.acme/orders", Name: tool,
		Principal: &policy.Principal{Issuer: "https://idp.test", Subject: "tomas", Groups: []string{"support"}},
	}}
}

func (w *world) explain(r *replica, q Question) Explanation {
	w.t.Helper()
	e, err := r.Explain(w.ctx, w.admin, q)
	w.must(err)
	return e
}

func draftGrant(subject policy.Subject, servers ...string) policy.SourceGrant {
	return policy.SourceGrant{Grant: policy.Grant{Subject: subject}, Resource: policy.Resource{Servers: servers}}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	g := w.enrol(r, "edge", "com.acme/*")
	w.offer(r, g.Gateway, "com.acme/orders")
	grant := w.grant(r, "Tomas", "com.acme/orders")
	_, err := r.registry.CreateGrant(w.ctx, w.admin, registry.NewGrant{
		Name: "Billing", Subject: policy.Subject{Users: []string{"tomas"}, Groups: []string{"billing"}}, Resource: policy.Resource{Servers: []string{"*"}},
	})
	w.must(err)
	w.upTo(r, g.AudienceID, w.generation())

	inForce := asks("list")
	inForce.GatewayID = g.ID
	e := w.explain(r, inForce)
	if e.Outcome != policy.Allow || e.Against != AgainstRevision || e.Revision == 0 || e.Audience != "edge" || e.Deciding.ID != grant.ID || e.At.IsZero() {
		t.Errorf("explained %+v", e)
	}
	held := w.explain(r, asks("drop"))
	if held.Outcome != policy.Hold || held.Against != AgainstRegistry || held.Revision != 0 ||
		held.Sentence() != "Held until it has the approval of one person of the owning team." {
		t.Errorf("explained %+v: %s", held, held.Sentence())
	}

	without := asks("list")
	without.Draft = &Draft{EndGrants: []string{grant.ID}}
	denied := w.explain(r, without)
	if denied.Against != AgainstDraft || denied.Reason != policy.ReasonNoGrant || len(denied.Nearest) != 1 || denied.Nearest[0].Words() != "be in group billing" {
		t.Errorf("explained %+v", denied)
	}
	without.AudienceID = w.enrol(r, "other", "com.other/*").AudienceID
	if e := w.explain(r, without); e.Reason != policy.ReasonUnknownServer || e.Audience != "other" {
		t.Errorf("explained %+v", e)
	}
}

func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	_, err := r.Explain(w.ctx, identity.Principal{Kind: identity.Gateway, ID: "gtw_1"}, asks("list"))
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
	q := asks("list")
	q.GatewayID = "gtw_none"
	_, err = r.Explain(w.ctx, w.admin, q)
	wantProblem(t, err, problem.NotFound, "no_such_gateway")
	_, err = r.Explain(w.ctx, w.admin, Question{AudienceID: "aud_none", Request: asks("list").Request})
	wantProblem(t, err, problem.NotFound, "no_such_audience")
	bad := Question{Request: policy.Request{
		Kind: "thing", Name: "a\x00b", Principal: &policy.Principal{Subject: strings.Repeat("x", 3000), Groups: []string{""}, ModelAssurance: "sworn", AMR: []string{"\n"}},
		Arguments: []byte(`{"a":1,"a":2}`),
	}}
	_, err = r.Explain(w.ctx, w.admin, bad)
	p := wantProblem(t, err, problem.Invalid, "invalid_question")
	for _, field := range []string{"kind", "server", "name", "principal.user", "principal.groups", "principal.assurance", "principal.amr", "arguments"} {
		if p.Fields[field] == "" {
			t.Errorf("nothing is said of %s: %v", field, p.Fields)
		}
	}
	draft := asks("list")
	draft.Draft = &Draft{
		Grants:        []policy.SourceGrant{draftGrant(policy.Subject{}, "*"), draftGrant(policy.Subject{Everyone: true})},
		Guardrails:    []policy.SourceGuardrail{{Guardrail: policy.Guardrail{Subject: policy.Subject{Everyone: true}}, Resource: policy.Resource{Servers: []string{"*"}}}},
		EndGrants:     []string{"grt_none"},
		EndGuardrails: []string{"grd_none"},
	}
	_, err = r.Explain(w.ctx, w.admin, draft)
	p = wantProblem(t, err, problem.Invalid, "invalid_draft")
	for _, field := range []string{"grants[0].subject", "grants[1].resource.servers", "guardrails[0].effect", "end_grants[0]", "end_guardrails[0]"} {
		if p.Fields[field] == "" {
			t.Errorf("nothing is said of %s: %v", field, p.Fields)
		}
	}
}

func TestForesee(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	g := w.enrol(r, "edge", "com.acme/*")
	w.offer(r, g.Gateway, "com.acme/orders")
	grant := w.grant(r, "Tomas", "com.acme/orders")
	foresee := func(d Draft) Foresight {
		t.Helper()
		f, err := r.Foresee(w.ctx, w.admin, d)
		w.must(err)
		return f
	}
	says := func(f Foresight, want ...string) {
		t.Helper()
		var got []string
		for _, s := range f.Sentences {
			got = append(got, string(s.Kind)+": "+s.Text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("foreseen (-want +got)\n%s", diff)
		}
	}
	if f := foresee(Draft{}); !f.Nothing() || f.Generation != w.generation() {
		t.Errorf("foreseen %+v", f)
	}
	if f := foresee(Draft{Grants: []policy.SourceGrant{draftGrant(policy.Subject{Users: []string{"tomas"}}, "com.acme/orders")}}); !f.Nothing() {
		t.Errorf("a grant of what is granted: %+v", f)
	}
	says(foresee(Draft{Grants: []policy.SourceGrant{draftGrant(policy.Subject{Groups: []string{"support"}}, "com.acme/orders")}}),
		"gain: group support may call com.acme/orders: drop, list")
	changed := draftGrant(policy.Subject{Users: []string{"ben"}}, "com.acme/*")
	changed.ID = grant.ID
	says(foresee(Draft{Grants: []policy.SourceGrant{changed}}),
		"gain: user ben may call com.acme/orders: drop, list", "lose: user tomas may no longer call com.acme/orders: drop, list")
	says(foresee(Draft{EndGrants: []string{grant.ID}}), "lose: user tomas may no longer call com.acme/orders: drop, list")
	over := draftGrant(policy.Subject{Users: []string{"tomas"}}, "com.acme/gone")
	f := foresee(Draft{Grants: []policy.SourceGrant{over}})
	if !f.Nothing() || len(f.Warnings) != 1 || f.Warnings[0].Code != policy.WarnReachesNothing || len(f.Settled) != 0 {
		t.Errorf("foreseen %+v", f)
	}
	hold := policy.SourceGuardrail{
		Guardrail: policy.Guardrail{Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{Approval: &policy.Approval{Quorum: 2, Teams: []string{w.team}}}},
		Resource:  policy.Resource{Servers: []string{"*"}},
	}
	says(foresee(Draft{Guardrails: []policy.SourceGuardrail{hold}}),
		"begin: everyone: only with the approval of 2 people of team Orders, calling com.acme/orders: drop, list")
	if n := w.count(`select count(*) from grants`); n != 1 || w.generation() != foresee(Draft{}).Generation {
		t.Errorf("foreseeing left %d grants", n)
	}
	_, err := r.Foresee(w.ctx, identity.Principal{}, Draft{})
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")
}
