package registry

import (
	"slices"

	"countersign/policy"
)

// Why a tool is held.
const (
	HeldChanged = "changed" // what is served is not what is pinned
	HeldBroken  = "broken"  // what is served under its name cannot be read, or is there twice
)

// known is what the registry knows of a tool before an observation.
type known struct {
	ID       string
	Kind     policy.Kind
	Name     string
	Observed []byte // digest served last; nil: not offered
	Pinned   []byte // digest of the pinned definition; nil: none
	Held     bool
	Severity Severity // of what held it so far
}

// changes is what an observation changes.
type changes struct {
	create  []item            // names never seen
	serve   map[string]item   // tool id → a definition that was not the one served last
	same    []string          // tool ids served unchanged
	gone    []string          // tool ids not offered any more
	hold    map[string]string // tool id → why it is held from now on
	lost    []string          // tool ids that were callable and are not, since they are not offered any more
	back    []string          // tool ids that are callable again, since they are offered again exactly as pinned
	regrade []string          // tool ids held before, that serve something else than before
	holding []key             // every pinned tool that is held after it
	partial bool              // what is missing was not looked at
}

// moves reports whether the policy depends on what changed.
func (c changes) moves() bool { return len(c.hold)+len(c.lost)+len(c.back) > 0 }

// compare says what an observation changes. It holds whatever is pinned and not served exactly so; there is no
// way in it to release a tool or to pin one. What is merely not offered is not held: it cannot be called while it is
// gone, and only the pinned definition can come back without a person.
func compare(tools []known, s served) changes {
	c := changes{serve: map[string]item{}, hold: map[string]string{}, partial: s.partial}
	byKey := make(map[key]*known, len(tools))
	for i := range tools {
		byKey[key{tools[i].Kind, tools[i].Name}] = &tools[i]
	}
	present := make(map[key]bool, len(s.items))
	for _, it := range s.items {
		present[it.key] = true
		if tool, seen := byKey[it.key]; seen {
			c.offered(tool, it)
		} else {
			c.create = append(c.create, it)
		}
	}
	for _, f := range s.faults {
		present[f.key] = true
		tool, seen := byKey[f.key]
		if seen && tool.Observed != nil {
			c.gone = append(c.gone, tool.ID) // nothing that could be pinned is served
		}
		if seen && tool.Pinned != nil && !tool.Held {
			c.hold[tool.ID] = HeldBroken
		}
	}
	c.finish(tools, present, s.partial)
	return c
}

// offered notes what becomes of a tool that is served as it.
func (c *changes) offered(tool *known, it item) {
	same := slices.Equal(tool.Observed, it.digest[:])
	if same {
		c.same = append(c.same, tool.ID)
	} else {
		c.serve[tool.ID] = it
	}
	switch {
	case tool.Pinned == nil:
	case tool.Held && !same:
		c.regrade = append(c.regrade, tool.ID)
	case tool.Held:
	case !slices.Equal(tool.Pinned, it.digest[:]):
		c.hold[tool.ID] = HeldChanged
	case tool.Observed == nil:
		c.back = append(c.back, tool.ID)
	}
}

func (c *changes) finish(tools []known, present map[key]bool, partial bool) {
	for i := range tools {
		t := &tools[i]
		k := key{t.Kind, t.Name}
		if !partial && !present[k] && t.Observed != nil {
			c.gone = append(c.gone, t.ID)
			if t.Pinned != nil && !t.Held {
				c.lost = append(c.lost, t.ID)
			}
		}
		if _, now := c.hold[t.ID]; t.Pinned != nil && (t.Held || now) {
			c.holding = append(c.holding, k)
		}
	}
}
