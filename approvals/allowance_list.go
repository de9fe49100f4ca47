package approvals

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// Allowance is what one approval allows, or allowed, beside the very call.
type Allowance struct {
	ID            string
	ApprovalID    string // the request that opened it
	ServerID      string
	ServerName    string
	ToolName      string
	GatewayID     string
	Agent         string
	Model         string
	CallerSubject string
	CallerName    string
	Free          []string // names of the arguments that may differ
	Uses          int      // calls, beside the one that was approved itself
	Used          int
	State         AllowanceState
	StateReason   string // typed by a person, or a code
	GivenBy       string // the name of who made the deciding vote
	CreatedAt     time.Time
	ExpiresAt     time.Time
	EndedAt       *time.Time
	EndedBy       string // the name of the person who ended it; "" when nobody did
	MayRevoke     bool   // the reader may end it, now
	Now           time.Time
}

// AllowanceFilter selects allowances. Zero fields select everything.
type AllowanceFilter struct {
	Open     bool   // those that may still be used, by the time they end; otherwise the newest first
	Approval string // opened by this request, or used by it
	After    string // AllowancePage.Next of the page before
	Limit    int    // 1 to 200, default 50
}

// AllowancePage is one page of allowances. Next is empty on the last.
type AllowancePage struct {
	Items []Allowance
	Next  string
}

// Allowances gives one page of allowances. It needs identity.ReadApprovals. A cursor that cannot be read is Invalid
// (bad_cursor).
func (q *Queue) Allowances(ctx context.Context, who identity.Principal, f AllowanceFilter) (AllowancePage, error) {
	if err := who.Can(identity.ReadApprovals, ""); err != nil {
		return AllowancePage{}, err
	}
	after, err := parseCursor(f.After)
	if err != nil {
		return AllowancePage{}, err
	}
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	items, err := allowances(ctx, q.pool, who, f, after)
	return allowancePage(items, f), err
}

// allowances are one more than fit on the page.
func allowances(ctx context.Context, db querier, who identity.Principal, f AllowanceFilter, after cursor) ([]Allowance, error) {
	where, order := `(@after_id = '' or (w.created_at, w.id) < (@after_at, @after_id))`, `w.created_at desc, w.id desc`
	if f.Open {
		where, order = `w.state = 'open' and w.expires_at > clock_timestamp()
		  and (@after_id = '' or (w.expires_at, w.id) > (@after_at, @after_id))`, `w.expires_at, w.id`
	}
	rows, _ := db.Query(ctx, `
		select w.id, w.approval_id, w.server_id, a.server_name, a.tool_name, w.gateway_id, a.agent, a.model, a.caller_subject, a.caller_name,
		       w.free, w.uses, w.used, w.state, w.state_reason,
		       coalesce((select giver.name from people giver where giver.id = a.decided_by), '') as given_by,
		       w.created_at, w.expires_at, w.ended_at, coalesce((select ender.name from people ender where ender.id = w.ended_by), '') as ended_by,
		       @may_vote and coalesce(not `+caller+` and `+member+` or (@admin and p.disabled_at is null), false)
		           and (w.state = 'open' or exists (select from approvals u where u.allowance_id = w.id and u.state = 'approved')) as may_revoke,
		       clock_timestamp() as now
		from allowances w join approvals a on a.id = w.approval_id
		     left join people p on p.id = @reader
		where `+where+`
		  and (@approval = '' or w.approval_id = @approval or w.id = (select u.allowance_id from approvals u where u.id = @approval))
		order by `+order+`
		limit @limit`,
		pgx.StrictNamedArgs{
			"reader": who.ID, "may_vote": who.Can(identity.Vote, "") == nil, "admin": who.Has(identity.Admin),
			"approval": f.Approval, "after_at": after.At, "after_id": after.ID, "limit": f.Limit + 1,
		})
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[Allowance])
	if err != nil {
		return nil, fmt.Errorf("listing allowances: %w", err)
	}
	return items, nil
}

func allowancePage(items []Allowance, f AllowanceFilter) AllowancePage {
	if len(items) <= f.Limit {
		return AllowancePage{Items: items}
	}
	items = items[:f.Limit]
	last := items[len(items)-1]
	at := last.CreatedAt
	if f.Open {
		at = last.ExpiresAt
	}
	return AllowancePage{Items: items, Next: cursor{At: at, ID: last.ID}.String()}
}
