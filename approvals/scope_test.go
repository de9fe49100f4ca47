package approvals

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/problem"
	"countersign/policy"
)

func TestVoteWithAScope(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	limit := policy.Scope{MaxUses: 5, MaxSeconds: 600, Free: []string{"note", "order"}}
	for _, test := range []struct {
		name   string
		limit  *policy.Scope
		scope  Scope
		fields []string // that are refused; none: it is approved
	}{
		{"all there is", &limit, Scope{Uses: 5, Within: 10 * time.Minute, Free: []string{"note", "order"}}, nil},
		{"less", &limit, Scope{Uses: 1, Within: time.Second}, nil},
		{"more calls", &limit, Scope{Uses: 6, Within: time.Minute}, []string{"uses"}},
		{"no calls", &limit, Scope{Within: time.Minute}, []string{"uses"}},
		{"fewer than none", &limit, Scope{Uses: -1, Within: time.Minute}, []string{"uses"}},
		{"longer", &limit, Scope{Uses: 1, Within: 601 * time.Second}, []string{"within"}},
		{"no time", &limit, Scope{Uses: 1}, []string{"within"}},
		{"part of a second", &limit, Scope{Uses: 1, Within: 1500 * time.Millisecond}, []string{"within"}},
		{"another argument", &limit, Scope{Uses: 1, Within: time.Minute, Free: []string{"order", "amount"}}, []string{"free"}},
		{"all of it too wide", &limit, Scope{Uses: 9, Within: time.Hour, Free: []string{"x"}}, []string{"free", "uses", "within"}},
		{"where only the call can be approved", nil, Scope{Uses: 1, Within: time.Minute}, []string{"scope"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.demand(func(a *policy.Approval) { a.Scope = test.limit })
			r := w.ask(w.call(test.name))
			v := on(r, Approve)
			v.Scope = &test.scope
			_, err := w.queue.Vote(t.Context(), w.ada, r.ID, v)
			if test.fields != nil {
				p := wantProblem(t, err, problem.Invalid, "scope_too_wide")
				for _, field := range test.fields {
					if p.Fields[field] == "" {
						t.Errorf("nothing is said of %s: %v", field, p.Fields)
					}
				}
				if len(p.Fields) != len(test.fields) {
					t.Errorf("fields: %v", p.Fields)
				}
				w.wantState(r, Pending)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := read[*Scope](w, `select scope from approvals where id = $1`, r.ID); got == nil || got.Uses != test.scope.Uses || got.Within != test.scope.Within {
				t.Errorf("approved with %+v", got)
			}
		})
	}
}

// TestScopeIsWhatAllAllow has two people approve with different scopes.
func TestScopeIsWhatAllAllow(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name       string
		ada, grace *Scope
		want       *Scope
		allowances int
	}{
		{
			name: "the narrower of each",
			ada:  &Scope{Uses: 2, Within: 5 * time.Minute, Free: []string{"note", "order"}}, grace: &Scope{Uses: 3, Within: time.Minute, Free: []string{"order"}},
			want: &Scope{Uses: 2, Within: time.Minute, Free: []string{"order"}}, allowances: 1,
		},
		{name: "one allows only the call", ada: &Scope{Uses: 2, Within: time.Minute}, grace: nil},
		{name: "both allow only the call"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.demand(func(a *policy.Approval) {
				a.Quorum, a.Scope = 2, &policy.Scope{MaxUses: 5, MaxSeconds: 600, Free: []string{"note", "order"}}
			})
			r := w.ask(w.call(test.name))
			first := on(r, Approve)
			first.Scope = test.ada
			r, err := w.queue.Vote(t.Context(), w.ada, r.ID, first)
			if err != nil {
				t.Fatal(err)
			}
			second := on(r, Approve)
			second.Scope = test.grace
			if r, err = w.queue.Vote(t.Context(), w.grace, r.ID, second); err != nil || r.State != Approved {
				t.Fatalf("got %+v, %v", r, err)
			}
			if diff := cmp.Diff(test.want, read[*Scope](w, `select scope from approvals where id = $1`, r.ID)); diff != "" {
				t.Error(diff)
			}
			if n := read[int](w, `select count(*) from allowances where approval_id = $1`, r.ID); n != test.allowances {
				t.Errorf("%d allowances", n)
			}
			if n := read[int](w, `select count(*) from votes where approval_id = $1 and scope is null`, r.ID); (n == 0) != (test.want != nil) {
				t.Errorf("%d votes are kept as without a scope", n)
			}
		})
	}
}

func TestScopeOfADenialMeansNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	v := on(r, Deny)
	v.Scope = &Scope{Uses: 1000}
	if r, err := w.queue.Vote(t.Context(), w.ada, r.ID, v); err != nil || r.State != Denied {
		t.Errorf("got %+v, %v", r, err)
	}
	if !read[bool](w, `select scope is null from votes`) {
		t.Error("it is kept")
	}
}

func TestScopeAsTheDatabaseHasIt(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(Scope{Uses: 2, Within: 90 * time.Second})
	if err != nil || string(text) != `{"uses":2,"seconds":90,"free":[]}` {
		t.Errorf("%s, %v", text, err)
	}
	var s Scope
	if err := json.Unmarshal(text, &s); err != nil || s.Within != 90*time.Second || len(s.Free) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
