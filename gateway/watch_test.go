package gateway

import (
	"testing"
	"time"
)

// Another gateway may have said that a tool is gone. This one saw it all along, and has said so long ago.
func TestWhatThePolicyHoldsAndIsOfferedAsPinnedIsReportedAgain(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.ObserveEvery = 20 * time.Millisecond }).open()
	session := s.connect("ada", "2025-11-25", nil)
	seen := func() int {
		s.plane.mu.Lock()
		defer s.plane.mu.Unlock()
		return len(s.plane.observations)
	}
	s.eventually("the first observation", func() bool { return seen() > 0 })
	for i := range s.source.Servers[0].Tools {
		s.source.Servers[0].Tools[i].Held = true
	}
	s.publish()
	before := seen()
	s.eventually("two more of the same list", func() bool { return seen() >= before+2 })
	if res := call(t, session, "list_orders", `{}`); reasonOf(res) != "drifted" {
		t.Errorf("got %q", textOf(res))
	}
}
