package registry

import (
	"context"
	"encoding/json"
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

// Guardrail always holds for the calls it matches. It only restricts.
type Guardrail struct {
	ID            string
	Key           string // the name by which files know it: its id, unless somebody chose one
	Name          string
	Subject       policy.Subject
	Except        policy.Subject
	Resource      policy.Resource
	Condition     string // CEL; "" is always true
	Effect        policy.Effect
	Reason        string
	Emergency     bool // see Suspension
	Version       int64
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	EndedAt       *time.Time
	EndedBy       string
	EndedByName   string
}

// NewGuardrail is what CreateGuardrail and ChangeGuardrail need.
type NewGuardrail struct {
	Key       string // "": its id will be
	Name      string
	Subject   policy.Subject
	Except    policy.Subject
	Resource  policy.Resource
	Condition string // CEL, as policy.CheckCondition wants it; "": none
	Effect    policy.Effect
	Reason    string
}

const selectGuardrails = `
	select g.id, g.key, g.name, g.subject, g.exempt as except, g.resource, g.condition, g.effect, g.reason, g.emergency, g.version,
	       g.created_by, coalesce(c.name, g.created_by) as created_by_name, g.created_at,
	       g.ended_at, g.ended_by, coalesce(e.name, g.ended_by) as ended_by_name
	from guardrails g
	left join people c on c.id = g.created_by
	left join people e on e.id = g.ended_by `

// Guardrails lists guardrails, newest first, with the ended ones if asked. It needs identity.ReadPolicy.
func (r *Registry) Guardrails(ctx context.Context, who identity.Principal, ended bool) ([]Guardrail, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, selectGuardrails+`
		where @ended or g.ended_at is null
		order by g.created_at desc, g.id desc
		limit 1000`, pgx.StrictNamedArgs{"ended": ended})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Guardrail])
	if err != nil {
		return nil, fmt.Errorf("listing guardrails: %w", err)
	}
	return found, nil
}

// Guardrail gives one guardrail. It needs identity.ReadPolicy. Problem: NotFound no_such_guardrail.
func (r *Registry) Guardrail(ctx context.Context, who identity.Principal, id string) (Guardrail, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Guardrail{}, err
	}
	rows, _ := r.pool.Query(ctx, selectGuardrails+`where g.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[Guardrail], "reading guardrail",
		problem.New(problem.NotFound, "no_such_guardrail", "There is no such guardrail."))
}

// CreateGuardrail makes a guardrail. It needs identity.ChangeGrant. Problems: Invalid invalid_guardrail;
// Conflict key_taken.
func (r *Registry) CreateGuardrail(ctx context.Context, who identity.Principal, n NewGuardrail) (Guardrail, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Guardrail{}, err
	}
	if err := n.clean(); err != nil {
		return Guardrail{}, err
	}
	if err := r.checkSuits(ctx, invalidGuardrail(), n.Resource, n.expressions()); err != nil {
		return Guardrail{}, err
	}
	if err := r.checkTeams(ctx, n.Effect, policy.Effect{}); err != nil {
		return Guardrail{}, err
	}
	var id string
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		if id, err = createGuardrailTx(ctx, tx, who, n); err != nil {
			return err
		}
		_, err = BumpTx(ctx, tx)
		return err
	})
	if postgres.Constraint(err) == "guardrails_key_open" {
		return Guardrail{}, keyTaken("guardrail")
	}
	if err != nil {
		return Guardrail{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Guardrail(ctx, system, id)
}

// createGuardrailTx makes a guardrail of a clean n. The caller moves the policy's generation.
func createGuardrailTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n NewGuardrail) (id string, err error) {
	err = tx.QueryRow(ctx, `
		insert into guardrails (key, name, subject, exempt, resource, condition, effect, reason, created_by)
		values (@key, @name, @subject, @exempt, @resource, @condition, @effect, @reason, @by)
		returning id`,
		pgx.StrictNamedArgs{
			"key": n.Key, "name": n.Name, "subject": n.Subject, "exempt": n.Except, "resource": n.Resource,
			"condition": n.Condition, "effect": n.Effect, "reason": n.Reason, "by": who.ID,
		}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting guardrail: %w", err)
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "guardrail.created", Who: who, TargetKind: "guardrail", TargetID: id, TargetName: n.Name, Detail: n.detail(),
	})
}

// detail is what the log keeps of a guardrail.
func (n *NewGuardrail) detail() map[string]any {
	detail := map[string]any{
		"subject": n.Subject, "except": n.Except, "resource": n.Resource, "effect": n.Effect, "reason": n.Reason,
	}
	if n.Key != "" {
		detail["key"] = n.Key
	}
	if n.Condition != "" {
		detail["condition"] = n.Condition
	}
	return detail
}

func (n *NewGuardrail) clean() error {
	invalid := invalidGuardrail()
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
	ruleField(invalid, "effect", n.Effect.Validate())
	except, err := json.Marshal(n.Except)
	if err == nil {
		_, err = policy.ParseExcept(except)
	}
	if err != nil {
		invalid.Field("except", "The exception cannot be used: it names nobody, or everyone.").Because(err)
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// EndGuardrail ends a guardrail. Since that loosens the policy it needs a person's session besides
// identity.ChangeGrant, and a reason.
//
// Problems: NotFound no_such_guardrail; Conflict guardrail_changed; Invalid invalid_reason; Forbidden interactive_only.
func (r *Registry) EndGuardrail(ctx context.Context, who identity.Principal, id string, version int64, reason string) (Guardrail, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Guardrail{}, err
	}
	if who.SessionID == "" && who.Kind != identity.System {
		return Guardrail{}, problem.New(problem.Forbidden, "interactive_only", "A person has to do this in a signed-in session.")
	}
	reason, err := cleanReason(reason)
	if err == nil && reason == "" {
		err = problem.New(problem.Invalid, "invalid_reason", "Nothing was changed.").Field("reason", "Say why, for the one who asks later.")
	}
	if err != nil {
		return Guardrail{}, err
	}
	rail, err := r.Guardrail(ctx, system, id)
	if err != nil {
		return Guardrail{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if err := endGuardrailTx(ctx, tx, who, rail.ID, rail.Name, version, reason); err != nil {
			return err
		}
		_, err := BumpTx(ctx, tx)
		return err
	})
	if err != nil {
		return Guardrail{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Guardrail(ctx, system, id)
}

// endGuardrailTx ends a guardrail at the version that was seen. The caller moves the policy's generation.
func endGuardrailTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id, name string, version int64, reason string) error {
	tag, err := tx.Exec(ctx, `
		update guardrails set ended_at = clock_timestamp(), ended_by = @by, version = version + 1
		where id = @id and version = @version and ended_at is null`,
		pgx.StrictNamedArgs{"id": id, "version": version, "by": who.ID})
	if err != nil {
		return fmt.Errorf("ending guardrail: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return guardrailChanged()
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "guardrail.ended", Who: who, TargetKind: "guardrail", TargetID: id, TargetName: name,
		Detail: map[string]any{"reason": reason},
	})
}

func guardrailChanged() *problem.Error {
	return problem.New(problem.Conflict, "guardrail_changed", "Somebody changed or ended this guardrail while you looked at it. Nothing was changed by you.")
}

func invalidGuardrail() *problem.Error {
	return problem.New(problem.Invalid, "invalid_guardrail", "The guardrail cannot be as it is said here. Nothing was changed.")
}
