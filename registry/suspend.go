package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// SuspendedKind says what is suspended.
type SuspendedKind string

// What can be suspended, beside a server, which has a state of its own.
const (
	SuspendedTool   SuspendedKind = "tool"
	SuspendedAgent  SuspendedKind = "agent"
	SuspendedPerson SuspendedKind = "person"
)

// Suspension is an emergency guardrail: it denies a tool to everyone, or everything to an agent or a person, until a
// person lifts it with [Registry.EndGuardrail]. It is published like any other rule, is in no file, and stays when rules
// are rolled back. As with every guardrail, a caller whose agent or user is not known counts as the one that is named.
type Suspension struct {
	Guardrail
	Generation int64 // of the policy that first said so: delivery.Reach tells who enforces it
}

// Suspended says what is suspended: the kind, and a tool's server and name, an agent, or "<issuer>|<subject>".
func (s Suspension) Suspended() (kind SuspendedKind, server, name string) {
	switch {
	case len(s.Subject.Agents) == 1:
		return SuspendedAgent, "", s.Subject.Agents[0]
	case len(s.Subject.Users) == 1:
		return SuspendedPerson, "", s.Subject.Users[0]
	case len(s.Resource.Servers) == 1 && len(s.Resource.Names) == 1:
		return SuspendedTool, s.Resource.Servers[0], s.Resource.Names[0]
	}
	return "", "", ""
}

// Suspensions lists the emergency guardrails in force, newest first, at most 1,000. It needs identity.ReadPolicy.
func (r *Registry) Suspensions(ctx context.Context, who identity.Principal) ([]Suspension, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `
		select g.*, (select min(v.from_generation) from rule_versions v where v.rule_id = g.id) as generation
		from (`+selectGuardrails+`where g.emergency and g.ended_at is null) g
		order by g.created_at desc, g.id desc
		limit 1000`)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Suspension])
	if err != nil {
		return nil, fmt.Errorf("listing suspensions: %w", err)
	}
	return found, nil
}

// everything is all that can be called.
var everything = policy.Resource{Servers: []string{"*"}, Kinds: []policy.Kind{policy.KindTool, policy.KindPrompt, policy.KindResource}}

// emergency is a suspension in the making.
type emergency struct {
	kind       SuspendedKind
	key        string // by which a second one of the same is refused
	name       string // of the guardrail
	targetID   string // for the log: what is suspended
	targetName string
	subject    policy.Subject
	resource   policy.Resource
	reason     string
}

// SuspendTool denies a tool, prompt or resource to everyone, at once. It gives the guardrail that does so, and the
// generation of the policy that says it. It needs identity.ChangeServer for the server's team.
//
// Problems: NotFound no_such_tool; Conflict already_suspended; Invalid invalid_reason.
func (r *Registry) SuspendTool(ctx context.Context, who identity.Principal, toolID, reason string) (Guardrail, int64, error) {
	tool, err := r.Tool(ctx, who, toolID)
	if err != nil {
		return Guardrail{}, 0, err
	}
	server, err := r.Server(ctx, who, tool.ServerID)
	if err != nil {
		return Guardrail{}, 0, err
	}
	if err := who.Can(identity.ChangeServer, server.TeamID); err != nil {
		return Guardrail{}, 0, err
	}
	return r.suspend(ctx, who, emergency{
		kind: SuspendedTool, key: "suspended." + tool.ID, name: server.Name + ": " + tool.Name,
		targetID: tool.ID, targetName: tool.Name, subject: policy.Subject{Everyone: true},
		resource: policy.Resource{Servers: []string{server.Name}, Kinds: []policy.Kind{tool.Kind}, Names: []string{tool.Name}},
		reason:   reason,
	}, nil)
}

// SuspendAgent denies everything to an agent, by the id of its OAuth client, at once. It needs identity.ChangeGrant.
// Problems: Invalid invalid_suspension, invalid_reason; Conflict already_suspended.
func (r *Registry) SuspendAgent(ctx context.Context, who identity.Principal, agent, reason string) (Guardrail, int64, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Guardrail{}, 0, err
	}
	return r.suspend(ctx, who, emergency{
		kind: SuspendedAgent, key: keyOf(SuspendedAgent, agent), name: "agent " + agent,
		targetID: agent, targetName: agent, subject: policy.Subject{Agents: []string{agent}}, resource: everything, reason: reason,
	}, nil)
}

