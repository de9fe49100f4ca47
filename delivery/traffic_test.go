package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sorted(words []string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.enrol(w.build(w.db.Runtime), "edge", "com.acme/*")
	w.called("com.acme/orders", "list", 100, 1)
	w.called("com.acme/orders", "list", 5, 2, "denied", "eve")
	w.called("com.acme/orders", "drop", 2, 2, "held")
	w.called("com.acme/orders", "drop", 1, 2, "failed")
	w.called("com.acme/orders", "drop", 9, 50)
	w.called("com.acme/parcels", "list", 7, 1)

	since := time.Now().Add(-3 * 24 * time.Hour)
	callers, err := CallersOf(w.ctx, w.db.Runtime, "com.acme/orders", "list", since)
	w.must(err)
	var got []string
	for _, c := range callers {
		got = append(got, fmt.Sprintf("%s with %s on %s: %d", c.Subject, c.Agent, c.Model, c.Calls))
		if c.Last.Before(since) {
			t.Errorf("%s called last at %s", c.Subject, c.Last)
		}
	}
	if diff := cmp.Diff([]string{"tomas with demo on m1: 100", "eve with demo on m1: 5"}, got); diff != "" {
		t.Error(diff)
	}

	traffic, err := ServerTraffic(w.ctx, w.db.Runtime, "com.acme/orders", since)
	w.must(err)
	var tools []string
	for _, v := range traffic.Tools {
		tools = append(tools, fmt.Sprintf("%s %s %+v %s %s", v.Kind, v.Tool, v.Outcomes, v.P50, v.P95))
	}
	want := []string{
		"tool list {Calls:105 Allowed:100 Denied:5 Held:0 Failed:0} 50ms 95ms",
		"tool drop {Calls:3 Allowed:0 Denied:0 Held:2 Failed:1} 1ms 1ms",
	}
	if diff := cmp.Diff(want, tools); diff != "" {
		t.Error(diff)
	}
	var days []string
	sum := 0
	for i, v := range traffic.Days {
		sum += v.Calls
		days = append(days, v.Day.UTC().Format(time.TimeOnly))
		if i > 0 && !v.Day.Equal(traffic.Days[i-1].Day.AddDate(0, 0, 1)) {
			t.Errorf("a day is missing before %s", v.Day)
		}
	}
	if len(days) != 4 || slices.ContainsFunc(days, func(d string) bool { return d != "00:00:00" }) || sum != 108 {
		t.Errorf("days %v with %d calls", days, sum)
	}
	if yesterday := traffic.Days[2]; yesterday.P50 != 50*time.Millisecond || yesterday.P95 != 95*time.Millisecond || yesterday.Allowed != 100 {
		t.Errorf("yesterday: %+v", yesterday)
	}
	if today := traffic.Days[3]; today.Calls != 0 || today.P95 != 0 {
		t.Errorf("today: %+v", today)
	}

	long, err := ServerTraffic(w.ctx, w.db.Runtime, "com.acme/orders", time.Time{})
	w.must(err)
	if len(long.Days) != maxTrafficDays+1 || long.Tools[1].Calls != 12 {
		t.Errorf("%d days, %+v", len(long.Days), long.Tools)
	}
}
