package delivery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

// How a grant may be idle.
const (
	UnusedAfter  = 90 * 24 * time.Hour // without a call it could have allowed
	SettledAfter = 7 * 24 * time.Hour  // before that a grant without a call is only new
	ExpiresSoon  = 30 * 24 * time.Hour // until the end of its window
)

// Idleness says why a grant is worth a look.
type Idleness string

// The kinds of idleness.
const (
	NeverUsed Idleness = "never"    // no call since it was made, more than seven days ago
	Unused    Idleness = "unused"   // the last call was more than 90 days ago
	Expiring  Idleness = "expiring" // it ends within 30 days
)

// IdleGrant is a grant that is perhaps not needed any more, or about to end.
//
// What gateways report of a call is the server, the tool, the subject, the agent and the model, and not which grant
// allowed it. So a grant counts as used by every recorded call that went through and that it could have allowed: the
// grant reaches that tool today, and as far as it is known who called they are in its subject. Groups are those of the
// caller's last sign-in here; of a caller who never signed in they are not known, and any group may be theirs. A grant
// may therefore be unused and look used; one that is said to be unused is, as far as calls were reported.
type IdleGrant struct {
	ID        string
	Name      string
	Subject   policy.Subject
	Resource  policy.Resource
	NotAfter  *time.Time
	CreatedAt time.Time
	LastUsed  *time.Time // nil: never, as far as calls were reported
	Idle      []Idleness // at least one
}

// IdleFilter selects idle grants.
type IdleFilter struct {
	Idle  Idleness // "": any
	After string   // cursor: Page.Next of the page before
	Limit int      // 1 to 200, default 50
}

// IdleGrants lists the open grants that are never used, unused for long or about to end, the longest unused first. It
// needs identity.ReadPolicy.
func (d *Delivery) IdleGrants(ctx context.Context, who identity.Principal, f IdleFilter) (registry.Page[IdleGrant], error) {
	var page registry.Page[IdleGrant]
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return page, err
	}
	s, made, uses, err := d.uses(ctx)
	if err != nil {
		return page, err
	}
	var all []IdleGrant
	for _, grant := range s.Grants {
		g := IdleGrant{
			ID: grant.ID, Name: grant.Name, Subject: grant.Subject, Resource: grant.Resource, NotAfter: grant.NotAfter, CreatedAt: made[grant.ID],
		}
		g.judge(uses, s.at)
		all = append(all, g)
	}
	all = slices.DeleteFunc(all, func(g IdleGrant) bool { return len(g.Idle) == 0 || f.Idle != "" && !slices.Contains(g.Idle, f.Idle) })
	slices.SortFunc(all, IdleGrant.compare)
	if i := slices.IndexFunc(all, func(g IdleGrant) bool { return g.ID == f.After }); i >= 0 {
		all = all[i+1:]
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultRows
	}
	if limit = min(limit, maxRows); len(all) > limit {
		all = all[:limit]
		page.Next = all[limit-1].ID
	}
	page.Items = all
	return page, nil
}

// GrantUses says when each open grant was last used, by id, as [IdleGrant] has it. One that is not in it never was. It
// needs identity.ReadPolicy.
func (d *Delivery) GrantUses(ctx context.Context, who identity.Principal) (map[string]time.Time, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	_, _, uses, err := d.uses(ctx)
	return uses, err
}

// judge says in which ways g is idle.
func (g *IdleGrant) judge(uses map[string]time.Time, now time.Time) {
	used, ever := uses[g.ID]
	switch {
	case ever:
		g.LastUsed = &used
		if now.Sub(used) > UnusedAfter {
			g.Idle = append(g.Idle, Unused)
		}
	case now.Sub(g.CreatedAt) > SettledAfter:
		g.Idle = append(g.Idle, NeverUsed)
	}
	if g.NotAfter != nil && now.Before(*g.NotAfter) && g.NotAfter.Sub(now) <= ExpiresSoon {
		g.Idle = append(g.Idle, Expiring)
	}
}

// compare puts those never used first, the oldest before, then those used longest ago.
func (g IdleGrant) compare(other IdleGrant) int {
	at := func(g IdleGrant) time.Time {
		if g.LastUsed != nil {
			return *g.LastUsed
		}
		return time.Time{}
	}
	return cmp.Or(at(g).Compare(at(other)), g.CreatedAt.Compare(other.CreatedAt), cmp.Compare(g.ID, other.ID))
}