// SuspendPerson denies everything to a user, whom the identity provider issuer calls subject, at once. If that person
// was ever signed in to the console and a person asks, [Registry.DisablePerson] shuts it to them in the same
// transaction; a machine stops their calls only. Lifting the suspension does not undo that. It needs
// identity.ChangeGrant.
//
// Problems: Invalid invalid_suspension, invalid_reason; Conflict already_suspended.
func (r *Registry) SuspendPerson(ctx context.Context, who identity.Principal, issuer, subject, reason string) (Guardrail, int64, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Guardrail{}, 0, err
	}
	if !strings.Contains(issuer, "://") || strings.Contains(issuer, "|") || subject == "" {
		return Guardrail{}, 0, invalidSuspension("issuer", "Give the address of the identity provider, and what it calls the person.")
	}
	if who.Kind == identity.Person && who.Issuer == issuer && who.Subject == subject {
		return Guardrail{}, 0, invalidSuspension("subject", "This is you. Somebody else has to do that.")
	}
	user := issuer + "|" + subject
	return r.suspend(ctx, who, emergency{
		kind: SuspendedPerson, key: keyOf(SuspendedPerson, user), name: "person " + subject,
		targetID: user, targetName: subject, subject: policy.Subject{Users: []string{user}}, resource: everything, reason: reason,
	}, func(tx pgx.Tx) error { return r.disableTx(ctx, tx, who, issuer, subject, reason) })
}

// disableTx shuts the console to the person.
func (r *Registry) disableTx(ctx context.Context, tx pgx.Tx, who identity.Principal, issuer, subject, reason string) error {
	if r.DisablePerson == nil || who.SessionID == "" {
		return nil
	}
	var id string
	err := tx.QueryRow(ctx, `select id from people where issuer = @issuer and subject = @subject and disabled_at is null`,
		pgx.StrictNamedArgs{"issuer": issuer, "subject": subject}).Scan(&id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("looking for a person: %w", err)
	}
	return r.DisablePerson(ctx, tx, who, id, cmp.Or(reason, "Suspended."))
}

// keyOf makes the key of a suspension of something that has any name.
func keyOf(kind SuspendedKind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return "suspended." + string(kind) + "." + hex.EncodeToString(sum[:10])
}

func invalidSuspension(field, message string) *problem.Error {
	return problem.New(problem.Invalid, "invalid_suspension", "Nothing was suspended.").Field(field, message)
}

// suspend makes the guardrail in one transaction with what else belongs to it.
func (r *Registry) suspend(ctx context.Context, who identity.Principal, e emergency, also func(pgx.Tx) error) (g Guardrail, generation int64, err error) {
	if e.reason, err = cleanReason(e.reason); err != nil {
		return Guardrail{}, 0, err
	}
	if err := e.check(); err != nil {
		return Guardrail{}, 0, err
	}
	var id string
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if id, err = e.insertTx(ctx, tx, who); err != nil {
			return err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		err := audit.Append(ctx, tx, audit.Event{
			Kind: string(e.kind) + ".suspended", Who: who, TargetKind: string(e.kind), TargetID: e.targetID, TargetName: e.targetName,
			Detail: map[string]any{"guardrail": id, "reason": e.reason},
		})
		if err != nil {
			return err
		}
		generation, err = BumpTx(ctx, tx)
		return err
	})
	switch {
	case postgres.Constraint(err) == "guardrails_key_open":
		return Guardrail{}, 0, problem.New(problem.Conflict, "already_suspended", "This is suspended already. Nothing was changed.")
	case err != nil:
		return Guardrail{}, 0, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	g, err = r.Guardrail(ctx, system, id)
	return g, generation, err
}

// check refuses a name that would suspend others too, or that no caller can have.
func (e emergency) check() error {
	if e.kind == SuspendedTool {
		return nil
	}
	if message := checkLine(e.targetID, 1, 500); message != "" {
		return invalidSuspension(string(e.kind), message)
	}
	if strings.Contains(e.targetID, "*") {
		return invalidSuspension(string(e.kind), "A name with * would suspend others too. Make a guardrail for that.")
	}
	if err := e.subject.Validate(); err != nil {
		return invalidSuspension(string(e.kind), "This cannot be the name of a caller.").Because(err)
	}
	return nil
}

func (e emergency) insertTx(ctx context.Context, tx pgx.Tx, who identity.Principal) (id string, err error) {
	name, effect := "Suspended: "+visible(e.name, 180), policy.Effect{Deny: true}
	err = tx.QueryRow(ctx, `
		insert into guardrails (key, name, subject, resource, effect, reason, created_by, emergency)
		values (@key, @name, @subject, @resource, @effect, @reason, @by, true)
		returning id`,
		pgx.StrictNamedArgs{
			"key": e.key, "name": name, "subject": e.subject, "resource": e.resource, "effect": effect, "reason": e.reason, "by": who.ID,
		}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting an emergency guardrail: %w", err)
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "guardrail.created", Who: who, TargetKind: "guardrail", TargetID: id, TargetName: name,
		Detail: map[string]any{
			"key": e.key, "subject": e.subject, "resource": e.resource, "effect": effect, "reason": e.reason, "emergency": true,
		},
	})
}
