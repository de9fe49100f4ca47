package registry

import (
	"context"
	"crypto/rand"
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

// AgentKey is a key that an agent signs in with at gateways, in place of a token that its organisation has none for.
//
//	NewAgentKey ──▶ open ── ExpiresAt, EndAgentKey, or the end of the agent ──▶ over, for good
//
// Who presents it is the agent itself, in no group, with no user behind it. The key is shown once; what is kept is its
// digest, which gateways get with the policy.
type AgentKey struct {
	ID            string
	AgentID       string
	Name          string // for people
	Shown         string // its last characters, to tell it by
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	ExpiresAt     time.Time
	EndedAt       *time.Time
}

// NewKey is what NewAgentKey needs.
type NewKey struct {
	Name      string
	ExpiresAt time.Time // within MaxKeyLife
}

// IssuedKey is a key just made. Secret is nowhere else.
type IssuedKey struct {
	AgentKey
	Secret string
}

// Bounds of keys.
const (
	MaxKeyLife = 366 * 24 * time.Hour
	maxKeys    = 20 // of one agent, open at one time
	keyShown   = 4  // of its characters
)

const selectAgentKeys = `
	select k.id, k.agent_id, k.name, k.shown, k.created_by, coalesce(p.name, k.created_by) as created_by_name, k.created_at, k.expires_at, k.ended_at
	from agent_keys k left join people p on p.id = k.created_by `

// NewAgentKey makes a key for an agent, which gateways take as soon as the policy has reached them. It needs
// identity.IssueKey: an admin in a session, who has signed in of late ([Registry.Fresh]).
//
// Problems: Forbidden fresh_signin_required; NotFound no_such_agent; Invalid invalid_key with the fields name and expires;
// Conflict agent_ended, too_many_keys.
func (r *Registry) NewAgentKey(ctx context.Context, who identity.Principal, agentID string, n NewKey) (IssuedKey, error) {
	if err := who.Can(identity.IssueKey, ""); err != nil {
		return IssuedKey{}, err
	}
	if err := r.fresh(who); err != nil {
		return IssuedKey{}, err
	}
	if err := n.clean(); err != nil {
		return IssuedKey{}, err
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // it never fails: the program would end first
	secret := policy.KeyText(random)
	var made AgentKey
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		made, err = newKeyTx(ctx, tx, who, agentID, n, secret)
		return err
	})
	if err != nil {
		return IssuedKey{}, keyProblem(err)
	}
	r.hub.Wake(ctx, TopicPolicy)
	return IssuedKey{AgentKey: made, Secret: secret}, nil
}

func (r *Registry) fresh(who identity.Principal) error {
	if r.Fresh == nil {
		return problem.New(problem.Forbidden, "fresh_signin_required", "Nobody can tell here when you signed in.")
	}
	return r.Fresh(who)
}

func newKeyTx(ctx context.Context, tx pgx.Tx, who identity.Principal, agentID string, n NewKey, secret string) (AgentKey, error) {
	agent, err := lockAgentTx(ctx, tx, agentID)
	if err != nil {
		return AgentKey{}, err
	}
	if err := roomForKeyTx(ctx, tx, agentID); err != nil {
		return AgentKey{}, err
	}
	hash := policy.HashKey(secret)
	var id string
	err = tx.QueryRow(ctx, `
		insert into agent_keys (agent_id, name, hash, shown, created_by, expires_at) values (@agent, @name, @hash, @shown, @by, @expires) returning id`,
		pgx.StrictNamedArgs{
			"agent": agentID, "name": n.Name, "hash": hash[:], "shown": secret[len(secret)-keyShown:], "by": who.ID, "expires": n.ExpiresAt,
		}).Scan(&id)
	if err != nil {
		return AgentKey{}, fmt.Errorf("inserting the key of an agent: %w", err)
	}
	key, err := agentKeyTx(ctx, tx, agentID, id)
	if err != nil {
		return AgentKey{}, err
	}
	return key, agentMovedTx(ctx, tx, keyEvent("agent.key_created", who, key, agent), true)
}

// lockAgentTx gives the client of an agent that has not ended, and does not before the transaction does.
func lockAgentTx(ctx context.Context, tx pgx.Tx, id string) (agent string, err error) {
	rows, _ := tx.Query(ctx, `select agent, ended_at is not null as ended from agents where id = @id for update`, pgx.StrictNamedArgs{"id": id})
	type row struct {
		Agent string
		Ended bool
	}
	locked, err := one(rows, pgx.RowToStructByName[row], "reading agent", noSuchAgent())
	if err == nil && locked.Ended {
		err = problem.New(problem.Conflict, "agent_ended", "This agent has ended: it gets no key any more. Nothing was changed.")
	}
	return locked.Agent, err
}

// roomForKeyTx refuses a key too many. The agent is locked: who waited for it counts what was made meanwhile.
func roomForKeyTx(ctx context.Context, tx pgx.Tx, agentID string) error {
	var open int
	err := tx.QueryRow(ctx, `select count(*) from agent_keys where agent_id = @agent and ended_at is null and expires_at > clock_timestamp()`,
		pgx.StrictNamedArgs{"agent": agentID}).Scan(&open)
	switch {
	case err != nil:
		return fmt.Errorf("counting the keys of an agent: %w", err)
	case open >= maxKeys:
		return problem.New(problem.Conflict, "too_many_keys", "This agent has %d keys already. End one that is not used.", open)
	}
	return nil
}

