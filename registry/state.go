package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// lockedServer is a server's row, locked against every other change of the server until the transaction ends.
type lockedServer struct {
	ID             string
	Name           string
	TeamID         string
	State          State
	Version        int64
	EndpointID     string
	EndpointDigest []byte
}

// lockRowTx locks the server's row, then reads it and its endpoint as they are once the lock is held.
func lockRowTx(ctx context.Context, tx pgx.Tx, id string) (lockedServer, error) {
	args := pgx.StrictNamedArgs{"id": id}
	if _, err := tx.Exec(ctx, `select id from servers where id = @id for no key update`, args); err != nil {
		return lockedServer{}, fmt.Errorf("locking server: %w", err)
	}
	rows, _ := tx.Query(ctx, `
		select s.id, s.name, s.team_id, s.state, s.version, coalesce(e.id, '') as endpoint_id, e.digest as endpoint_digest
		from servers s
		left join endpoints e on e.server_id = s.id and e.ended_at is null
		where s.id = @id`, args)
	return one(rows, pgx.RowToStructByName[lockedServer], "reading server", noSuchServer())
}

// lockServerTx locks the server and asks whether who may do that to it: who may depends on its team. Who may not
// even read learns nothing of it.
func lockServerTx(ctx context.Context, tx pgx.Tx, who identity.Principal, do identity.Action, id string) (lockedServer, error) {
	if err := mayRead(who); err != nil {
		return lockedServer{}, err
	}
	server, err := lockRowTx(ctx, tx, id)
	if err != nil {
		return lockedServer{}, err
	}
	return server, who.Can(do, server.TeamID)
}

// next says where a state can go. Proposed becomes active by the first pin, and in no other way.
var next = map[State][]State{
	Proposed:  {Retired},
	Active:    {Suspended, Retired},
	Suspended: {Active, Retired},
}

// SetState suspends, resumes or retires a server. version is the Version that the reader saw. It needs
// identity.ChangeServer for the server's team.
//
// Problems: NotFound no_such_server; Conflict server_changed (somebody was faster), state_not_possible.
func (r *Registry) SetState(ctx context.Context, who identity.Principal, id string, version int64, to State, reason string) (Server, error) {
	if err := mayRead(who); err != nil {
		return Server{}, err
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return Server{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockServerTx(ctx, tx, who, identity.ChangeServer, id)
		if err != nil {
			return err
		}
		if err := server.mayBecome(to, version); err != nil {
			return err
		}
		return setStateTx(ctx, tx, who, server, to, reason)
	})
	if err != nil {
		return Server{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	r.hub.Wake(ctx, TopicDiscoveries)
	return r.Server(ctx, system, id)
}

func cleanReason(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	if message := checkText(reason, 1000); message != "" {
		return "", problem.New(problem.Invalid, "invalid_reason", "The reason cannot be kept as it is. Nothing was changed.").Field("reason", message)
	}
	return reason, nil
}

func invalidReason() *problem.Error {
	return problem.New(problem.Invalid, "invalid_reason", "Nothing was changed.")
}

func (s lockedServer) mayBecome(to State, version int64) error {
	switch {
	case s.Version != version:
		return problem.New(problem.Conflict, "server_changed",
			"Somebody changed this server while you looked at it. It is %s now; nothing was changed by you.", s.State)
	case !slices.Contains(next[s.State], to):
		return problem.New(problem.Conflict, "state_not_possible", "A server that is %s cannot become %s.", s.State, visible(string(to), 20))
	}
	return nil
}

// setStateTx changes the state of one server, as a transaction's last deed.
func setStateTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s lockedServer, to State, reason string) error {
	if err := changeStateTx(ctx, tx, who, s, to, reason); err != nil {
		return err
	}
	generation, err := BumpTx(ctx, tx)
	if err != nil {
		return err
	}
	return noteStatesTx(ctx, tx, generation, s.ID)
}

// noteStatesTx keeps at which generation these servers got the state they have.
func noteStatesTx(ctx context.Context, tx pgx.Tx, generation int64, serverIDs ...string) error {
	_, err := tx.Exec(ctx, `update servers set state_generation = @generation where id = any (@ids)`,
		pgx.StrictNamedArgs{"ids": serverIDs, "generation": generation})
	if err != nil {
		return fmt.Errorf("noting the generation of the state: %w", err)
	}
	return nil
}

// changeStateTx is setStateTx without the generation.
func changeStateTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s lockedServer, to State, reason string) error {
	_, err := tx.Exec(ctx, `
		update servers set state = @state, version = version + 1, changed_at = clock_timestamp(), state_at = clock_timestamp()
		where id = @id`,
		pgx.StrictNamedArgs{"id": s.ID, "state": string(to)})
	if err != nil {
		return fmt.Errorf("changing state: %w", err)
	}
	if to == Retired {
		if err := cancelOpenTx(ctx, tx, s.ID); err != nil {
			return err
		}
		if err := supersedeServerTx(ctx, tx, s.ID); err != nil {
			return err
		}
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "server.state_changed", Who: who, TargetKind: "server", TargetID: s.ID, TargetName: s.Name,
		Detail: map[string]any{"from": s.State, "to": to, "reason": reason},
	})
}
