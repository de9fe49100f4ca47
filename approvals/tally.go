package approvals

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// ballot is a vote of somebody who may vote now: a vote ends to count when its voter leaves.
type ballot struct {
	Decision Decision
	Scope    *Scope
	AMR      []string
	ACR      string
	AuthTime time.Time
	At       time.Time
	Teams    []string // that are asked, and to which the voter belongs
}

// ballots are the votes on a request that count, in the order they were cast.
func ballots(ctx context.Context, tx pgx.Tx, id string) ([]ballot, error) {
	rows, _ := tx.Query(ctx, `
		select v.decision, v.scope, v.amr, v.acr, v.auth_time, v.at,
		       array(select t.id from teams t where t.id = any (a.team_ids) and `+inTeam+`) as teams
		from votes v join approvals a on a.id = v.approval_id join people p on p.id = v.person_id
		where v.approval_id = @id and `+member+` and not `+caller+`
		order by v.at, v.person_id`,
		pgx.StrictNamedArgs{"id": id})
	cast, err := pgx.CollectRows(rows, pgx.RowToStructByName[ballot])
	if err != nil {
		return nil, fmt.Errorf("counting votes: %w", err)
	}
	return cast, nil
}

// tally is what the votes come to.
type tally struct {
	denied   bool
	approved bool
	scope    *Scope // what was approved beside the call
}

// count says what votes come to under terms. Denials are of anybody who may vote. Approvals are counted for each set of
// approvers by itself; one by somebody who had not signed in as is asked for counts for none, which is so when that is
// asked for since. What is allowed beside the call is what all who approve allow.
func (t *terms) count(cast []ballot) tally {
	approvals := slices.DeleteFunc(slices.Clone(cast), func(b ballot) bool {
		return b.Decision != Approve || !b.signedInAs(t.demand.StepUp)
	})
	denials := 0
	for _, b := range cast {
		if b.Decision == Deny {
			denials++
		}
	}
	sum := tally{denied: denials >= t.demand.DenyQuorum}
	for _, set := range t.sets() {
		votes := 0
		for _, b := range approvals {
			if slices.ContainsFunc(b.Teams, func(id string) bool { return slices.Contains(set.Teams, id) }) {
				votes++
			}
		}
		sum.approved = sum.approved || votes >= set.Quorum
	}
	sum.scope = t.widest()
	for _, b := range approvals {
		sum.scope = narrowest(sum.scope, b.Scope)
	}
	return sum
}

func (b *ballot) signedInAs(s *policy.StepUp) bool {
	return s == nil || s.Met(&policy.Principal{AMR: b.AMR, ACR: b.ACR, AuthTime: b.AuthTime}, b.At)
}