// EndAgentKey ends a key, for good: gateways refuse it as soon as the policy has reached them. It needs
// identity.ChangeAgent. Problems: NotFound no_such_key; Conflict key_ended; Invalid invalid_reason.
func (r *Registry) EndAgentKey(ctx context.Context, who identity.Principal, agentID, id, reason string) (AgentKey, error) {
	if err := who.Can(identity.ChangeAgent, ""); err != nil {
		return AgentKey{}, err
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return AgentKey{}, err
	}
	var key AgentKey
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update agent_keys set ended_at = clock_timestamp(), ended_by = @by where id = @id and agent_id = @agent and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "agent": agentID, "by": who.ID})
		if err != nil {
			return fmt.Errorf("ending the key of an agent: %w", err)
		}
		if key, err = agentKeyTx(ctx, tx, agentID, id); err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return problem.New(problem.Conflict, "key_ended", "This key has ended already. Nothing was changed.")
		}
		agent, err := agentNameTx(ctx, tx, agentID)
		if err != nil {
			return err
		}
		e := keyEvent("agent.key_ended", who, key, agent)
		e.Detail["reason"] = reason
		return agentMovedTx(ctx, tx, e, true)
	})
	if err != nil {
		return AgentKey{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return key, nil
}

// endKeysTx ends the open keys of an agent, and gives their ids.
func endKeysTx(ctx context.Context, tx pgx.Tx, who identity.Principal, agentID string) ([]string, error) {
	rows, _ := tx.Query(ctx, `
		update agent_keys set ended_at = clock_timestamp(), ended_by = @by where agent_id = @agent and ended_at is null returning id`,
		pgx.StrictNamedArgs{"agent": agentID, "by": who.ID})
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("ending the keys of an agent: %w", err)
	}
	return ids, nil
}

// AgentKeys gives the keys of an agent, newest first, also those that are over. It needs identity.ReadRegistry. Problem:
// NotFound no_such_agent.
func (r *Registry) AgentKeys(ctx context.Context, who identity.Principal, agentID string) ([]AgentKey, error) {
	if _, err := r.Agent(ctx, who, agentID); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, selectAgentKeys+`where k.agent_id = @agent order by k.created_at desc, k.id limit 1000`, pgx.StrictNamedArgs{"agent": agentID})
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByName[AgentKey])
	if err != nil {
		return nil, fmt.Errorf("listing the keys of an agent: %w", err)
	}
	return keys, nil
}

func agentKeyTx(ctx context.Context, tx pgx.Tx, agentID, id string) (AgentKey, error) {
	rows, _ := tx.Query(ctx, selectAgentKeys+`where k.id = @id and k.agent_id = @agent`, pgx.StrictNamedArgs{"id": id, "agent": agentID})
	return one(rows, pgx.RowToStructByName[AgentKey], "reading the key of an agent",
		problem.New(problem.NotFound, "no_such_key", "This agent has no such key."))
}

func agentNameTx(ctx context.Context, tx pgx.Tx, id string) (string, error) {
	rows, _ := tx.Query(ctx, `select agent from agents where id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowTo[string], "reading agent", noSuchAgent())
}

// keyEvent is about the agent, so that it is in its history.
func keyEvent(kind string, who identity.Principal, k AgentKey, agent string) audit.Event {
	return agentEvent(kind, who, k.AgentID, agent, map[string]any{
		"key_id": k.ID, "key": k.Name, "shown": k.Shown, "expires_at": k.ExpiresAt.UTC(),
	})
}

func (n *NewKey) clean() error {
	n.Name = strings.TrimSpace(n.Name)
	invalid := problem.New(problem.Invalid, "invalid_key", "The key was not made. Nothing was changed.")
	if message := checkLine(n.Name, 1, 200); message != "" {
		invalid.Field("name", message)
	}
	if n.ExpiresAt.IsZero() {
		invalid.Field("expires", "Say when it expires.")
	}
	n.ExpiresAt = n.ExpiresAt.Truncate(time.Second)
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

func keyProblem(err error) error {
	if name := postgres.Constraint(err); name == "agent_keys_expires" || name == "agent_keys_life" {
		return problem.New(problem.Invalid, "invalid_key", "The key was not made. Nothing was changed.").
			Field("expires", "It expires later than now, and at most 366 days from now.")
	}
	return err
}

// readAgentsTx adds the open keys and the models of the agents that have not ended.
func readAgentsTx(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	rows, _ := tx.Query(ctx, `
		select k.hash, g.agent, k.expires_at
		from agent_keys k join agents g on g.id = k.agent_id
		where k.ended_at is null and k.expires_at > clock_timestamp() and g.ended_at is null
		order by k.hash`)
	var hash []byte
	var k policy.Key
	_, err := pgx.ForEachRow(rows, []any{&hash, &k.Agent, &k.NotAfter}, func() error {
		k.Hash, k.Subject = digestOf(hash), policy.KeySubject(k.Agent)
		s.Keys = append(s.Keys, k)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the keys of agents: %w", err)
	}
	rows, _ = tx.Query(ctx, `select agent, models from agents where ended_at is null and models <> '{}' order by agent`)
	s.Agents, err = pgx.CollectRows(rows, pgx.RowToStructByName[policy.Agent])
	if err != nil {
		return fmt.Errorf("reading the models of agents: %w", err)
	}
	return nil
}
