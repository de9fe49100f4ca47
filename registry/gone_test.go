package registry

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/policy"
)

// callable gives the tools of the server that the policy lets gateways call.
func (w *world) callable(serverID string) []string {
	w.t.Helper()
	names := []string{}
	for _, s := range w.snapshot(w.db.Runtime).Servers {
		if s.ID != serverID {
			continue
		}
		for _, t := range s.Tools {
			if !t.Held {
				names = append(names, t.Name)
			}
		}
	}
	return names
}

// A tool that is gone is not callable, and nothing but itself comes back without a person.
func TestGoneAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list, drop := tool("list", "v1"), tool("drop", "v1")
	s := w.register("orders", tools(list, drop))
	w.pinAll(s)
	steps := []struct {
		what     string
		partial  bool
		serve    []json.RawMessage
		callable []string
		bump     int64
		gone     int // events so far
		returned int
	}{
		{"all as pinned", false, []json.RawMessage{list, drop}, []string{"drop", "list"}, 0, 0, 0},
		{"a partial look says nothing of the rest", true, []json.RawMessage{drop}, []string{"drop", "list"}, 0, 0, 0},
		{"one is gone", false, []json.RawMessage{drop}, []string{"drop"}, 1, 1, 0},
		{"still gone", false, []json.RawMessage{drop}, []string{"drop"}, 0, 1, 0},
		{"gone, and not looked at", true, nil, []string{"drop"}, 0, 1, 0},
		{"back, in a partial look", true, []json.RawMessage{list}, []string{"drop", "list"}, 1, 1, 1},
		{"all gone", false, nil, []string{}, 1, 3, 1},
		{"all back", false, []json.RawMessage{drop, list}, []string{"drop", "list"}, 1, 3, 3},
		{"gone again", false, []json.RawMessage{list}, []string{"list"}, 1, 4, 3},
		{"back as something else", false, []json.RawMessage{tool("drop", "v2"), list}, []string{"list"}, 1, 4, 3},
		{"back as it was, but held by now", false, []json.RawMessage{drop, list}, []string{"list"}, 0, 4, 3},
		{"held and gone", false, []json.RawMessage{list}, []string{"list"}, 0, 4, 3},
		{"held and back", false, []json.RawMessage{drop, list}, []string{"list"}, 0, 4, 3},
	}
	for _, step := range steps {
		before := w.generation()
		woken, stop := w.hub.Subscribe(TopicPolicy)
		w.observe(s.ID, step.partial, step.serve...)
		if diff := cmp.Diff(step.callable, w.callable(s.ID)); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
		if got := w.generation() - before; got != step.bump {
			t.Errorf("%s: generation +%d, want +%d", step.what, got, step.bump)
		}
		select {
		case <-woken:
		default:
			if step.bump > 0 {
				t.Errorf("%s: nobody is woken", step.what)
			}
		}
		stop()
		if gone, returned := w.events("tool.gone"), w.events("tool.returned"); gone != step.gone || returned != step.returned {
			t.Errorf("%s: %d gone, %d returned; want %d, %d", step.what, gone, returned, step.gone, step.returned)
		}
	}
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{w.tools(s.ID)["drop"].Pinned.ID, policy.Destructive}}, ""))
	if got := w.callable(s.ID); !cmp.Equal(got, []string{"drop", "list"}) {
		t.Errorf("a person released it: %v", got)
	}
}

// A discovery tells the same, and one that fails keeps the last good.
func TestGoneByDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list, drop := tool("list", "v1"), tool("drop", "v1")
	s := w.register("orders", tools(list, drop))
	w.pinAll(s)
	discover := func(offer client.Offer) error {
		_, err := w.RequestDiscovery(w.ctx, w.owner, s.ID)
		w.must(err)
		return w.Finish(w.ctx, w.edge, w.leaseOne().ID, offer)
	}
	before := w.generation()
	w.must(discover(tools(drop)))
	if got := w.callable(s.ID); !cmp.Equal(got, []string{"drop"}) || w.generation() != before+1 {
		t.Errorf("gone: %v at +%d", got, w.generation()-before)
	}
	w.must(discover(tools(drop, list)))
	if got := w.callable(s.ID); len(got) != 2 || w.generation() != before+2 {
		t.Errorf("back: %v at +%d", got, w.generation()-before)
	}
	if err := discover(tools(drop, json.RawMessage(`{"name":7}`))); err == nil {
		t.Error("what cannot be read was taken")
	}
	_, err := w.RequestDiscovery(w.ctx, w.owner, s.ID)
	w.must(err)
	w.must(w.Fail(w.ctx, w.edge, w.leaseOne().ID, client.Failure{Error: "connection refused"}))
	if got := w.callable(s.ID); len(got) != 2 || w.generation() != before+2 {
		t.Errorf("after failures: %v at +%d", got, w.generation()-before)
	}
}
