package policy

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A session is tainted when something of a server that is not trusted came into it: from then on what the model asks for
// may be what that server wants. A guardrail that says Tainted holds only then. Usually it is about tools that can carry
// something out, which are labelled so.

// Tainted is what has to have come into a caller's session for a guardrail to hold: something of a server that has one of
// Labels, within the last Seconds.
type Tainted struct {
	Labels  []string `json:"labels"`            // patterns of labels of servers
	Seconds int      `json:"seconds,omitempty"` // 0: DefaultTaintSeconds
}

// DefaultTaintSeconds is how long a session stays tainted where nothing is said.
const DefaultTaintSeconds = 3600

// MaxTaint is how long a session can stay tainted: nobody needs to remember for longer what came into it.
const MaxTaint = maxLimitSeconds * time.Second

// Taint is what came into the session of a caller: by label of a server, when something of a server that has it was last
// passed on. nil means that nobody knows; a guardrail then holds.
type Taint map[string]time.Time

// TaintOf is the taint of a session into which something of servers with these labels came a moment ago, whenever that is
// asked; nil labels are not known.
func TaintOf(labels []string) Taint {
	if labels == nil {
		return nil
	}
	t := make(Taint, len(labels))
	for _, l := range labels {
		t[l] = endOfTime
	}
	return t
}

var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Labels are the labels of t, sorted; nil if it is not known.
func (t Taint) Labels() []string {
	if t == nil {
		return nil
	}
	return append([]string{}, slices.Sorted(maps.Keys(t))...)
}

// holds reports whether the session of p is so tainted, or may be.
func (t *Tainted) holds(p *Principal, now time.Time) bool {
	if p == nil || p.Taint == nil {
		return true
	}
	within := time.Duration(t.Seconds) * time.Second
	if t.Seconds == 0 {
		within = DefaultTaintSeconds * time.Second
	}
	for label, at := range p.Taint {
		if now.Sub(at) < within && anyGlob(t.Labels, label) {
			return true
		}
	}
	return false
}

func (t *Tainted) validate() error {
	switch {
	case len(t.Labels) == 0:
		return wrong("labels", "names no label; say * if you mean all servers that have one")
	case t.Seconds < 0 || t.Seconds > maxLimitSeconds:
		return wrong("seconds", "must be from 1 to 86,400, a day")
	}
	if err := validatePatterns(t.Labels); err != nil {
		return inField("labels", err)
	}
	return nil
}

func (t *Tainted) canonical() *Tainted {
	if t == nil {
		return nil
	}
	return &Tainted{sortedSet(t.Labels), unless(t.Seconds, DefaultTaintSeconds)}
}

// Words says which sessions for people to read: "in a session that a server labelled untrusted answered in the last hour".
func (t *Tainted) Words() string {
	seconds := t.Seconds
	if seconds == 0 {
		seconds = DefaultTaintSeconds
	}
	return "in a session that a server labelled " + oneOf(t.Labels) + " answered in the last " + lastWords(seconds)
}

func lastWords(seconds int) string {
	for _, unit := range []struct {
		seconds int
		noun    string
	}{{24 * 3600, "day"}, {3600, "hour"}, {60, "minute"}} {
		switch n := seconds / unit.seconds; {
		case seconds%unit.seconds != 0:
		case n == 1:
			return unit.noun
		case n > 1:
			return fmt.Sprintf("%d %ss", n, unit.noun)
		}
	}
	return counted(int64(seconds), "second")
}
