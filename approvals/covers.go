package approvals

import (
	"cmp"
	"slices"

	"countersign/policy"
)

// covers reports whether an approval that was given under old terms is good under t. It is not when anything became
// stricter, also where that would have made no difference to how it was given.
func (t *terms) covers(old terms) bool {
	now, was := t.demand, old.demand
	switch {
	case now.DenyQuorum < was.DenyQuorum,
		now.Evidence && !was.Evidence,
		now.NotGranter && !was.NotGranter,
		!within(t.granters, old.granters),
		!asStrict(was.StepUp, now.StepUp):
		return false
	case old.emergency:
		return now.BreakGlass != nil && was.BreakGlass != nil && within(was.BreakGlass.Teams, now.BreakGlass.Teams)
	}
	return t.acceptsAll(old)
}

// acceptsAll reports whether whoever were enough under old terms are enough under t. A fallback that was asked must be
// one that would have been asked by then.
func (t *terms) acceptsAll(old terms) bool {
	now := *t
	now.escalated = old.escalated && t.demand.Fallback != nil && old.demand.Fallback != nil &&
		t.demand.Fallback.AfterSeconds <= old.demand.Fallback.AfterSeconds
	sets := now.sets()
	for _, was := range old.sets() {
		accepts := func(set policy.Approvers) bool { return set.Quorum <= was.Quorum && within(was.Teams, set.Teams) }
		if !slices.ContainsFunc(sets, accepts) {
			return false
		}
	}
	return true
}

// asStrict reports whether every sign-in that meets was meets now as well.
func asStrict(was, now *policy.StepUp) bool {
	if now == nil {
		return true
	}
	was = cmp.Or(was, &policy.StepUp{})
	asFresh := now.MaxAgeSeconds == 0 || was.MaxAgeSeconds != 0 && was.MaxAgeSeconds <= now.MaxAgeSeconds
	asClassy := now.ACR == nil || was.ACR != nil && within(was.ACR, now.ACR)
	return asFresh && asClassy && (was.MFA || !now.MFA)
}

// within reports whether all of part is in whole.
func within(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}
