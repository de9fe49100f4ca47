package desired

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rate is a number of calls in a time. Its text is "10/min", or "10/90s" where the time has no name.
type Rate struct {
	Calls   int
	Seconds int
}

// units are the times with a name. The first name of each is the one that is written.
var units = []struct {
	seconds int
	names   []string
}{
	{1, []string{"s", "sec", "second"}},
	{60, []string{"min", "m", "minute"}},
	{3600, []string{"h", "hour"}},
	{86400, []string{"day", "d"}},
}

// String is the text of r.
func (r Rate) String() string { return perText(r.Calls, r.Seconds) }

func perText(n, seconds int) string {
	for _, u := range units {
		if seconds == u.seconds {
			return fmt.Sprintf("%d/%s", n, u.names[0])
		}
	}
	return fmt.Sprintf("%d/%ds", n, seconds)
}

var errRate = errors.New("expected calls in a time, as 10/min, 3/s, 100/h, 500/day or 10/90s")

// ParseRate reads the text of a rate.
func ParseRate(text string) (Rate, error) {
	calls, seconds, ok := parsePer(text)
	if !ok {
		return Rate{}, errRate
	}
	return Rate{calls, seconds}, nil
}

func parsePer(text string) (n, seconds int, ok bool) {
	number, per, found := strings.Cut(text, "/")
	n, counts := count(number)
	seconds, known := secondsIn(per)
	return n, seconds, found && counts && known
}

func secondsIn(per string) (int, bool) {
	for _, u := range units {
		if slices.Contains(u.names, per) {
			return u.seconds, true
		}
	}
	digits, isSeconds := strings.CutSuffix(per, "s")
	n, ok := count(digits)
	return n, ok && isSeconds
}

// count reads a whole number above zero, in the one way to write it.
func count(digits string) (int, bool) {
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && n <= 1e9 && strconv.Itoa(n) == digits
}

// MarshalText writes r.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads r.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// Budget is a number of tokens in a time. Its text is as that of a Rate: "50000/h".
type Budget struct {
	Tokens  int
	Seconds int
}

// String is the text of b.
func (b Budget) String() string { return perText(b.Tokens, b.Seconds) }

var errBudget = errors.New("expected tokens in a time, as 50000/hour, 200000/day or 1000/90s")

// ParseBudget reads the text of a budget.
func ParseBudget(text string) (Budget, error) {
	tokens, seconds, ok := parsePer(text)
	if !ok {
		return Budget{}, errBudget
	}
	return Budget{tokens, seconds}, nil
}

// MarshalText writes b.
func (b Budget) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads b.
func (b *Budget) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBudget(string(text))
	return err
}

// Span is a time to wait, in whole seconds. Its text is "90s", "15m", "2h" or "7d".
type Span int

var errSpan = errors.New("expected a time, as 90s, 15m, 2h or 7d")

var spans = []struct {
	seconds int
	suffix  string
}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}

// String is the text of s in the greatest unit that divides it.
func (s Span) String() string {
	for _, u := range spans {
		if s > 0 && int(s)%u.seconds == 0 {
			return strconv.Itoa(int(s)/u.seconds) + u.suffix
		}
	}
	return strconv.Itoa(int(s)) + "s"
}

// ParseSpan reads the text of a span.
func ParseSpan(text string) (Span, error) {
	for _, u := range spans {
		if digits, found := strings.CutSuffix(text, u.suffix); found {
			if n, ok := count(digits); ok && n <= 1e9/u.seconds {
				return Span(n * u.seconds), nil
			}
		}
	}
	return 0, errSpan
}

// MarshalText writes s.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads s.
func (s *Span) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSpan(string(text))
	return err
}

var errTime = errors.New("expected a time, as 2026-11-30 or 2026-11-30T18:00:00Z")

// parseTime reads a time or the beginning of a day in UTC, to the microsecond that a database keeps.
func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, errTime
}
