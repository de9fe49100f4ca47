package policy

import (
	"cmp"
	"strconv"
	"strings"
)

// Words says who has to approve and how, to follow "the approval of": "one person of the owning team, or of 2 people of
// team security, after 10 minutes also of one person of team on-call".
func (a Approval) Words(w Wording) string {
	ways := a.Ways()
	words := make([]string, len(ways))
	for i, way := range ways {
		words[i] = way.Words(w)
	}
	said := strings.Join(words, ", or of ")
	if f := a.Fallback; f != nil {
		said += ", after " + spanWords(f.AfterSeconds) + " also of " + Approvers{f.Quorum, f.OwningTeam, f.Teams}.Words(w)
	}
	if b := a.BreakGlass; b != nil {
		said += ", in an emergency of " + Approvers{1, b.OwningTeam, b.Teams}.Words(w) + " alone, reviewed within " +
			spanWords(cmp.Or(b.ReviewSeconds, DefaultReviewSeconds))
	}
	if a.NotGranter {
		said += ", never of who made or last changed the grant"
	}
	if a.StepUp != nil {
		said += ", given by who has " + a.StepUp.Words()
	}
	if a.Evidence {
		said += ", asked for with the caller's own token"
	}
	if a.Scope != nil {
		said += ", which may go for " + a.Scope.Words()
	}
	return said
}

// Words says who they are: "2 people of the owning team or team security".
func (a Approvers) Words(w Wording) string {
	var from []string
	if a.OwningTeam {
		from = append(from, "the owning team")
	}
	for _, id := range a.Teams {
		from = append(from, "team "+visible(cmp.Or(w.Teams[id], id)))
	}
	if len(from) == 0 {
		from = []string{"no team"}
	}
	people := "one person"
	if a.Quorum > 1 {
		people = strconv.Itoa(a.Quorum) + " people"
	}
	return people + " of " + strings.Join(from, " or ")
}

// Words says what somebody has to have done: "signed in at most 5 minutes ago, with a second factor, as phr or phrh".
func (s StepUp) Words() string {
	var how []string
	if s.MaxAgeSeconds != 0 {
		how = append(how, "at most "+spanWords(s.MaxAgeSeconds)+" ago")
	}
	if s.MFA {
		how = append(how, "with a second factor")
	}
	switch {
	case s.impossible():
		how = append(how, "as nothing that all of the guardrails accept")
	case s.ACR != nil:
		how = append(how, "as "+oneOf(s.ACR))
	}
	return "signed in " + strings.Join(how, ", ")
}

// Words says what else may be approved at once: "up to 5 more calls within 1 hour, in which path or mode may differ".
func (s Scope) Words() string {
	said := "up to " + strconv.Itoa(s.MaxUses) + " more calls within " + spanWords(s.MaxSeconds)
	if s.MaxUses == 1 {
		said = "one more call within " + spanWords(s.MaxSeconds)
	}
	if len(s.Free) > 0 {
		said += ", in which " + oneOf(s.Free) + " may differ"
	}
	return said
}

// spanWords says a time in the greatest unit that it is a whole number of: "90 seconds", "10 minutes".
func spanWords(seconds int) string {
	for _, unit := range []struct {
		seconds int
		name    string
	}{{24 * 3600, "day"}, {3600, "hour"}, {60, "minute"}} {
		if seconds >= unit.seconds && seconds%unit.seconds == 0 {
			return counted(int64(seconds/unit.seconds), unit.name)
		}
	}
	return counted(int64(seconds), "second")
}
