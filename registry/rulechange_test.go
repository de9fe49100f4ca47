package registry

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestChangingAGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := NewGrant{Key: "readers", Name: "Readers", Subject: policy.Subject{Groups: []string{"a", "b"}}, Resource: policy.Resource{Servers: []string{"com.acme/*"}}}
	made, err := w.CreateGrant(w.ctx, w.admin, n)
	w.must(err)
	before := w.generation()

	same := n
	same.Subject.Groups, same.Key = []string{"b", "a"}, ""
	got, err := w.ChangeGrant(w.ctx, w.admin, made.ID, made.Version, same)
	w.must(err)
	if got.Version != made.Version || w.generation() != before {
		t.Error("to say what is there already is a change")
	}
	n.Key, n.Name, n.NotAfter, n.Reason = "", " Readers of orders ", soon(time.Hour), "Ticket 9"
	n.Resource.Names = []string{"get_*"}
	got, err = w.ChangeGrant(w.ctx, w.machine(), made.ID, made.Version, n)
	w.must(err)
	want := made
	want.Name, want.Reason, want.Resource, want.NotAfter, want.Version = "Readers of orders", "Ticket 9", n.Resource, truncated(n.NotAfter), made.Version+1
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w.generation() != before+1 || w.events("grant.changed") != 1 {
		t.Errorf("generation %d, %d events", w.generation(), w.events("grant.changed"))
	}

	refused := func(who identity.Principal, id string, version int64, kind problem.Kind, code string, change func(*NewGrant)) {
		t.Helper()
		bad := n
		bad.Name = "Other"
		change(&bad)
		_, err := w.ChangeGrant(w.ctx, who, id, version, bad)
		wantProblem(t, err, kind, code)
	}
	as := func(*NewGrant) {}
	refused(w.admin, made.ID, made.Version, problem.Conflict, "grant_changed", as)
	refused(w.admin, "grt_nobody", 1, problem.NotFound, "no_such_grant", as)
	refused(w.viewer, made.ID, got.Version, problem.Forbidden, "not_allowed", as)
	refused(w.edge, made.ID, got.Version, problem.Forbidden, "not_for_gateways", as)
	refused(w.admin, made.ID, got.Version, problem.Invalid, "invalid_grant", func(n *NewGrant) { n.Key = "writers" })
	refused(w.admin, made.ID, got.Version, problem.Invalid, "invalid_grant", func(n *NewGrant) { n.Subject = policy.Subject{} })
	_, err = w.EndGrant(w.ctx, w.admin, made.ID, got.Version, "")
	w.must(err)
	refused(w.admin, made.ID, got.Version+1, problem.Conflict, "grant_changed", as)
	if w.events("grant.changed") != 1 {
		t.Error("a refused change was written")
	}
}

func TestChangingAGuardrail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := NewGuardrail{
		Name: "Freeze", Subject: everyone(), Resource: policy.Resource{Servers: []string{"com.acme/*"}}, Effect: paced(10, 60),
	}
	made, err := w.CreateGuardrail(w.ctx, w.admin, n)
	w.must(err)
	before := w.generation()

	n.Name, n.Reason = "Slow", "Ticket 9"
	words, err := w.ChangeGuardrail(w.ctx, w.machine(), made.ID, made.Version, n)
	w.must(err)
	if words.Name != "Slow" || words.Version != made.Version+1 || w.generation() != before+1 {
		t.Errorf("the words became %+v", words)
	}
	for what, change := range map[string]func(*NewGuardrail){
		"a wider limit":    func(n *NewGuardrail) { n.Effect = paced(11, 60) },
		"a narrower limit": func(n *NewGuardrail) { n.Effect = paced(9, 60) },
		"an exception":     func(n *NewGuardrail) { n.Except.Groups = []string{"me"} },
		"fewer tools":      func(n *NewGuardrail) { n.Resource.Names = []string{"x"} },
		"fewer callers":    func(n *NewGuardrail) { n.Subject = policy.Subject{Groups: []string{"x"}} },
		"another effect":   func(n *NewGuardrail) { n.Effect = policy.Effect{Deny: true} },
	} {
		changed := n
		change(&changed)
		_, err := w.ChangeGuardrail(w.ctx, w.machine(), made.ID, words.Version, changed)
		if p := problem.From(err); p.Code != "interactive_only" {
			t.Errorf("%s by a machine: %v", what, err)
		}
	}
	n.Effect = policy.Effect{Deny: true}
	_, err = w.ChangeGuardrail(w.ctx, w.admin, made.ID, made.Version, n)
	wantProblem(t, err, problem.Conflict, "guardrail_changed")
	_, err = w.ChangeGuardrail(w.ctx, w.viewer, made.ID, words.Version, n)
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.ChangeGuardrail(w.ctx, w.admin, "grd_nobody", 1, n)
	wantProblem(t, err, problem.NotFound, "no_such_guardrail")
	n.Key = "other"
	_, err = w.ChangeGuardrail(w.ctx, w.admin, made.ID, words.Version, n)
	wantProblem(t, err, problem.Invalid, "invalid_guardrail")
	n.Key = made.Key
	got, err := w.ChangeGuardrail(w.ctx, w.admin, made.ID, words.Version, n)
	w.must(err)
	if !got.Effect.Deny || got.Effect.RateLimit != nil || w.generation() != before+2 || w.events("guardrail.changed") != 2 {
		t.Errorf("became %+v at generation %d", got, w.generation())
	}
	again, err := w.ChangeGuardrail(w.ctx, w.machine(), made.ID, got.Version, n)
	w.must(err)
	if again.Version != got.Version || w.generation() != before+2 {
		t.Error("to say what is there already is a change")
	}
}

func paced(calls, seconds int) policy.Effect {
	return policy.Effect{RateLimit: &policy.RateLimit{Calls: calls, Seconds: seconds}}
}

// TestOneOfManyChanges has several people change what they all read: one does.
func TestOneOfManyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := NewGrant{Name: "Readers", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}}
	made, err := w.CreateGrant(w.ctx, w.admin, n)
	w.must(err)
	var wait sync.WaitGroup
	var done atomic.Int32
	for i := range 8 {
		wait.Go(func() {
			mine := n
			mine.Reason = string(rune('a' + i))
			switch _, err := w.ChangeGrant(w.ctx, w.admin, made.ID, made.Version, mine); {
			case err == nil:
				done.Add(1)
			case problem.From(err).Code != "grant_changed":
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if done.Load() != 1 || w.events("grant.changed") != 1 {
		t.Errorf("%d changed it, %d events", done.Load(), w.events("grant.changed"))
	}
}
