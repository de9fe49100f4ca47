package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Move gives the server a new endpoint, or its first, and opens a discovery there. Everything is unpinned by it: what was accepted
// at one place says nothing of another. version is the Version that the reader saw. It needs identity.ChangeServer for
// the server's team.
//
// Problems: NotFound no_such_server; Invalid invalid_server with the fields transport, url, command; Conflict
// server_changed, server_retired, endpoint_same.
func (r *Registry) Move(ctx context.Context, who identity.Principal, id string, version int64, to Location) (Server, Discovery, error) {
	if err := mayRead(who); err != nil {
		return Server{}, Discovery{}, err
	}
	invalid := problem.New(problem.Invalid, "invalid_server", "The server was not moved. Nothing was changed.")
	for field, message := range to.clean() {
		invalid.Field(field, message)
	}
	if len(invalid.Fields) > 0 {
		return Server{}, Discovery{}, invalid
	}
	var discoveryID string
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockServerTx(ctx, tx, who, identity.ChangeServer, id)
		if err != nil {
			return err
		}
		if err := server.mayMove(version, to); err != nil {
			return err
		}
		if discoveryID, err = moveTx(ctx, tx, who, server, to); err != nil {
			return err
		}
		_, err = BumpTx(ctx, tx)
		return err
	})
	if err != nil {
		return Server{}, Discovery{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	r.hub.Wake(ctx, TopicDiscoveries)
	server, err := r.Server(ctx, system, id)
	if err != nil {
		return Server{}, Discovery{}, err
	}
	discovery, err := r.Discovery(ctx, system, discoveryID)
	return server, discovery, err
}

func (s lockedServer) mayMove(version int64, to Location) error {
	if err := s.mayEdit(version); err != nil {
		return err
	}
	digest, err := to.digest()
	if err == nil && digestOf(s.EndpointDigest) == digest {
		err = problem.New(problem.Conflict, "endpoint_same", "The server is there already. Nothing was changed.")
	}
	return err
}

func moveTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s lockedServer, to Location) (discoveryID string, err error) {
	if err := cancelOpenTx(ctx, tx, s.ID); err != nil {
		return "", err
	}
	if err := supersedeServerTx(ctx, tx, s.ID); err != nil {
		return "", err
	}
	for _, change := range []struct{ doing, sql string }{
		{"ending endpoint", `update endpoints set ended_at = clock_timestamp() where server_id = @server and ended_at is null`},
		{"unpinning", `
			update tools
			set pinned_id = null, observed_digest = null, observed_endpoint = null, version = version + 1, ` + released + `
			where server_id = @server`},

		{"superseding definitions", `
			update definitions d set state = 'superseded'
			from tools t
			where t.server_id = @server and d.tool_id = t.id and d.state in ('pending', 'approved')`},
		{"changing server", `update servers set version = version + 1, changed_at = clock_timestamp() where id = @server`},
	} {
		if _, err := tx.Exec(ctx, change.sql, pgx.StrictNamedArgs{"server": s.ID}); err != nil {
			return "", fmt.Errorf("%s: %w", change.doing, err)
		}
	}
	if s.EndpointID, err = insertEndpointTx(ctx, tx, s.ID, to); err != nil {
		return "", err
	}
	err = audit.Append(ctx, tx, audit.Event{
		Kind: "server.moved", Who: who, TargetKind: "server", TargetID: s.ID, TargetName: s.Name,
		Detail: map[string]any{"transport": to.Transport, "url": to.URL, "command": to.Command, "command_digest": to.CommandDigest},
	})
	if err != nil {
		return "", err
	}
	return openDiscoveryTx(ctx, tx, who, s)
}
