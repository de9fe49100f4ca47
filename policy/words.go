package policy

import "fmt"

// Words says the limit for people to read: "10 calls a minute".
func (l RateLimit) Words() string {
	calls := "1 call"
	if l.Calls != 1 {
		calls = fmt.Sprintf("%d calls", l.Calls)
	}
	switch l.Seconds {
	case 1:
		return calls + " a second"
	case 60:
		return calls + " a minute"
	case 3600:
		return calls + " an hour"
	case 24 * 3600:
		return calls + " a day"
	}
	return fmt.Sprintf("%s in %d seconds", calls, l.Seconds)
}
