package auth

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
)

// ClientKind is what an API client is for.
type ClientKind string

// The kinds of API client.
const (
	GatewayClient    ClientKind = "gateway"    // the credential of a gateway; delivery makes it
	AutomationClient ClientKind = "automation" // a pipeline; it holds no role yet
)

// NewClient is a client just made. The secret is shown now and never again.
type NewClient struct {
	ID     string
	Secret string
}

// Client is an API client, without its secret.
type Client struct {
	ID        string
	Name      string
	Kind      ClientKind
	CreatedBy string
	CreatedAt time.Time
	RevokedAt *time.Time
}

// CreateClient makes an API client. It needs identity.EnrolGateway: an admin in a session.
func (a *Authority) CreateClient(ctx context.Context, who identity.Principal, name string, kind ClientKind) (NewClient, error) {
	var made NewClient
	err := postgres.InTx(ctx, a.pool, func(tx pgx.Tx) (err error) {
		made, err = a.CreateClientTx(ctx, tx, who, name, kind)
		return err
	})
	if err != nil {
		return NewClient{}, err
	}
	a.hub.Wake(ctx, "clients")
	return made, nil
}

// CreateClientTx is CreateClient in the caller's transaction. After its commit wake the topic
// "clients".
func (a *Authority) CreateClientTx(ctx context.Context, tx pgx.Tx, who identity.Principal, name string, kind ClientKind) (NewClient, error) {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return NewClient{}, err
	}
	name = strings.TrimSpace(name)
	if name == "" || plain(name) != name || len(name) > 100 {
		return NewClient{}, problem.New(problem.Invalid, "invalid_client_name", "A client needs a name of 1 to 100 characters.").
			Field("name", "Give it a name of 1 to 100 characters.")
	}
	if kind != GatewayClient && kind != AutomationClient {
		return NewClient{}, problem.New(problem.Invalid, "invalid_client_kind", "A client is of kind gateway or automation.")
	}
	made := NewClient{Secret: newClientSecret()}
	err := tx.QueryRow(ctx, `
		insert into api_clients (name, kind, secret_hash, created_by) values (@name, @kind, @hash, @by) returning id`,
		pgx.StrictNamedArgs{"name": name, "kind": kind, "hash": hashSecret(made.Secret), "by": who.ID}).Scan(&made.ID)
	if err != nil {
		return NewClient{}, fmt.Errorf("creating client %q: %w", name, err)
	}
	return made, audit.Append(ctx, tx, audit.Event{
		Kind: "client.created", Who: who, TargetKind: "client", TargetID: made.ID, TargetName: name,
		Detail: map[string]any{"kind": kind},
	})
}

// RevokeClient ends a client: its secret buys no more tokens, and those it bought are refused, here at
// once and by other replicas when they are woken. It needs identity.EnrolGateway. A client that is not
// there, or was revoked before, is NotFound.
func (a *Authority) RevokeClient(ctx context.Context, who identity.Principal, id string) error {
	err := postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error { return a.RevokeClientTx(ctx, tx, who, id) })
	if err != nil {
		return err
	}
	a.hub.Wake(ctx, "clients")
	return a.Refresh(ctx)
}

// RevokeClientTx is RevokeClient in the caller's transaction. After its commit wake the topic
// "clients".
func (a *Authority) RevokeClientTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string) error {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return err
	}
	var name string
	err := tx.QueryRow(ctx, `
		update api_clients set revoked_at = clock_timestamp() where id = @id and revoked_at is null returning name`,
		pgx.StrictNamedArgs{"id": id}).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.New(problem.NotFound, "no_such_client", "There is no such client, or it was revoked before.")
	}
	if err != nil {
		return fmt.Errorf("revoking client %q: %w", id, err)
	}
	return audit.Append(ctx, tx, audit.Event{Kind: "client.revoked", Who: who, TargetKind: "client", TargetID: id, TargetName: name})
}

// Clients lists all API clients, newest first. It needs identity.ReadGateways.
func (a *Authority) Clients(ctx context.Context, who identity.Principal) ([]Client, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return nil, err
	}
	rows, _ := a.pool.Query(ctx, `
		select id, name, kind, created_by, created_at, revoked_at from api_clients order by created_at desc, id`)
	clients, err := pgx.CollectRows(rows, pgx.RowToStructByName[Client])
	if err != nil {
		return nil, fmt.Errorf("listing clients: %w", err)
	}
	return clients, nil
}
