package delivery

import (
	"encoding/json"
	"strings"

	"countersign/policy"
)

// reachData is how the module finds, among some grants, one that the caller matches.
type reachData struct {
	Everyone bool                           `json:"everyone,omitempty"` // one of them is for everyone, at any time
	Keyed    map[string]map[string][]string `json:"keyed,omitempty"`    // by kind and name: ids of those that need the name, and more
	Open     []string                       `json:"open,omitempty"`     // ids of those that no exact name leads to
	Plain    map[string]map[string]bool     `json:"plain,omitempty"`    // by kind: names that are all that one of them needs
}

// The kinds of names by which the module finds grants. That of a user of one issuer is byUser, | and the issuer.
const (
	byUser     = "user"
	byGroup    = "group"
	byAgent    = "agent"
	byModel    = "model"    // attested
	byDeclared = "declared" // a model for which a declaration is enough
)

// grantKey is a name by which a grant is found.
type grantKey struct{ kind, name string }

// reach gives the place of the reach of some grants, none if nobody has any of them.
func (b *bundler) reach(grants []int) []int {
	var r reachData
	for _, i := range grants {
		g := &b.Grants[i]
		windowed := g.NotBefore != nil || g.NotAfter != nil
		keys, alone := keysOf(g.Subject)
		switch {
		case g.Condition != "": // left out
		case g.Subject.Everyone && !windowed:
			return []int{place(b.reaches, &b.data.Reaches, reachData{Everyone: true})}
		case len(keys) == 0:
			r.Open = append(r.Open, b.grant(g))
		case alone && !windowed:
			r.addPlain(keys)
		default:
			r.addKeyed(keys, b.grant(g))
		}
	}
	if len(r.Open)+len(r.Plain)+len(r.Keyed) == 0 {
		return nil
	}
	return []int{place(b.reaches, &b.data.Reaches, r)}
}

func (r *reachData) addPlain(keys []grantKey) {
	if r.Plain == nil {
		r.Plain = map[string]map[string]bool{}
	}
	for _, k := range keys {
		if r.Plain[k.kind] == nil {
			r.Plain[k.kind] = map[string]bool{}
		}
		r.Plain[k.kind][k.name] = true
	}
}

func (r *reachData) addKeyed(keys []grantKey, id string) {
	if r.Keyed == nil {
		r.Keyed = map[string]map[string][]string{}
	}
	for _, k := range keys {
		if r.Keyed[k.kind] == nil {
			r.Keyed[k.kind] = map[string][]string{}
		}
		r.Keyed[k.kind][k.name] = append(r.Keyed[k.kind][k.name], id)
	}
}

// keysOf gives names of which a caller must have one to match s, none if there are no such names; alone says that one is
// also enough.
func keysOf(s policy.Subject) (keys []grantKey, alone bool) {
	model := byModel
	if s.AllowDeclared {
		model = byDeclared
	}
	given := 0
	for _, kind := range []struct {
		name     string
		patterns []string
	}{{byUser, s.Users}, {byGroup, s.Groups}, {byAgent, s.Agents}, {model, s.Models}} {
		if len(kind.patterns) == 0 {
			continue
		}
		given++
		if keys == nil && !strings.Contains(strings.Join(kind.patterns, ""), "*") {
			keys = exactly(kind.name, kind.patterns)
		}
	}
	return keys, given == 1
}

func exactly(kind string, names []string) []grantKey {
	keys := make([]grantKey, 0, len(names))
	for _, name := range names {
		k := grantKey{kind, name}
		if issuer, subject := policy.UserPattern(name); kind == byUser && issuer != "" {
			k = grantKey{byUser + "|" + issuer, subject}
		}
		keys = append(keys, k)
	}
	return keys
}

// grant keeps g and gives its id.
func (b *bundler) grant(g *policy.Grant) string {
	if _, kept := b.data.Grants[g.ID]; !kept {
		b.data.Grants[g.ID] = grantData{nanoseconds(g.NotAfter), nanoseconds(g.NotBefore), b.subject(g.Subject)}
	}
	return g.ID
}

// place gives where v is in all, and puts it there unless an equal one is. Places are by JSON.
func place[T any](places map[string]int, all *[]T, v T) int {
	text, err := json.Marshal(v)
	if i, ok := places[string(text)]; ok && err == nil {
		return i
	}
	places[string(text)] = len(*all)
	*all = append(*all, v)
	return len(*all) - 1
}
