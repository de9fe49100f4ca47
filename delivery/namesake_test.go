package delivery

import (
	"testing"
	"time"
)

func TestNamesakes(t *testing.T) {
	t.Parallel()
	var n namesakes
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		after   time.Duration
		process string
		shared  bool
		news    bool
	}{
		{0, "a", false, false},
		{30 * time.Second, "a", false, false},
		{30 * time.Second, "b", false, false}, // a restart
		{30 * time.Second, "b", false, false},
		{30 * time.Second, "c", false, false}, // another
		{30 * time.Second, "b", true, true},   // which was none
		{30 * time.Second, "b", true, false},
		{30 * time.Second, "c", true, false},
		{6 * time.Minute, "c", false, false}, // the other is gone
		{6 * time.Minute, "b", false, false}, // and may come back after long
	} {
		now = now.Add(step.after)
		shared, news := n.report(namesake{"gtw_1", "i1"}, step.process, now)
		if shared != step.shared || news != step.news {
			t.Errorf("step %d: %t %t, want %t %t", i, shared, news, step.shared, step.news)
		}
	}
	if shared, _ := n.report(namesake{"gtw_1", "i2"}, "b", now); shared {
		t.Error("another name is shared too")
	}
}
