package web

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// mostSteps is how many steps an axis of numbers has at most; more lines than that are read by nobody.
const mostSteps = 4

// scale is an axis of numbers from 0: steps of a round size.
type scale struct {
	step  float64
	steps int
}

func (s scale) top() float64 { return s.step * float64(s.steps) }

// scaleTo gives the axis that shows values up to most: its step is 1, 2 or 5, times a power of ten. Where whole, it is
// no less than 1, as half a call is none.
func scaleTo(most float64, whole bool) scale {
	if most <= 0 || math.IsInf(most, 0) || math.IsNaN(most) {
		return scale{step: 1, steps: 1}
	}
	power := math.Pow(10, math.Floor(math.Log10(most/mostSteps)))
	for _, by := range []float64{1, 2, 5, 10} {
		step := by * power
		if whole && step < 1 {
			step = 1
		}
		if most <= step*mostSteps {
			return scale{step: step, steps: int(math.Ceil(most/step - 1e-9))}
		}
	}
	return scale{step: 20 * power, steps: mostSteps}
}

// mostTicks is how many times are written under a chart.
const mostTicks = 8

// tick is a time under a chart, and which of its steps it stands under.
type tick struct {
	at    int
	words string
}

// ticksOf names some of the steps: full hours of the day, days, or months, whichever leaves few enough. All of it is in UTC.
func ticksOf(times []time.Time) []tick {
	if len(times) == 1 {
		return []tick{{words: times[0].UTC().Format("2 Jan 15:04")}}
	}
	var last []tick
	for _, r := range rounds {
		var ticks []tick
		for i, t := range times {
			if t = t.UTC(); r.on(t) && (i == 0 || !r.same(times[i-1].UTC(), t)) {
				ticks = append(ticks, tick{at: i, words: r.words(t)})
			}
		}
		if len(ticks) > 0 && len(ticks) <= mostTicks {
			return ticks
		}
		if len(ticks) > 0 {
			last = ticks
		}
	}
	return last[:min(len(last), mostTicks)]
}

// round is a kind of time that people take for round.
type round struct {
	on    func(time.Time) bool
	same  func(a, b time.Time) bool // both belong to the same one
	words func(time.Time) string
}

var rounds = func() []round {
	var all []round
	for _, n := range []int{1, 2, 3, 4, 6, 12} {
		all = append(all, round{
			on:    func(t time.Time) bool { return t.Hour()%n == 0 },
			same:  func(a, b time.Time) bool { return a.Truncate(time.Hour).Equal(b.Truncate(time.Hour)) },
			words: hourWords,
		})
	}
	for _, n := range []int64{1, 2, 4, 7, 14} {
		all = append(all, round{
			on:    func(t time.Time) bool { return (dayNumber(t)+3)%n == 0 }, // weeks begin on Mondays
			same:  func(a, b time.Time) bool { return dayNumber(a) == dayNumber(b) },
			words: func(t time.Time) string { return t.Format("2 Jan") },
		})
	}
	for _, n := range []int{1, 3, 12} {
		all = append(all, round{
			on:    func(t time.Time) bool { return (int(t.Month())-1)%n == 0 && t.Day() <= 7 },
			same:  func(a, b time.Time) bool { return a.Month() == b.Month() && a.Year() == b.Year() },
			words: func(t time.Time) string { return t.Format("Jan 2006") },
		})
	}
	return all
}()

func dayNumber(t time.Time) int64 { return t.Unix() / int64((24*time.Hour)/time.Second) }

// hourWords says an hour; the first of a day says the day.
func hourWords(t time.Time) string {
	if t.Hour() == 0 {
		return t.Format("2 Jan")
	}
	return t.Format("15:04")
}

// NumberWords is a number as people read it: 15,763.
func NumberWords(n int64) string {
	if n < 0 {
		return "-" + NumberWords(-n)
	}
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// shortNumber is a number with three digits at most: 15.8k, 1.2M.
func shortNumber(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if n >= unit.size {
			return threeDigits(n/unit.size) + unit.name
		}
	}
	return threeDigits(n)
}

// threeDigits leaves out what does not matter.
func threeDigits(n float64) string {
	digits := 0
	switch {
	case n < 10:
		digits = 2
	case n < 100:
		digits = 1
	}
	text := strconv.FormatFloat(n, 'f', digits, 64)
	if digits > 0 {
		for text[len(text)-1] == '0' {
			text = text[:len(text)-1]
		}
		if text[len(text)-1] == '.' {
			text = text[:len(text)-1]
		}
	}
	return text
}

// latencyWords says how long something takes that may be a fraction of a millisecond.
func latencyWords(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Millisecond:
		return threeDigits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return threeDigits(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return fmt.Sprintf("%s s", threeDigits(d.Seconds()))
}
