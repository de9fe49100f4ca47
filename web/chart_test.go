package web

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnAxisHasRoundSteps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		most  float64
		whole bool
		step  float64
		steps int
	}{
		{0, true, 1, 1},
		{1, true, 1, 1},
		{3, true, 1, 3},
		{4, true, 1, 4},
		{5, true, 2, 3},
		{12, true, 5, 3},
		{1147, true, 500, 3},
		{1_000_000, true, 500_000, 2},
		{0.3, false, 0.1, 3},
		{2.2e5, false, 1e5, 3},
		{99, true, 50, 2},
		{8_999_999, true, 5_000_000, 2},
	} {
		got := scaleTo(c.most, c.whole)
		if diff := got.step - c.step; diff > 1e-9 || diff < -1e-9 || got.steps != c.steps {
			t.Errorf("scaleTo(%v) = %+v, want step %v, %d steps", c.most, got, c.step, c.steps)
		}
		if got.top() < c.most {
			t.Errorf("scaleTo(%v) ends at %v", c.most, got.top())
		}
	}
}

func timesOf(from time.Time, step time.Duration, n int) []time.Time {
	out := make([]time.Time, n)
	for i := range out {
		out[i] = from.Add(time.Duration(i) * step)
	}
	return out
}

func TestTimesUnderAChart(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	midnight := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		times []time.Time
		want  string
	}{
		"none":          {nil, ""},
		"one hour":      {timesOf(midnight.Add(7*time.Hour), time.Hour, 1), "20 Nov 07:00"},
		"a day":         {timesOf(midnight.Add(15*time.Hour), time.Hour, 24), "15:00 18:00 21:00 21 Nov 03:00 06:00 09:00 12:00"},
		"three days":    {timesOf(midnight, time.Hour, 72), "20 Nov 12:00 21 Nov 12:00 22 Nov 12:00"},
		"a week":        {timesOf(midnight, day, 7), "20 Nov 21 Nov 22 Nov 23 Nov 24 Nov 25 Nov 26 Nov"},
		"thirty days":   {timesOf(midnight, day, 30), "20 Nov 24 Nov 28 Nov 2 Dec 6 Dec 10 Dec 14 Dec 18 Dec"},
		"a year":        {timesOf(midnight, day, 365), "Jan 2027 Apr 2027 Jul 2027 Oct 2027"},
		"another place": {timesOf(midnight.In(time.FixedZone("", 5*3600)), day, 2), "20 Nov 21 Nov"},
	} {
		var words []string
		for _, tick := range ticksOf(c.times) {
			words = append(words, tick.words)
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for n := 1; n < 1500; n += 7 {
		if got := len(ticksOf(timesOf(midnight, day, n))); got < 1 || got > mostTicks {
			t.Errorf("%d days have %d times", n, got)
		}
	}
}

func chartWith(lines bool, values ...[]float64) chart {
	c := chart{lines: lines, whole: true, exact: countWords, words: countWords}
	for _, v := range values {
		c.series = append(c.series, series{values: v})
		c.times = timesOf(noon, time.Hour, len(v))
	}
	return c
}

func TestBarsStandOnEachOther(t *testing.T) {
	t.Parallel()
	c := chartWith(false, []float64{0, 50, 1}, []float64{0, 50, 10_000})
	c.times, c.series[0].values, c.series[1].values = c.times[:2], []float64{0, 50}, []float64{0, 50}
	want := []string{"M495 60h360v60h-360z", "M495 0h360v60h-360z"}
	if diff := cmp.Diff(want, c.paths()); diff != "" {
		t.Error(diff)
	}
	if got := chartWith(false, []float64{1, 9999}).paths()[0]; !strings.Contains(got, "v2h") {
		t.Errorf("one of ten thousand is not seen: %s", got)
	}
}

func TestALineHasGapsAndDots(t *testing.T) {
	t.Parallel()
	c := chartWith(true, []float64{-1, 2, -1, 4, 2, -1})
	if got, want := c.paths()[0], "M225 60m-5 0h10M525 0L675 60"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := chartWith(true, []float64{4}).paths()[0], "M450 0m-5 0h10"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := c.cell(-1); got != "–" {
		t.Errorf("what was not measured is %q", got)
	}
}

func TestAnAxisIsReadFromTheTop(t *testing.T) {
	t.Parallel()
	c := chartWith(false, []float64{1147})
	if got, want := c.labels(), []string{"1,500", "1,000", "500", "0"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := c.gridlines(), []string{"0", "40", "80", "120"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		got, want string
	}{
		{NumberWords(0), "0"},
		{NumberWords(999), "999"},
		{NumberWords(15763), "15,763"},
		{NumberWords(-1_000_000), "-1,000,000"},
		{shortNumber(0), "0"},
		{shortNumber(15_763), "15.8k"},
		{shortNumber(1_204_000), "1.2M"},
		{shortNumber(2_000_000_000), "2G"},
		{latencyWords(0), "–"},
		{latencyWords(240 * time.Microsecond), "240 µs"},
		{latencyWords(1210 * time.Microsecond), "1.21 ms"},
		{latencyWords(90 * time.Second), "90 s"},
		{shareWords(0, 0), "0 %"},
		{shareWords(1, 10_000), "< 0.1 %"},
		{shareWords(249, 15_763), "1.6 %"},
		{shareWords(5, 5), "100 %"},
		{changeWords(0, 0), "as before"},
		{changeWords(7, 0), "none before"},
		{changeWords(106, 100), "6 % more than before"},
		{changeWords(90, 100), "10 % fewer than before"},
		{changeWords(350, 100), "3.5 times as many as before"},
		{Money(0, "EUR"), "0.00 EUR"},
		{Money(1, "EUR"), "< 0.01 EUR"},
		{Money(1_204_125_000, "EUR"), "1,204.13 EUR"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// What is not known is never said to be 0.
func TestAnUnknownCostIsNotZero(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		totals UsageTotals
		want   string
	}{
		"nothing counted": {UsageTotals{}, "–"},
		"no price":        {UsageTotals{Unpriced: 10}, "Not priced"},
		"some priced":     {UsageTotals{Unpriced: 10, Cost: "1.00 EUR"}, "1.00 EUR"},
	} {
		if got := costFigure(c.totals, nil).value; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	v := usage()
	v.Lines = v.Lines[2:3]
	if page := rendered(t, UsagePage(page("Usage", "/usage"), v)); !strings.Contains(page, "Not priced") || strings.Contains(page, "0.00") {
		t.Error("a model without a price costs nothing on the page")
	}
}
