package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// Grant says who may call what, from when until when. It only allows.
type Grant struct {
	ID            string
	Key           string // the name by which files know it: its id, unless somebody chose one
	Name          string
	Subject       policy.Subject
	Resource      policy.Resource
	Condition     string // CEL; "" is always true
	NotBefore     *time.Time
	NotAfter      *time.Time
	Reason        string
	Version       int64
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	EndedAt       *time.Time
	EndedBy       string
	EndedByName   string
	State         GrantState
}

// GrantState is where a grant is in its time, by the database's clock.
type GrantState string

// The states of a grant.
const (
	GrantInForce GrantState = "in_force"
	GrantLater   GrantState = "later" // its window has not begun
	GrantOver    GrantState = "over"  // its window has passed
	GrantEnded   GrantState = "ended" // somebody ended it
)

// NewGrant is what CreateGrant and ChangeGrant need.
type NewGrant struct {
	Key       string // "": its id will be
	Name      string
	Subject   policy.Subject
	Resource  policy.Resource
	Condition string // CEL, as policy.CheckCondition wants it; "": none
	NotBefore *time.Time
	NotAfter  *time.Time
	Reason    string
}

const selectGrants = `
	select g.id, g.key, g.name, g.subject, g.resource, g.condition, g.not_before, g.not_after, g.reason, g.version,
	       g.created_by, coalesce(c.name, g.created_by) as created_by_name, g.created_at,
	       g.ended_at, g.ended_by, coalesce(e.name, g.ended_by) as ended_by_name,
	       case when g.ended_at is not null then 'ended'
	            when g.not_after <= clock_timestamp() then 'over'
	            when g.not_before > clock_timestamp() then 'later'
	            else 'in_force' end as state
	from grants g
	left join people c on c.id = g.created_by
	left join people e on e.id = g.ended_by `

// CreateGrant makes a grant. It needs identity.ChangeGrant. Problems: Invalid invalid_grant, with the fields
// key, name, reason, not_before, not_after, and those of policy ("subject", "resource.servers", …); Conflict key_taken.
func (r *Registry) CreateGrant(ctx context.Context, who identity.Principal, n NewGrant) (Grant, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Grant{}, err
	}
	if err := n.clean(); err != nil {
		return Grant{}, err
	}
	if err := r.checkSuits(ctx, invalidGrant(), n.Resource, n.expressions()); err != nil {
		return Grant{}, err
	}
	var id string
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		if id, err = createGrantTx(ctx, tx, who, n); err != nil {
			return err
		}
		_, err = BumpTx(ctx, tx)
		return err
	})
	if postgres.Constraint(err) == "grants_key_open" {
		return Grant{}, keyTaken("grant")
	}
	if err != nil {
		return Grant{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Grant(ctx, system, id)
}

// createGrantTx makes a grant of a clean n. The caller moves the policy's generation.
func createGrantTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n NewGrant) (id string, err error) {
	err = tx.QueryRow(ctx, `
		insert into grants (key, name, subject, resource, condition, not_before, not_after, reason, created_by)
		values (@key, @name, @subject, @resource, @condition, @not_before, @not_after, @reason, @by)
		returning id`,
		pgx.StrictNamedArgs{
			"key": n.Key, "name": n.Name, "subject": n.Subject, "resource": n.Resource, "condition": n.Condition,
			"not_before": n.NotBefore, "not_after": n.NotAfter, "reason": n.Reason, "by": who.ID,
		}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting grant: %w", err)
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "grant.created", Who: who, TargetKind: "grant", TargetID: id, TargetName: n.Name, Detail: n.detail(),
	})
}

// detail is what the log keeps of a grant.
func (n *NewGrant) detail() map[string]any {
	detail := map[string]any{
		"subject": n.Subject, "resource": n.Resource, "not_before": n.NotBefore, "not_after": n.NotAfter, "reason": n.Reason,
	}
	if n.Key != "" {
		detail["key"] = n.Key
	}
	if n.Condition != "" {
		detail["condition"] = n.Condition
	}
	return detail
}

