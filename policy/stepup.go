package policy

import (
	"slices"
	"time"
)

// maxAhead is how far the clock of who signs people in may run ahead of ours.
const maxAhead = time.Minute

// Met reports whether p has signed in as s asks, at a time. What is not known of p does not meet what is asked for.
func (s StepUp) Met(p *Principal, now time.Time) bool {
	if p == nil {
		return false
	}
	if s.MaxAgeSeconds != 0 {
		age := now.Sub(p.AuthTime)
		if p.AuthTime.IsZero() || age < -maxAhead || age > time.Duration(s.MaxAgeSeconds)*time.Second {
			return false
		}
	}
	if s.MFA && !p.SecondFactor() {
		return false
	}
	return s.ACR == nil || p.ACR != "" && slices.Contains(s.ACR, p.ACR)
}

// and returns what meets both, sharing nothing with them; nil asks for nothing. A list of context classes that is empty
// and not nil is met by none.
func (s *StepUp) and(t *StepUp) *StepUp {
	if s == nil {
		s, t = t, nil
	}
	if s == nil {
		return nil
	}
	both := StepUp{MaxAgeSeconds: s.MaxAgeSeconds, MFA: s.MFA, ACR: slices.Clone(s.ACR)}
	if t == nil {
		return &both
	}
	both.MFA = both.MFA || t.MFA
	if both.MaxAgeSeconds == 0 || t.MaxAgeSeconds != 0 && t.MaxAgeSeconds < both.MaxAgeSeconds {
		both.MaxAgeSeconds = t.MaxAgeSeconds
	}
	switch {
	case both.ACR == nil:
		both.ACR = slices.Clone(t.ACR)
	case t.ACR != nil:
		both.ACR = inBoth(both.ACR, t.ACR)
	}
	return &both
}

// impossible reports whether nobody can meet s: no context class is in all the lists that it is made of.
func (s *StepUp) impossible() bool { return s.ACR != nil && len(s.ACR) == 0 }
