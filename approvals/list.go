package approvals

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Summary is a request in a list.
type Summary struct {
	ID            string
	State         State
	StateReason   string
	Version       int64
	ServerID      string
	ServerName    string
	ToolID        string
	ToolName      string
	Kind          policy.Kind
	Risk          policy.Risk // as it is now
	GatewayID     string
	GatewayName   string
	CallerIssuer  string
	CallerSubject string
	CallerName    string
	Agent         string
	Model         string
	Evidence      string // "verified" or "asserted"
	Quorum        int
	DenyQuorum    int
	Approvals     int // votes, whoever may vote by now
	Denials       int
	Teams         []string // names: who may decide
	DecidedBy     string   // the name of who made the deciding vote, if it was a person
	CreatedAt     time.Time
	ExpiresAt     time.Time
	DecidedAt     *time.Time
	ClaimBy       *time.Time
	ChangedAt     time.Time
	Execution     ConfirmationState // of the newest confirmation; "" when there is none
	Emergency     bool              // one person approved it alone
	Mine          bool              // the reader is the caller
	MayDecide     bool              // the reader may vote
	Now           time.Time         // the database's clock, which all times are to be compared with
}

const summaryColumns = `a.id, a.state, a.state_reason, a.version, a.server_id, a.server_name, a.tool_id, a.tool_name,
	tool.kind, coalesce(tool.risk, 'destructive') as risk, a.gateway_id, gateway.name as gateway_name,
	a.caller_issuer, a.caller_subject, a.caller_name, a.agent, a.model, a.evidence, a.quorum, a.deny_quorum,
	(select count(*) from votes v where v.approval_id = a.id and v.decision = 'approve') as approvals,
	(select count(*) from votes v where v.approval_id = a.id and v.decision = 'deny') as denials,
	array(select t.name from teams t where t.id = any (a.team_ids) order by lower(t.name)) as teams,
	coalesce((select decider.name from people decider where decider.id = a.decided_by), '') as decided_by,
	a.created_at, a.expires_at, a.decided_at, a.claim_by, a.changed_at,
	coalesce((select c.state from confirmations c where c.approval_id = a.id order by c.issued_at desc, c.id desc limit 1), '') as execution,
	a.emergency, coalesce(` + caller + `, false) as mine,
	` + mayDecide + ` as may_decide,
	clock_timestamp() as now`

// mayDecide is SQL: whether the reader p may vote on request a, now.
const mayDecide = `coalesce(a.state = 'pending' and a.expires_at > clock_timestamp() and not ` + caller + ` and ` + member + `
	and not exists (select from votes v where v.approval_id = a.id and v.person_id = p.id), false)`

const summaryTables = `approvals a
	join tools tool on tool.id = a.tool_id
	join gateways gateway on gateway.id = a.gateway_id
	left join people p on p.id = @reader`

// Filter selects requests. Zero fields select everything.
type Filter struct {
	Waiting   bool      // the queue: pending requests by deadline; otherwise the newest first
	States    []State   // history only
	ServerID  string    // id or name
	Tool      string    // name
	Caller    string    // subject, or name
	Agent     string    // as tokens name it
	DecidedBy string    // name of the person who made the deciding vote
	From, To  time.Time // asked at or after From, and before To
	Mine      bool      // only the reader's own calls
	Emergency bool      // only what one person approved alone
	MayDecide bool      // only what the reader may vote on
	After     string    // Page.Next of the page before
	Limit     int       // 1 to 200, default 50
}

// filtered is SQL: whether request a is what a Filter selects.
const filtered = `(@server = '' or a.server_id = @server or lower(a.server_name) = lower(@server))
		  and (@tool = '' or lower(a.tool_name) = lower(@tool))
		  and (@caller = '' or a.caller_subject = @caller or lower(a.caller_name) = lower(@caller))
		  and (@agent = '' or a.agent = @agent)
		  and (@decider = '' or exists (select from people d where d.id = a.decided_by and lower(d.name) = lower(@decider)))
		  and (@from::timestamptz is null or a.created_at >= @from)
		  and (@to::timestamptz is null or a.created_at < @to)
		  and (not @mine or (a.caller_issuer, a.caller_subject) = (select me.issuer, me.subject from people me where me.id = @reader))
		  and (not @emergency or a.emergency)
		  and (not @may_decide or ` + mayDecide + `)`

// moment is a time for the database; none is null.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Page is one page of a list. Next is empty on the last.
type Page struct {
	Items []Summary
	Next  string
}