// clean trims n and says everything that is wrong with it. Times are kept to the microsecond, as the database does.
func (n *NewGrant) clean() error {
	invalid := invalidGrant()
	n.Name, n.Reason = strings.TrimSpace(n.Name), strings.TrimSpace(n.Reason)
	if n.Key != "" && !ruleKey.MatchString(n.Key) {
		invalid.Field("key", badKey)
	}
	if message := checkLine(n.Name, 1, 200); message != "" {
		invalid.Field("name", message)
	}
	if message := checkText(n.Reason, 1000); message != "" {
		invalid.Field("reason", message)
	}
	ruleField(invalid, "subject", n.Subject.Validate())
	ruleField(invalid, "resource", n.Resource.Validate())
	checkCondition(invalid, n.Condition)
	n.NotBefore, n.NotAfter = truncated(n.NotBefore), truncated(n.NotAfter)
	for field, at := range map[string]*time.Time{"not_before": n.NotBefore, "not_after": n.NotAfter} {
		if at != nil && (at.Year() < 2000 || at.Year() > 2200) {
			invalid.Field(field, "This time is out of range.")
		}
	}
	if n.NotBefore != nil && n.NotAfter != nil && !n.NotBefore.Before(*n.NotAfter) {
		invalid.Field("not_after", "The end is not after the beginning.")
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

func truncated(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC().Truncate(time.Microsecond)
	return &utc
}

// ruleField names the field that policy complains of.
func ruleField(invalid *problem.Error, part string, err error) {
	var wrong *policy.Error
	switch {
	case err == nil:
	case errors.As(err, &wrong) && wrong.Field != "":
		invalid.Field(part+"."+wrong.Field, wrong.Error()+".")
	case errors.As(err, &wrong):
		invalid.Field(part, "The "+part+" "+wrong.Msg+".")
	default:
		invalid.Field(part, "This cannot be read.").Because(err)
	}
}

// EndGrant ends a grant, for good. version is the Version that the reader saw. It needs identity.ChangeGrant.
// Problems: NotFound no_such_grant; Conflict grant_changed; Invalid invalid_reason.
func (r *Registry) EndGrant(ctx context.Context, who identity.Principal, id string, version int64, reason string) (Grant, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Grant{}, err
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return Grant{}, err
	}
	grant, err := r.Grant(ctx, system, id)
	if err != nil {
		return Grant{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if err := endGrantTx(ctx, tx, who, grant.ID, grant.Name, version, reason); err != nil {
			return err
		}
		_, err := BumpTx(ctx, tx)
		return err
	})
	if err != nil {
		return Grant{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Grant(ctx, system, id)
}

// endGrantTx ends a grant at the version that was seen. The caller moves the policy's generation.
func endGrantTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id, name string, version int64, reason string) error {
	tag, err := tx.Exec(ctx, `
		update grants set ended_at = clock_timestamp(), ended_by = @by, version = version + 1
		where id = @id and version = @version and ended_at is null`,
		pgx.StrictNamedArgs{"id": id, "version": version, "by": who.ID})
	if err != nil {
		return fmt.Errorf("ending grant: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return grantChanged()
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "grant.ended", Who: who, TargetKind: "grant", TargetID: id, TargetName: name,
		Detail: map[string]any{"reason": reason},
	})
}

func grantChanged() *problem.Error {
	return problem.New(problem.Conflict, "grant_changed", "Somebody changed or ended this grant while you looked at it. Nothing was changed by you.")
}

// Grant gives one grant. It needs identity.ReadPolicy. Problem: NotFound no_such_grant.
func (r *Registry) Grant(ctx context.Context, who identity.Principal, id string) (Grant, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Grant{}, err
	}
	rows, _ := r.pool.Query(ctx, selectGrants+`where g.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[Grant], "reading grant",
		problem.New(problem.NotFound, "no_such_grant", "There is no such grant."))
}

// GrantFilter selects grants.
type GrantFilter struct {
	Ended string // "" only open ones, "only" only ended ones, "all" both
	Query string // part of the name
	After string // cursor: Page.Next of the page before
	Limit int    // 1 to 200, default 50
}

// Grants lists grants, newest first. It needs identity.ReadPolicy.
func (r *Registry) Grants(ctx context.Context, who identity.Principal, f GrantFilter) (Page[Grant], error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Page[Grant]{}, err
	}
	limit := limitOf(f.Limit, 50, 200)
	rows, _ := r.pool.Query(ctx, selectGrants+`
		where case @ended when 'all' then true when 'only' then g.ended_at is not null else g.ended_at is null end
		  and (@query = '' or g.name ilike @query)
		  and (@after = '' or (g.created_at, g.id) < (select b.created_at, b.id from grants b where b.id = @after))
		order by g.created_at desc, g.id desc
		limit @limit`,
		pgx.StrictNamedArgs{"ended": f.Ended, "query": contains(f.Query), "after": f.After, "limit": limit + 1})
	grants, err := pgx.CollectRows(rows, pgx.RowToStructByName[Grant])
	if err != nil {
		return Page[Grant]{}, fmt.Errorf("listing grants: %w", err)
	}
	return pageOf(grants, limit, func(g Grant) string { return g.ID }), nil
}

func invalidGrant() *problem.Error {
	return problem.New(problem.Invalid, "invalid_grant", "The grant cannot be as it is said here. Nothing was changed.")
}
