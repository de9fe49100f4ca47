package approvals

import (
	"context"
	"fmt"

	"countersign/identity"
)

// Deeds are what a reader may do about a request beside voting and taking it back, and what follows it.
type Deeds struct {
	Alone     Standing // whether the reader may approve it alone in an emergency; May only while it is pending
	MayCancel bool     // the reader is its caller, and it is open
	MayReveal bool     // the reader is its caller and may be shown its token, once
	MaySettle bool     // nobody knows whether it ran, and the reader may say
	Review    *Review  // of an emergency; nil: there was none
	Allowance *Allowance
	Used      bool // Allowance is what approved it; otherwise it is what it opened
}

// deedsOf reads them for the page. The deeds decide for themselves, again.
func deedsOf(ctx context.Context, db querier, who identity.Principal, r *row, d *Detail) (deeds Deeds, err error) {
	if deeds.Alone, err = breaker(ctx, db, who, r); err != nil {
		return Deeds{}, err
	}
	mayVote := who.Can(identity.Vote, "") == nil
	deeds.Alone.May = deeds.Alone.May && mayVote && r.State == Pending && r.ExpiresAt.After(r.Now)
	deeds.MayCancel = d.Mine && who.SessionID != "" && r.State.Open()
	deeds.MaySettle = mayVote && d.Execution == Indeterminate && d.Standing.mayRevoke(who) && d.Standing.Code != "own_call"
	if d.Mine && who.SessionID != "" && r.State == Approved && r.RevealedAt == nil && r.ClaimBy.After(r.Now) && d.Execution != TokenIssued {
		if err := db.QueryRow(ctx, `select kind = 'embedded' from gateways where id = $1`, r.GatewayID).Scan(&deeds.MayReveal); err != nil {
			return Deeds{}, fmt.Errorf("reading the gateway of %s: %w", r.ID, err)
		}
	}
	if r.Emergency {
		found, err := reviews(ctx, db, who, ReviewFilter{Approval: r.ID, Limit: 1}, cursor{})
		if err != nil {
			return Deeds{}, err
		}
		for _, v := range found {
			deeds.Review = &v
		}
	}
	if r.Scope != nil || r.AllowanceID != "" {
		found, err := allowances(ctx, db, who, AllowanceFilter{Approval: r.ID, Limit: 1}, cursor{})
		if err != nil {
			return Deeds{}, err
		}
		for _, w := range found {
			deeds.Allowance, deeds.Used = &w, r.AllowanceID != ""
		}
	}
	return deeds, nil
}
