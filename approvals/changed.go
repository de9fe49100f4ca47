package approvals

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// changes says in words how t differs from what was asked for before, for somebody who looked at that.
func (t *terms) changes(before terms) string {
	now, old := t.demand, before.demand
	var what []string
	say := func(changed bool, format string, args ...any) {
		if changed {
			what = append(what, fmt.Sprintf(format, args...))
		}
	}
	say(now.Quorum != old.Quorum, "%d approvals are needed instead of %d", now.Quorum, old.Quorum)
	say(!slices.Equal(now.Teams, old.Teams) || !reflect.DeepEqual(now.Alternatives, old.Alternatives), "other people are asked")
	say(now.DenyQuorum != old.DenyQuorum, "%d denials end it instead of %d", now.DenyQuorum, old.DenyQuorum)
	say(!reflect.DeepEqual(now.Fallback, old.Fallback), "others are asked when nobody decides")
	say(now.NotGranter != old.NotGranter || !slices.Equal(t.granters, before.granters), "other people may not approve because they gave the access")
	say(!reflect.DeepEqual(now.StepUp, old.StepUp), "who approves has to have signed in otherwise")
	say(!reflect.DeepEqual(now.Scope, old.Scope), "something else may be approved beside the call")
	say(!reflect.DeepEqual(now.BreakGlass, old.BreakGlass), "others may decide in an emergency")
	if len(what) == 0 {
		return "what it asks for changed"
	}
	return strings.Join(what, ", ")
}

// happened is what a change of a request is called where somebody looked at it as it was before.
var happened = map[string]string{
	"approval.voted":     "somebody voted",
	"approval.escalated": "nobody decided in time, and others are asked as well",
}

// outdatedTx refuses a vote on what is out of date, and names what happened to the request last.
func outdatedTx(ctx context.Context, tx pgx.Tx, r *row) (refusal, err error) {
	var kind, changed string
	err = tx.QueryRow(ctx, `
		select kind, coalesce(detail->>'changed', '')
		from audit_events
		where target_kind = 'approval' and target_id = $1 and kind <> 'approval.refused'
		order by id desc limit 1`, r.ID).Scan(&kind, &changed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("reading what happened to approval request %s: %w", r.ID, err)
	}
	what := happened[kind]
	if changed != "" {
		what = "the policy changed: " + changed
	}
	if what == "" {
		what = "something happened to this request"
	}
	return r.conflict("version_changed", "While you looked, %s. Reload the page and decide again.", what), nil
}
