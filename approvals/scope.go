package approvals

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"countersign/internal/problem"
)

// Scope is what an approval allows beyond the very call: Uses more calls Within a time, in which the top-level
// arguments named Free may differ. All else stays exactly as it was approved.
type Scope struct {
	Uses   int
	Within time.Duration // whole seconds
	Free   []string      // sorted; an argument that is absent is not one that is null
}

// storedScope is a Scope in the database.
type storedScope struct {
	Uses    int      `json:"uses"`
	Seconds int64    `json:"seconds"`
	Free    []string `json:"free"`
}

// MarshalJSON writes whole seconds.
func (s Scope) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedScope{Uses: s.Uses, Seconds: int64(s.Within / time.Second), Free: append([]string{}, s.Free...)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Scope) UnmarshalJSON(b []byte) error {
	var stored storedScope
	if err := json.Unmarshal(b, &stored); err != nil {
		return err
	}
	*s = Scope{Uses: stored.Uses, Within: time.Duration(stored.Seconds) * time.Second, Free: stored.Free}
	return nil
}

// narrowest is what both a and b allow; nil allows nothing.
func narrowest(a, b *Scope) *Scope {
	if a == nil || b == nil {
		return nil
	}
	free := slices.DeleteFunc(slices.Clone(a.Free), func(name string) bool { return !slices.Contains(b.Free, name) })
	return &Scope{Uses: min(a.Uses, b.Uses), Within: min(a.Within, b.Within), Free: free}
}

// widest is the most that the terms let a decision allow beside the call; nil is nothing.
func (t *terms) widest() *Scope {
	s := t.demand.Scope
	if s == nil {
		return nil
	}
	return &Scope{Uses: s.MaxUses, Within: time.Duration(s.MaxSeconds) * time.Second, Free: s.Free}
}

// checkScope refuses what is no scope, and what is wider than the terms allow.
func (t *terms) checkScope(s *Scope) error {
	if s == nil {
		return nil
	}
	p := problem.New(problem.Invalid, "scope_too_wide", "The guardrail does not allow to approve that much at once. Nothing was decided.")
	most := t.widest()
	if most == nil {
		return p.Field("scope", "Only this very call can be approved.")
	}
	if s.Uses < 1 || s.Uses > most.Uses {
		p.Field("uses", fmt.Sprintf("Between 1 and %d more calls.", most.Uses))
	}
	if s.Within < time.Second || s.Within > most.Within || s.Within%time.Second != 0 {
		p.Field("within", fmt.Sprintf("Whole seconds, at most %s.", most.Within))
	}
	if !within(s.Free, most.Free) {
		p.Field("free", "Not all of these arguments may differ.")
	}
	if len(p.Fields) > 0 {
		return p
	}
	return nil
}
