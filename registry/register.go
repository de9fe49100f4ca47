package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Register makes a proposed server and opens its first discovery. It needs identity.RegisterServer, and the team
// must be one of who's own, unless who is an admin. Nothing becomes callable by it.
//
// Problems: Invalid invalid_server with all fields that are wrong; Conflict server_exists; Forbidden not_your_team.
func (r *Registry) Register(ctx context.Context, who identity.Principal, n Registration) (Server, Discovery, error) {
	if err := who.Can(identity.RegisterServer, ""); err != nil {
		return Server{}, Discovery{}, err
	}
	if err := n.clean(); err != nil {
		return Server{}, Discovery{}, err
	}
	if err := mayOwn(who, n.TeamID); err != nil {
		return Server{}, Discovery{}, err
	}
	var serverID, discoveryID string
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		serverID, discoveryID, err = registerTx(ctx, tx, who, n)
		return err
	})
	switch postgres.Constraint(err) {
	case "servers_name":
		return Server{}, Discovery{}, problem.New(problem.Conflict, "server_exists",
			"A server with this name exists already. Names are equal ignoring case, and a retired server keeps its own.").
			Field("name", "A server with this name exists already.")
	case "servers_team_id_fkey":
		return Server{}, Discovery{}, problem.New(problem.Invalid, "invalid_server", "The server was not registered. Nothing was changed.").
			Field("team", "There is no such team.")
	}
	if err != nil {
		return Server{}, Discovery{}, err
	}
	r.hub.Wake(ctx, TopicDiscoveries)
	server, err := r.Server(ctx, system, serverID)
	if err != nil {
		return Server{}, Discovery{}, err
	}
	discovery, err := r.Discovery(ctx, system, discoveryID)
	return server, discovery, err
}

// system reads back what was just written for somebody who may have written it.
var system = identity.Principal{Kind: identity.System, ID: "registry", Name: "Registry"}

func mayOwn(who identity.Principal, teamID string) error {
	if who.Kind == identity.System || who.Has(identity.Admin) || slices.Contains(who.Teams, teamID) {
		return nil
	}
	return problem.New(problem.Forbidden, "not_your_team", "You can register servers for your own teams. Ask an admin for another one.").
		Field("team", "Choose a team that you are a member of.")
}

func registerTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n Registration) (serverID, discoveryID string, err error) {
	if err := mayWiden(who, n.TeamID, nil, n.Requests); err != nil {
		return "", "", err
	}
	err = tx.QueryRow(ctx, `
		insert into servers (name, title, description, team_id, labels, client_requests, created_by)
		values (@name, @title, @description, @team, @labels, @requests, @by)
		returning id`,
		pgx.StrictNamedArgs{
			"name": n.Name, "title": n.Title, "description": n.Description, "team": n.TeamID,
			"labels": n.Labels, "requests": n.Requests, "by": who.ID,
		}).Scan(&serverID)
	if err != nil {
		return "", "", fmt.Errorf("inserting server: %w", err)
	}
	endpointID, err := insertEndpointTx(ctx, tx, serverID, n.Location)
	if err != nil {
		return "", "", err
	}
	if _, err := publishTx(ctx, tx, serverID, n.Version, nil); err != nil {
		return "", "", err
	}
	err = audit.Append(ctx, tx, audit.Event{
		Kind: "server.registered", Who: who, TargetKind: "server", TargetID: serverID, TargetName: n.Name,
		Detail: map[string]any{
			"team_id": n.TeamID, "labels": n.Labels, "client_requests": n.Requests, "transport": n.Transport, "url": n.URL,
			"command": n.Command, "command_digest": n.CommandDigest,
		},
	})
	if err != nil {
		return "", "", err
	}
	discoveryID, err = openDiscoveryTx(ctx, tx, who, lockedServer{ID: serverID, Name: n.Name, EndpointID: endpointID})
	return serverID, discoveryID, err
}

func insertEndpointTx(ctx context.Context, tx pgx.Tx, serverID string, l Location) (id string, err error) {
	digest, err := l.digest()
	if err != nil {
		return "", err
	}
	err = tx.QueryRow(ctx, `
		insert into endpoints (server_id, transport, url, command, command_digest, digest)
		values (@server, @transport, @url, @command, @command_digest, @digest)
		returning id`,
		pgx.StrictNamedArgs{
			"server": serverID, "transport": string(l.Transport), "url": l.URL, "command": l.Command,
			"command_digest": l.commandBytes(), "digest": digest[:],
		}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting endpoint: %w", err)
	}
	return id, nil
}
