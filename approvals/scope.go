package approvals

import (
	"encoding/json"
	"slices"
	"time"
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
