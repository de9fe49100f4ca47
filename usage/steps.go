package usage

import "time"

// Steps are the bounds between which times of calls are counted: step i holds those from Steps[i-1] to less than
// Steps[i], the last one all that are longer. The function usage_step of the database has the same.
var Steps = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// counts says how many calls are in each step.
type counts []int64

func (c *counts) add(more counts) {
	if len(*c) == 0 {
		*c = make(counts, len(Steps)+1)
	}
	for i, n := range more {
		(*c)[i] += n
	}
}

func (c *counts) less(other counts) {
	for i, n := range other {
		(*c)[i] -= n
	}
}

// below estimates the time that the part (0 to 1) of the calls stay below: as if those of a step were spread evenly over
// it. Of the last step it is where that begins. 0: there are none.
func (c counts) below(part float64) time.Duration {
	var all int64
	for _, n := range c {
		all += n
	}
	rank := part * float64(all)
	for i, n := range c {
		if n == 0 || rank > float64(n) {
			rank -= float64(n)
			continue
		}
		var from time.Duration
		if i > 0 {
			from = Steps[i-1]
		}
		if i == len(Steps) {
			return from
		}
		return from + time.Duration(rank/float64(n)*float64(Steps[i]-from))
	}
	return 0
}
