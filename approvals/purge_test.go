package approvals

import (
	"testing"
	"time"
)

func TestPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.KeepFor = time.Hour })
	denied, young, reviewed := w.ask(w.call("old")), w.ask(w.call("young")), w.ask(w.call("reviewed"))
	for _, r := range []Request{denied, young, reviewed} {
		w.vote(w.ada, r, Deny)
	}
	waiting := w.ask(w.call("waiting"))
	w.exec(`insert into reviews (approval_id, opened_by, reason, ticket, due_at) values ($1, 'per_ada', 'fire', 'INC-1', clock_timestamp() + interval '1 day')`, reviewed.ID)
	w.exec(`update approvals set changed_at = clock_timestamp() - interval '2 hours' where id in ($1, $2, $3)`, denied.ID, reviewed.ID, waiting.ID)

	w.sweep(1)
	for _, c := range []struct {
		name string
		r    Request
		want bool
	}{{"denied long ago", denied, true}, {"denied now", young, false}, {"under review", reviewed, false}, {"waiting", waiting, false}} {
		if got := read[bool](w, `select purged_at is not null and call = '' and principal = '' from approvals where id = $1`, c.r.ID); got != c.want {
			t.Errorf("what %s is wiped: %t, want %t", c.name, got, c.want)
		}
	}
	if got := read[int](w, `select (detail ->> 'count')::int from audit_events where kind = 'approval.purged' and id > $1`, w.since); got != 1 {
		t.Errorf("the event counts %d", got)
	}
	d, err := w.queue.Detail(t.Context(), w.ada, denied.ID)
	if err != nil {
		t.Fatalf("Detail of what was wiped: %v", err)
	}
	if len(d.Arguments) != 0 || d.CallDigest != denied.CallDigest || len(d.Votes) != 1 {
		t.Errorf("what was wiped shows %d bytes of arguments, digest %s, %d votes", len(d.Arguments), d.CallDigest, len(d.Votes))
	}
	w.sweep(0)
}
