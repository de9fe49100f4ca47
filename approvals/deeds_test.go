package approvals

import (
	"testing"

	"countersign/identity"
)

// What the page offers is what would be done.
func TestDeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`update gateways set kind = 'embedded' where id = $1`, gateway)
	lost := w.lost("lost", "red_1")
	origin := w.origin(3, "order")
	use := w.ask(w.callOf(map[string]any{"order": 2, "dry": false}))
	broken := w.broken("broken")
	waiting := w.ask(w.call("waiting"))
	deeds := func(who identity.Principal, id string) Deeds {
		d, err := w.queue.Detail(t.Context(), who, id)
		if err != nil {
			t.Fatalf("Detail: %v", err)
		}
		return d.Deeds
	}
	for _, c := range []struct {
		name string
		got  bool
		want bool
	}{
		{"eve breaks the glass", deeds(w.eve, waiting.ID).Alone.May, true},
		{"ada does not", deeds(w.ada, waiting.ID).Alone.May, false},
		{"nobody does when it is approved", deeds(w.eve, broken.ApprovalID).Alone.May, false},
		{"the caller cancels", deeds(w.tomas, waiting.ID).MayCancel, true},
		{"nobody else does", deeds(w.ada, waiting.ID).MayCancel, false},
		{"the caller is shown the token", deeds(w.tomas, use.ID).MayReveal, true},
		{"nobody else is", deeds(w.ada, use.ID).MayReveal, false},
		{"not before it is approved", deeds(w.tomas, waiting.ID).MayReveal, false},
		{"ada settles", deeds(w.ada, lost.ID).MaySettle, true},
		{"the caller does not", deeds(w.tomas, lost.ID).MaySettle, false},
		{"not what is known", deeds(w.ada, use.ID).MaySettle, false},
		{"an emergency has a review", deeds(w.ada, broken.ApprovalID).Review != nil, true},
		{"no other has", deeds(w.ada, use.ID).Review == nil, true},
		{"the origin has an allowance", deeds(w.ada, origin.ID).Allowance.ID == deeds(w.ada, use.ID).Allowance.ID, true},
		{"which it opened", deeds(w.ada, origin.ID).Used, false},
		{"and the use used", deeds(w.ada, use.ID).Used, true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t, want %t", c.name, c.got, c.want)
		}
	}
}
