package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/desired"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Agent says who answers for an agent: its owner, who never approves its calls.
//
//	RegisterAgent ──▶ owned ── ChangeAgent ──▶ owned ── EndAgent ──▶ ended; then it can be registered again
//	                    └── NewAgentKey, EndAgentKey: see AgentKey
//
// Models is what it is registered to run with: gateways take the model of a call for attested if it is among them.
type Agent struct {
	ID        string
	Agent     string // the OAuth client, as tokens name it: never changes
	Name      string // for people
	OwnerID   string
	OwnerName string
	OwnerGone bool // the owner's account is switched off
	Note      string
	Models    []string // sorted
	Keys      int      // that are open
	Version   int64
	CreatedAt time.Time
	ChangedAt time.Time
	EndedAt   *time.Time
}

// NewAgent is what RegisterAgent needs.
type NewAgent struct {
	Agent   string
	Name    string // "": that of the client
	OwnerID string // a person who has signed in once
	Note    string
	Models  []string // exact names; none: what its requests say stays declared
}

// said is what may change of an agent; what it does not say is left out.
func (n NewAgent) said() (fields []desired.Field) {
	for _, f := range []desired.Field{{Name: "name", Value: n.Name}, {Name: "owner", Value: n.OwnerID}, {Name: "note", Value: n.Note}} {
		if f.Value != "" {
			fields = append(fields, f)
		}
	}
	if len(n.Models) > 0 {
		fields = append(fields, desired.Field{Name: "models", Value: strings.Join(n.Models, ", ")})
	}
	return fields
}

const selectAgents = `
	select g.id, g.agent, g.name, g.owner_id, p.name as owner_name, p.disabled_at is not null as owner_gone, g.note, g.models, g.version,
	       (select count(*) from agent_keys k where k.agent_id = g.id and k.ended_at is null and k.expires_at > clock_timestamp())::int as keys,
	       g.created_at, g.changed_at, g.ended_at
	from agents g join people p on p.id = g.owner_id `