// List gives the queue, or the history. It needs identity.ReadApprovals. A cursor that cannot be read is
// Invalid (bad_cursor), and so is a filter that is no text (bad_filter).
func (q *Queue) List(ctx context.Context, who identity.Principal, f Filter) (Page, error) {
	if err := who.Can(identity.ReadApprovals, ""); err != nil {
		return Page{}, err
	}
	after, err := parseCursor(f.After)
	if err != nil {
		return Page{}, err
	}
	if err := texts(f.ServerID, f.Tool, f.Caller, f.Agent, f.DecidedBy); err != nil {
		return Page{}, problem.New(problem.Invalid, "bad_filter", "A filter is no text that a request could have.").Because(err)
	}
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	where, order := `(cardinality(@states::text[]) = 0 or a.state = any (@states))
		and (@after_id = '' or (a.created_at, a.id) < (@after_at, @after_id))`, `a.created_at desc, a.id desc`
	if f.Waiting {
		where, order = `a.state = 'pending' and a.expires_at > clock_timestamp() and cardinality(@states::text[]) = 0
		and (@after_id = '' or (a.expires_at, a.id) > (@after_at, @after_id))`, `a.expires_at, a.id`
		f.States = nil
	}
	rows, _ := q.pool.Query(ctx, `
		select `+summaryColumns+`
		from `+summaryTables+`
		where `+where+`
		  and `+filtered+`
		order by `+order+`
		limit @limit`,
		pgx.StrictNamedArgs{
			"reader": who.ID, "states": append([]State{}, f.States...), "server": f.ServerID, "tool": f.Tool, "caller": f.Caller,
			"agent": f.Agent, "decider": f.DecidedBy, "from": moment(f.From), "to": moment(f.To), "mine": f.Mine,
			"emergency": f.Emergency, "may_decide": f.MayDecide, "after_at": after.At, "after_id": after.ID, "limit": f.Limit + 1,
		})
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[Summary])
	if err != nil {
		return Page{}, fmt.Errorf("listing approval requests: %w", err)
	}
	return page(items, f), nil
}

func page(items []Summary, f Filter) Page {
	if len(items) <= f.Limit {
		return Page{Items: items}
	}
	items = items[:f.Limit]
	last := items[len(items)-1]
	at := last.CreatedAt
	if f.Waiting {
		at = last.ExpiresAt
	}
	return Page{Items: items, Next: cursor{At: at, ID: last.ID}.String()}
}

// cursor is where a page ended.
type cursor struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

func (c cursor) String() string {
	raw, err := json.Marshal(c)
	if err != nil { // a year beyond 9999, which the database's clock does not show
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(s string) (c cursor, err error) {
	if s == "" {
		return c, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.ID == "" || badText(c.ID) != "" {
		return cursor{}, problem.New(problem.Invalid, "bad_cursor", "This page of the list cannot be found. Start from the first.")
	}
	return c, nil
}

// Counts is how much there is.
type Counts struct {
	Waiting        int // pending, in time
	ForMe          int // of these, what the reader may vote on
	DecidedLastDay int // approved or denied by people in 24 hours
}

// Counts counts for the navigation and the head of the queue. It needs identity.ReadApprovals.
func (q *Queue) Counts(ctx context.Context, who identity.Principal) (Counts, error) {
	if err := who.Can(identity.ReadApprovals, ""); err != nil {
		return Counts{}, err
	}
	rows, _ := q.pool.Query(ctx, `
		with reader as (
			select p.issuer, p.subject, array(
				select t.id from teams t
				where t.idp_groups && p.groups
				   or exists (select from team_members m where m.team_id = t.id and m.person_id = p.id)) as teams,
				array(select g.agent from agents g where g.owner_id = p.id and g.ended_at is null) as agents
			from people p where p.id = @reader and p.disabled_at is null
		)
		select count(*) as waiting,
		       count(*) filter (where a.team_ids && r.teams and v.person_id is null
		           and not (r.issuer = a.caller_issuer and r.subject = a.caller_subject)
		           and not (@reader = any (a.granters)) and not (a.agent = any (r.agents))) as for_me,
		       (select count(*) from approvals d
		        where d.decided_at > clock_timestamp() - interval '24 hours'
		          and exists (select from votes v where v.approval_id = d.id)) as decided_last_day
		from approvals a
		     left join reader r on true
		     left join votes v on v.approval_id = a.id and v.person_id = @reader
		where a.state = 'pending' and a.expires_at > clock_timestamp()`,
		pgx.StrictNamedArgs{"reader": who.ID})
	counts, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Counts])
	if err != nil {
		return Counts{}, fmt.Errorf("counting approval requests: %w", err)
	}
	return counts, nil
}
