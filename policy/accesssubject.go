package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// GrantSubject is whom some grants are for: all those that say the same of it.
type GrantSubject struct {
	Subject Subject // its lists sorted
	Words   string
	Key     string // the same for the same subject, in every document
	Grants  []int  // indexes, ascending
}

func (s GrantSubject) compare(other GrantSubject) int {
	return cmp.Or(cmp.Compare(s.Words, other.Words), cmp.Compare(s.Key, other.Key))
}

func subjectKey(canonical Subject) string {
	text, _ := json.Marshal(canonical) // a subject has nothing that cannot be written
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Could reports whether a caller may be in s of whom only this much is known. What is empty, of groups nil, is not known,
// and may be anything; a model that is known counts as vouched for.
func (s Subject) Could(p Principal) bool {
	if s.Everyone {
		return true
	}
	could := func(patterns []string, known string) bool {
		return len(patterns) == 0 || known == "" || anyGlob(patterns, known)
	}
	users := len(s.Users) == 0 || p.Subject == "" || slices.ContainsFunc(s.Users, func(pattern string) bool {
		issuer, subject, _ := splitUser(pattern)
		return Glob(subject, p.Subject) && (issuer == "" || p.Issuer == "" || Glob(issuer, p.Issuer))
	})
	groups := len(s.Groups) == 0 || p.Groups == nil || slices.ContainsFunc(p.Groups, func(g string) bool { return anyGlob(s.Groups, g) })
	return !s.isZero() && users && groups && could(s.Agents, p.Agent) && could(s.Models, p.Model)
}
