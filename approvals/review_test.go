package approvals

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// broken is a request that eve approved alone, and its review.
func (w *world) broken(order string) Review {
	w.t.Helper()
	w.glass()
	r := w.ask(w.call(order))
	if _, err := w.queue.BreakGlass(w.t.Context(), w.eve, r.ID, emergency(r)); err != nil {
		w.t.Fatalf("BreakGlass: %v", err)
	}
	page, err := w.queue.Reviews(w.t.Context(), w.ada, ReviewFilter{Approval: r.ID})
	if err != nil || len(page.Items) != 1 {
		w.t.Fatalf("Reviews: %+v, %v", page, err)
	}
	return page.Items[0]
}

func TestCloseReview(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	v := w.broken("7")
	admin, found := w.eve, Finding{Justified: true, Note: "It was the only way."}
	admin.Roles = []identity.Role{identity.Admin}
	outsider := person("otto")
	w.exec(`insert into people (id, issuer, subject, name) values ('per_otto', $1, 'otto', 'Otto')`, idp)
	for _, c := range []struct {
		name string
		who  identity.Principal
		id   string
		f    Finding
		kind problem.Kind
		code string
	}{
		{"who broke the glass", w.eve, v.ID, found, problem.Forbidden, "own_emergency"},
		{"who broke the glass, an admin", admin, v.ID, found, problem.Forbidden, "own_emergency"},
		{"the caller", w.tomas, v.ID, found, problem.Forbidden, "own_call"},
		{"somebody else", outsider, v.ID, found, problem.Forbidden, "not_a_member"},
		{"a person who is none", identity.Principal{Kind: identity.Person, ID: "per_ada", Issuer: "x", Subject: "ada", SessionID: "s", Roles: []identity.Role{identity.Admin}}, v.ID, found, problem.Forbidden, "not_a_person"},
		{"a gateway", w.gateway, v.ID, found, problem.Forbidden, "interactive_only"},
		{"no note", w.ada, v.ID, Finding{Justified: true}, problem.Invalid, "finding_incomplete"},
		{"no review", w.ada, "rvw_none", found, problem.NotFound, "no_such_review"},
	} {
		err := w.queue.CloseReview(t.Context(), c.who, c.id, c.f)
		t.Run(c.name, func(t *testing.T) { wantProblem(t, err, c.kind, c.code) })
	}

	var closed atomic.Int32
	var all sync.WaitGroup
	for _, who := range []identity.Principal{w.ada, w.grace} {
		all.Go(func() {
			if w.queue.CloseReview(t.Context(), who, v.ID, Finding{Note: "I found nothing that was down."}) == nil {
				closed.Add(1)
			}
		})
	}
	all.Wait()
	if closed.Load() != 1 {
		t.Errorf("%d people closed the review", closed.Load())
	}
	wantProblem(t, w.queue.CloseReview(t.Context(), w.ada, v.ID, found), problem.Conflict, "review_closed")
	page, err := w.queue.Reviews(t.Context(), w.ada, ReviewFilter{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Finding != "not_justified" || page.Items[0].ClosedByName == "" || page.Items[0].MayClose {
		t.Errorf("the review is %+v, %v", page, err)
	}
	if n := read[int](w, `select count(*) from audit_events where kind = 'review.closed' and target_id = $1`, v.ID); n != 1 {
		t.Errorf("%d events of closing", n)
	}
}

func TestReviewsTurnPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for _, order := range []string{"1", "2", "3"} {
		want = append(want, w.broken(order).ID)
	}
	for _, open := range []bool{true, false} { // by the time they are due; newest first
		var got []string
		f := ReviewFilter{Open: open, Limit: 2}
		for {
			page, err := w.queue.Reviews(t.Context(), w.ada, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range page.Items {
				got = append(got, v.ID)
			}
			if f.After = page.Next; f.After == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("open only: %t: got %v, want %v", open, got, want)
		}
		slices.Reverse(want)
	}
	_, err := w.queue.Reviews(t.Context(), w.ada, ReviewFilter{After: "x"})
	wantProblem(t, err, problem.Invalid, "bad_cursor")
}

func TestOverdueReviewsAreToldOnceADay(t *testing.T) {
	t.Parallel()
	told := 0
	w := newWorld(t, func(c *Config) {
		c.Announce = func(_ context.Context, _ pgx.Tx, n Notice) error {
			if n.Topic == "review.overdue" && n.Urgent {
				told++
			}
			return nil
		}
	})
	v := w.broken("7")
	w.sweep(0)
	w.exec(`update reviews set due_at = clock_timestamp()`)
	w.sweep(1)
	w.sweep(0)
	w.exec(`update reviews set told_at = clock_timestamp() - interval '25 hours'`)
	w.sweep(1)
	if page, err := w.queue.Reviews(t.Context(), w.ada, ReviewFilter{Open: true}); err != nil || !page.Items[0].Overdue {
		t.Errorf("the review is %+v, %v", page, err)
	}
	if err := w.queue.CloseReview(t.Context(), w.ada, v.ID, Finding{Note: "late"}); err != nil {
		t.Fatal(err)
	}
	w.exec(`update reviews set told_at = clock_timestamp() - interval '25 hours'`)
	w.sweep(0)
	if told != 2 {
		t.Errorf("people were told %d times, want 2", told)
	}
}
