package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// ClientKind is what an API client is for.
type ClientKind string

// The kinds of API client.
const (
	GatewayClient    ClientKind = "gateway"    // the credential of a gateway; delivery makes it
	AutomationClient ClientKind = "automation" // a pipeline: it has roles, and acts as a member of its team
)

// NewClient is what CreateClient needs.
type NewClient struct {
	Name   string
	Kind   ClientKind
	Roles  []identity.Role // of an automation client: viewer, auditor, admin, or none besides the team's
	TeamID string          // of an automation client: it acts as a member; "" for no team
}

// Issued is a client just made. The secret is shown now and never again.
type Issued struct {
	ID     string
	Secret string
}

// Client is an API client, without its secret.
type Client struct {
	ID       string
	Name     string
	Kind     ClientKind
	Roles    []identity.Role
	TeamID   string
	TeamName string

	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	RevokedAt     *time.Time
}

// CreateClient makes an API client. It needs identity.EnrolGateway: an admin in a session. An automation client
// never does what needs a person's session, whatever its roles.
//
// Problems: Invalid invalid_client_name, invalid_client_kind, invalid_client_roles, invalid_client_team.
func (a *Authority) CreateClient(ctx context.Context, who identity.Principal, n NewClient) (Issued, error) {
	var made Issued
	err := postgres.InTx(ctx, a.pool, func(tx pgx.Tx) (err error) {
		made, err = a.CreateClientTx(ctx, tx, who, n)
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	a.hub.Wake(ctx, topicClients)
	return made, nil
}

// CreateClientTx is CreateClient in the caller's transaction. After its commit wake the topic
// "clients".
func (a *Authority) CreateClientTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n NewClient) (Issued, error) {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return Issued{}, err
	}
	if err := n.clean(); err != nil {
		return Issued{}, err
	}
	made := Issued{Secret: newClientSecret()}
	err := tx.QueryRow(ctx, `
		insert into api_clients (name, kind, secret_hash, roles, team_id, created_by)
		values (@name, @kind, @hash, @roles, nullif(@team, ''), @by)
		returning id`,
		pgx.StrictNamedArgs{
			"name": n.Name, "kind": n.Kind, "hash": hashSecret(made.Secret), "roles": n.Roles, "team": n.TeamID, "by": who.ID,
		}).Scan(&made.ID)
	if postgres.Constraint(err) == "api_clients_team_id_fkey" {
		return Issued{}, problem.New(problem.Invalid, "invalid_client_team", "There is no such team. Nothing was created.").
			Field("team", "There is no such team.")
	}
	if err != nil {
		return Issued{}, fmt.Errorf("creating client %q: %w", n.Name, err)
	}
	return made, audit.Append(ctx, tx, audit.Event{
		Kind: "client.created", Who: who, TargetKind: "client", TargetID: made.ID, TargetName: n.Name,
		Detail: map[string]any{"kind": n.Kind, "roles": n.Roles, "team_id": n.TeamID},
	})
}

// clientRoles are those that a machine may hold. An approver is a person.
var clientRoles = []identity.Role{identity.Viewer, identity.Auditor, identity.Admin}

// clean trims n and says what is wrong with it.
func (n *NewClient) clean() error {
	n.Name = strings.TrimSpace(n.Name)
	if n.Name == "" || plain(n.Name) != n.Name || len(n.Name) > 100 {
		return problem.New(problem.Invalid, "invalid_client_name", "A client needs a name of 1 to 100 characters.").
			Field("name", "Give it a name of 1 to 100 characters.")
	}
	roles := make([]identity.Role, 0, len(clientRoles))
	for _, role := range clientRoles {
		if slices.Contains(n.Roles, role) {
			roles = append(roles, role)
		}
	}
	switch unknown := func(r identity.Role) bool { return !slices.Contains(clientRoles, r) }; {
	case n.Kind != GatewayClient && n.Kind != AutomationClient:
		return problem.New(problem.Invalid, "invalid_client_kind", "A client is of kind gateway or automation.")
	case n.Kind == GatewayClient && (len(n.Roles) > 0 || n.TeamID != ""):
		return problem.New(problem.Invalid, "invalid_client_roles", "A gateway enforces: it has neither a role nor a team.")
	case slices.ContainsFunc(n.Roles, unknown):
		return problem.New(problem.Invalid, "invalid_client_roles", "A machine is a viewer, an auditor or an admin. Nothing was created.").
			Field("roles", "Choose among viewer, auditor and admin.")
	}
	n.Roles = roles
	return nil
}

// RevokeClient ends a client: its secret buys no more tokens, and those it bought are refused, here at
// once and by other replicas when they are woken. It needs identity.EnrolGateway. A client that is not
// there, or was revoked before, is NotFound.
func (a *Authority) RevokeClient(ctx context.Context, who identity.Principal, id string) error {
	err := postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error { return a.RevokeClientTx(ctx, tx, who, id) })
	if err != nil {
		return err
	}
	a.hub.Wake(ctx, topicClients)
	return a.Refresh(ctx)
}

// RevokeClientTx is RevokeClient in the caller's transaction. After its commit wake the topic
// "clients".
func (a *Authority) RevokeClientTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string) error {
	return revokeTx(ctx, tx, who, id, "", nil)
}

// Clients lists all API clients, newest first. It needs identity.ReadGateways.
func (a *Authority) Clients(ctx context.Context, who identity.Principal) ([]Client, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return nil, err
	}
	rows, _ := a.pool.Query(ctx, `
		select c.id, c.name, c.kind, c.roles, coalesce(c.team_id, '') as team_id, coalesce(m.name, '') as team_name,
		       c.created_by, coalesce(p.name, c.created_by) as created_by_name, c.created_at, c.revoked_at
		from api_clients c
		left join teams m on m.id = c.team_id
		left join people p on p.id = c.created_by
		order by c.created_at desc, c.id`)
	clients, err := pgx.CollectRows(rows, pgx.RowToStructByName[Client])
	if err != nil {
		return nil, fmt.Errorf("listing clients: %w", err)
	}
	return clients, nil
}
