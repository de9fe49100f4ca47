package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chart is numbers over time: a picture, and the table beneath it that says the same. Every number is at one of times.
type chart struct {
	id     string // in the page; its parts have names that begin with it
	title  string // what it shows, for those who do not see it
	unit   string // of one step: "calls an hour"
	times  []time.Time
	series []series
	lines  bool // drawn as lines; otherwise as bars, one series on the other
	whole  bool // counts
	words  func(float64) string
	exact  func(float64) string // in the table
}

// series is one kind of number. class says how it is drawn: no two are told apart by colour alone.
type series struct {
	name, class string
	values      []float64 // below 0: there is none
}

// The board of a chart has these units and stretches to the width that it is given; words stand outside of it, so that
// they do not stretch.
const (
	boardWidth  = 900.0
	boardHeight = 120.0
	leastBar    = 2.0 // what happened at all is seen
)

// peak is the highest point of the chart, and where it is.
func (c chart) peak() (highest float64, at int) {
	for i := range c.times {
		height := 0.0
		for _, s := range c.series {
			if v := max(0, s.values[i]); c.lines {
				height = max(height, v)
			} else {
				height += v
			}
		}
		if height > highest {
			highest, at = height, i
		}
	}
	return highest, at
}

func (c chart) scale() scale {
	highest, _ := c.peak()
	return scaleTo(highest, c.whole)
}

// labels are those of the axis of numbers, from the top down.
func (c chart) labels() []string {
	s := c.scale()
	var out []string
	for i := s.steps; i > 0; i-- {
		out = append(out, c.words(float64(i)*s.step))
	}
	return append(out, "0")
}

// gridlines are how far down each line is.
func (c chart) gridlines() []string {
	steps := c.scale().steps
	var out []string
	for i := range steps + 1 {
		out = append(out, units(boardHeight*float64(i)/float64(steps)))
	}
	return out
}

// slot is how wide one time is.
func (c chart) slot() float64 { return boardWidth / float64(max(1, len(c.times))) }

// paths are the series as they are drawn, those that stand on others last.
func (c chart) paths() []string {
	out := make([]string, len(c.series))
	if c.lines {
		for i, s := range c.series {
			out[i] = c.line(s)
		}
		return out
	}
	base := make([]float64, len(c.times))
	for i := range base {
		base[i] = boardHeight
	}
	for i, s := range c.series {
		out[i] = c.bars(s, base)
	}
	return out
}

// bars stacks the series on base, which it raises.
func (c chart) bars(s series, base []float64) string {
	var path strings.Builder
	slot, top := c.slot(), c.scale().top()
	for i, v := range s.values {
		if v <= 0 {
			continue
		}
		height := min(base[i], max(leastBar, v/top*boardHeight))
		base[i] -= height
		fmt.Fprintf(&path, "M%s %sh%sv%sh-%sz", units((float64(i)+.1)*slot), units(base[i]), units(.8*slot), units(height), units(.8*slot))
	}
	return path.String()
}

// line connects what was measured; where nothing was there is a gap, and what stands alone is a dot.
func (c chart) line(s series) string {
	var path strings.Builder
	top, drawn := c.scale().top(), 0
	for i, v := range s.values {
		if v < 0 {
			path.WriteString(dot[drawn])
			drawn = 0
			continue
		}
		to := byte('L')
		if drawn == 0 {
			to = 'M'
		}
		fmt.Fprintf(&path, "%c%s %s", to, units((float64(i)+.5)*c.slot()), units(boardHeight*(1-v/top)))
		drawn++
	}
	path.WriteString(dot[drawn])
	return path.String()
}

// dot is what one point alone is drawn as, as a line of no length would not be seen.
var dot = map[int]string{1: "m-5 0h10"}

// units is a length on the board.
func units(n float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(n, 'f', 1, 64), ".0")
}

// place is where under the board a time is written, in parts of its width.
func (c chart) place(i int) string {
	return strconv.FormatFloat(100*(float64(i)+.5)/float64(max(1, len(c.times))), 'f', 2, 64) + "%"
}

// anchor keeps the words of the last time within the chart.
func (c chart) anchor(i int) string {
	if float64(i)+.5 > .97*float64(len(c.times)) && len(c.times) > 1 {
		return "end"
	}
	return "middle"
}

// columns are the series in the order in which people read them.
func (c chart) columns() []series {
	out := slices.Clone(c.series)
	if !c.lines {
		slices.Reverse(out) // the bars are stacked from the bottom
	}
	return out
}

// at says everything of one time.
func (c chart) at(i int) string {
	parts := []string{stepWords(c.times, i)}
	for _, s := range c.columns() {
		parts = append(parts, s.name+" "+c.cell(s.values[i]))
	}
	return strings.Join(parts, " · ")
}

func (c chart) cell(v float64) string {
	if v < 0 {
		return "–"
	}
	return c.exact(v)
}

// sum says what a chart comes to, for those who do not see it.
func (c chart) sum() string {
	if len(c.times) == 0 {
		return "Nothing is shown."
	}
	first, last := stepWords(c.times, 0), stepWords(c.times, len(c.times)-1)
	highest, at := c.peak()
	return fmt.Sprintf("From %s to %s UTC. The highest is %s, at %s. The table below has the numbers.", first, last, c.exact(highest), stepWords(c.times, at))
}

// stepWords says one of times: the hour, too, unless they are days.
func stepWords(times []time.Time, i int) string {
	t := times[i].UTC()
	if len(times) > 1 && times[1].Sub(times[0]) >= 24*time.Hour {
		return t.Format("2 Jan 2006")
	}
	return t.Format("2 Jan 15:04")
}
