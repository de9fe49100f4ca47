package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Limits on what an approval demands and allows.
const (
	maxQuorum         = 20
	maxAlternatives   = 7
	maxPendingSeconds = 7 * 24 * 3600
	maxReviewSeconds  = 30 * 24 * 3600
	maxAgeSeconds     = 30 * 24 * 3600
	maxClasses        = 20
	maxScopeUses      = 1000
	maxScopeSeconds   = 24 * 3600
	maxFree           = 50
)

func (a Approval) validate() error {
	switch {
	case a.DenyQuorum < 0 || a.DenyQuorum > maxQuorum:
		return wrong("deny_quorum", "must be from 1 to 20, or left out")
	case a.PendingSeconds < 0 || a.PendingSeconds > maxPendingSeconds:
		return wrong("pending_seconds", "must be at most a week")
	case len(a.Alternatives) > maxAlternatives:
		return wrong("alternatives", "has more than 7 entries")
	}
	if err := (Approvers{a.Quorum, a.OwningTeam, a.Teams}).validate(); err != nil {
		return err
	}
	for i, other := range a.Alternatives {
		if err := other.validate(); err != nil {
			return inField(fmt.Sprintf("alternatives[%d]", i), err)
		}
	}
	return a.validateMore()
}

// validateMore checks the members that are objects.
func (a Approval) validateMore() error {
	if a.Fallback != nil {
		if err := a.Fallback.validate(cmp.Or(a.PendingSeconds, DefaultPendingSeconds)); err != nil {
			return inField("fallback", err)
		}
	}
	if a.StepUp != nil {
		if err := a.StepUp.validate(); err != nil {
			return inField("step_up", err)
		}
	}
	if a.Scope != nil {
		if err := a.Scope.validate(); err != nil {
			return inField("scope", err)
		}
	}
	if a.BreakGlass != nil {
		if err := a.BreakGlass.validate(); err != nil {
			return inField("break_glass", err)
		}
	}
	return nil
}

func (a Approvers) validate() error {
	switch {
	case a.Quorum < 1 || a.Quorum > maxQuorum:
		return wrong("quorum", "must be from 1 to 20")
	case !a.OwningTeam && len(a.Teams) == 0:
		return wrong("teams", "or owning_team must be given: nobody could approve")
	}
	if err := validatePatterns(a.Teams); err != nil {
		return inField("teams", err)
	}
	return nil
}

// validate checks f, of an approval that may wait for some time.
func (f Fallback) validate(pending int) error {
	if f.AfterSeconds < 1 || f.AfterSeconds >= pending {
		return wrong("after_seconds", fmt.Sprintf("must be from 1 to %d, before the request expires", pending-1))
	}
	return Approvers{f.Quorum, f.OwningTeam, f.Teams}.validate()
}

func (s StepUp) validate() error {
	switch {
	case s.MaxAgeSeconds == 0 && !s.MFA && s.ACR == nil:
		return wrong("", "asks for nothing; give max_age_seconds, mfa or acr")
	case s.MaxAgeSeconds < 0 || s.MaxAgeSeconds > maxAgeSeconds:
		return wrong("max_age_seconds", "must be from 1 to 2,592,000, 30 days")
	case s.ACR != nil && len(s.ACR) == 0:
		return wrong("acr", "is empty; leave it out if any will do")
	}
	for i, class := range s.ACR {
		if strings.ContainsFunc(class, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return wrong(fmt.Sprintf("acr[%d]", i), "holds a space, a quotation mark, or what is not ASCII: a challenge could not name it")
		}
	}
	return inFieldIf("acr", validateNames(s.ACR, maxClasses))
}

func (s Scope) validate() error {
	switch {
	case s.MaxUses < 1 || s.MaxUses > maxScopeUses:
		return wrong("max_uses", "must be from 1 to 1,000")
	case s.MaxSeconds < 1 || s.MaxSeconds > maxScopeSeconds:
		return wrong("max_seconds", "must be from 1 to 86,400, a day")
	}
	return inFieldIf("free", validateNames(s.Free, maxFree))
}

func (b BreakGlass) validate() error {
	if b.ReviewSeconds < 0 || b.ReviewSeconds > maxReviewSeconds {
		return wrong("review_seconds", "must be at most 2,592,000, 30 days")
	}
	return Approvers{1, b.OwningTeam, b.Teams}.validate()
}

// validateNames checks names that are not patterns, each of which is given once.
func validateNames(names []string, most int) error {
	if len(names) > most {
		return wrong("", fmt.Sprintf("has more than %d entries", most))
	}
	for i, name := range names {
		problem := textProblem(name, maxPatternBytes)
		if problem == "" && slices.Contains(names[:i], name) {
			problem = "is given twice"
		}
		if problem != "" {
			return wrong(fmt.Sprintf("[%d]", i), problem)
		}
	}
	return nil
}

// inFieldIf is inField where there is an error.
func inFieldIf(field string, err error) error {
	if err == nil {
		return nil
	}
	return inField(field, err)
}
