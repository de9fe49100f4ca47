package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// RevokeAutomation ends an automation client as RevokeClient does, for a reason that the log keeps. It needs
// identity.EnrolGateway. The credential of a gateway ends with the gateway, so it is not found here.
//
// Problems: Invalid invalid_reason; NotFound no_such_client.
func (a *Authority) RevokeAutomation(ctx context.Context, who identity.Principal, id, reason string) error {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return err
	}
	if err := cleanReason(&reason); err != nil {
		return err
	}
	err := postgres.InTx(ctx, a.pool, func(tx pgx.Tx) error {
		return revokeTx(ctx, tx, who, id, AutomationClient, map[string]any{"reason": reason})
	})
	if err != nil {
		return err
	}
	a.hub.Wake(ctx, topicClients)
	return a.Refresh(ctx)
}

// revokeTx ends a client of a kind, "" for any.
func revokeTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, kind ClientKind, detail map[string]any) error {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return err
	}
	var name string
	err := tx.QueryRow(ctx, `
		update api_clients set revoked_at = clock_timestamp()
		where id = @id and revoked_at is null and (@kind = '' or kind = @kind)
		returning name`,
		pgx.StrictNamedArgs{"id": id, "kind": kind}).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.New(problem.NotFound, "no_such_client", "There is no such client, or it was revoked before.")
	}
	if err != nil {
		return fmt.Errorf("revoking client %q: %w", id, err)
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "client.revoked", Who: who, TargetKind: "client", TargetID: id, TargetName: name, Detail: detail,
	})
}