// RegisterAgent gives an agent an owner. It needs identity.ChangeAgent.
//
// Problems: Invalid invalid_agent, with the fields agent, name, owner, note and models; Conflict agent_exists.
func (r *Registry) RegisterAgent(ctx context.Context, who identity.Principal, n NewAgent) (Agent, error) {
	if err := who.Can(identity.ChangeAgent, ""); err != nil {
		return Agent{}, err
	}
	if err := n.clean(); err != nil {
		return Agent{}, err
	}
	var id string
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		owner, err := ownerTx(ctx, tx, n.OwnerID)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			insert into agents (agent, name, owner_id, note, models, created_by) values (@agent, @name, @owner, @note, @models, @by) returning id`,
			pgx.StrictNamedArgs{"agent": n.Agent, "name": n.Name, "owner": n.OwnerID, "note": n.Note, "models": n.Models, "by": who.ID}).Scan(&id)
		if err != nil {
			return fmt.Errorf("registering agent: %w", err)
		}
		return agentMovedTx(ctx, tx, agentEvent("agent.registered", who, id, n.Agent, map[string]any{
			"name": n.Name, "owner_id": n.OwnerID, "owner": owner, "note": n.Note, "models": n.Models,
		}), len(n.Models) > 0)
	})
	if err != nil {
		return Agent{}, agentProblem(err)
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Agent(ctx, system, id)
}

// ChangeAgent makes an agent what n says; its client stays: n names it, or none. version is the Version that the reader
// saw. Saying what it is already changes nothing. It needs identity.ChangeAgent.
//
// Problems: NotFound no_such_agent; Conflict agent_changed; Invalid as RegisterAgent.
func (r *Registry) ChangeAgent(ctx context.Context, who identity.Principal, id string, version int64, n NewAgent) (Agent, error) {
	if err := who.Can(identity.ChangeAgent, ""); err != nil {
		return Agent{}, err
	}
	was, err := r.Agent(ctx, system, id)
	if err != nil {
		return Agent{}, err
	}
	if n.Agent != "" && n.Agent != was.Agent {
		return Agent{}, invalidAgent().Field("agent", "The client of an agent does not change. End this one, and register the other.")
	}
	n.Agent = was.Agent
	if err := n.clean(); err != nil {
		return Agent{}, err
	}
	if was.EndedAt != nil || was.Version != version {
		return Agent{}, agentChanged()
	}
	differs := desired.Differences(NewAgent{Name: was.Name, OwnerID: was.OwnerID, Note: was.Note, Models: was.Models}.said(), n.said())
	if len(differs) == 0 {
		return was, nil
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if n.OwnerID != was.OwnerID { // who owned it before may have left since
			if _, err := ownerTx(ctx, tx, n.OwnerID); err != nil {
				return err
			}
		}
		tag, err := tx.Exec(ctx, `
			update agents set name = @name, owner_id = @owner, note = @note, models = @models, version = version + 1, changed_at = clock_timestamp()
			where id = @id and version = @version and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "version": version, "name": n.Name, "owner": n.OwnerID, "note": n.Note, "models": n.Models})
		if err != nil {
			return fmt.Errorf("changing agent: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return agentChanged()
		}
		return agentMovedTx(ctx, tx, agentEvent("agent.changed", who, id, n.Agent, map[string]any{"changed": differs}), !slices.Equal(was.Models, n.Models))
	})
	if err != nil {
		return Agent{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Agent(ctx, system, id)
}

// EndAgent takes an agent's owner away, for good: whoever it was may approve its calls from then on. Its keys end with it,
// and its models are attested no more. version is the Version that the reader saw. It needs identity.ChangeAgent.
//
// Problems: NotFound no_such_agent; Conflict agent_changed; Invalid invalid_reason.
func (r *Registry) EndAgent(ctx context.Context, who identity.Principal, id string, version int64, reason string) (Agent, error) {
	if err := who.Can(identity.ChangeAgent, ""); err != nil {
		return Agent{}, err
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return Agent{}, err
	}
	was, err := r.Agent(ctx, system, id)
	if err != nil {
		return Agent{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update agents set ended_at = clock_timestamp(), ended_by = @by, version = version + 1, changed_at = clock_timestamp()
			where id = @id and version = @version and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "version": version, "by": who.ID})
		if err != nil {
			return fmt.Errorf("ending agent: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return agentChanged()
		}
		keys, err := endKeysTx(ctx, tx, who, id)
		if err != nil {
			return err
		}
		return agentMovedTx(ctx, tx, agentEvent("agent.ended", who, id, was.Agent, map[string]any{
			"reason": reason, "owner_id": was.OwnerID, "keys": keys,
		}), len(keys)+len(was.Models) > 0)
	})
	if err != nil {
		return Agent{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Agent(ctx, system, id)
}

// ownerTx gives the name of somebody who can own an agent: a person whose account is not switched off.
func ownerTx(ctx context.Context, tx pgx.Tx, id string) (name string, err error) {
	rows, _ := tx.Query(ctx, `select name from people where id = @id and disabled_at is null for share`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowTo[string], "reading the owner of an agent", invalidAgent().Field("owner", "Choose somebody who has signed in once."))
}

// agentMovedTx records what was done to an agent, and moves the policy if gateways have to know.
func agentMovedTx(ctx context.Context, tx pgx.Tx, e audit.Event, moved bool) error {
	if err := audit.Append(ctx, tx, e); err != nil || !moved {
		return err
	}
	_, err := BumpTx(ctx, tx)
	return err
}

func agentEvent(kind string, who identity.Principal, id, agent string, detail map[string]any) audit.Event {
	return audit.Event{Kind: kind, Who: who, TargetKind: "agent", TargetID: id, TargetName: agent, Detail: detail}
}

func (n *NewAgent) clean() error {
	n.Name, n.Note = strings.TrimSpace(n.Name), strings.TrimSpace(n.Note)
	invalid := invalidAgent()
	switch message := checkLine(n.Agent, 1, 200); {
	case message != "":
		invalid.Field("agent", message)
	case strings.TrimSpace(n.Agent) != n.Agent:
		invalid.Field("agent", "It begins or ends with a space; tokens have to name it exactly so.")
	}
	if message := checkLine(n.Name, 0, 200); message != "" {
		invalid.Field("name", message)
	}
	if n.Name == "" {
		n.Name = n.Agent
	}
	if message := checkText(n.Note, 2000); message != "" {
		invalid.Field("note", message)
	}
	var message string
	if n.Models, message = cleanModels(n.Models); message != "" {
		invalid.Field("models", message)
	}
	if n.OwnerID == "" {
		invalid.Field("owner", "Choose somebody who has signed in once.")
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// maxModels bounds the models of one agent.
const maxModels = 50

// cleanModels sorts names of models, each once, and says what is wrong with them.
func cleanModels(models []string) (clean []string, message string) {
	clean = []string{}
	for _, m := range models {
		if m = strings.TrimSpace(m); m == "" {
			continue
		}
		if message := checkLine(m, 1, 200); message != "" {
			return nil, message
		}
		if strings.Contains(m, "*") {
			return nil, "Write the exact name of each model, without *."
		}
		if len(m) > 512 {
			return nil, "The name of a model is too long."
		}
		clean = append(clean, m)
	}
	slices.Sort(clean)
	if clean = slices.Compact(clean); len(clean) > maxModels {
		return nil, fmt.Sprintf("At most %d models.", maxModels)
	}
	return clean, ""
}

func invalidAgent() *problem.Error {
	return problem.New(problem.Invalid, "invalid_agent", "The agent was not saved. Nothing was changed.")
}

func agentChanged() *problem.Error {
	return problem.New(problem.Conflict, "agent_changed", "Somebody changed or ended this agent while you looked at it. Nothing was changed by you.")
}

func agentProblem(err error) error {
	if postgres.Constraint(err) == "agents_one" {
		return problem.New(problem.Conflict, "agent_exists", "Somebody owns this agent already. Nothing was changed.").
			Field("agent", "Somebody owns this agent already.")
	}
	return err
}
