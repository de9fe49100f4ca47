package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// LabelTool gives a tool its labels, which rules select it by: "egress" for one that can carry something out. Labels that
// are the same change nothing. It needs identity.PinDefinition for the server's team, in a person's session: without a
// label a guardrail may no longer hold.
//
// Problems: NotFound no_such_tool; Invalid invalid_tool with the field labels; Conflict server_retired.
func (r *Registry) LabelTool(ctx context.Context, who identity.Principal, toolID string, labels []string) error {
	if err := mayRead(who); err != nil {
		return err
	}
	labels = sortedLabels(labels)
	if message := checkLabels(labels); message != "" {
		return problem.New(problem.Invalid, "invalid_tool", "The tool was not changed.").Field("labels", message)
	}
	serverID, err := r.serverOfTool(ctx, toolID)
	if err != nil {
		return err
	}
	changed := false
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockDecidedTx(ctx, tx, who, serverID)
		if err != nil {
			return err
		}
		changed, err = labelTx(ctx, tx, who, server, toolID, labels)
		if err != nil || !changed {
			return err
		}
		_, err = BumpTx(ctx, tx)
		return err
	})
	if err == nil && changed {
		r.hub.Wake(ctx, TopicPolicy)
	}
	return err
}

func labelTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, toolID string, labels []string) (bool, error) {
	var name string
	var before []string
	err := tx.QueryRow(ctx, `select name, labels from tools where id = @id for update`, pgx.StrictNamedArgs{"id": toolID}).Scan(&name, &before)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, noSuchTool()
	}
	if err != nil {
		return false, fmt.Errorf("reading the labels of a tool: %w", err)
	}
	if slices.Equal(before, labels) {
		return false, nil
	}
	if _, err := tx.Exec(ctx, `update tools set labels = @labels, version = version + 1 where id = @id`,
		pgx.StrictNamedArgs{"id": toolID, "labels": labels}); err != nil {
		return false, fmt.Errorf("labelling a tool: %w", err)
	}
	return true, audit.Append(ctx, tx, audit.Event{
		Kind: "tool.labelled", Who: who, TargetKind: "tool", TargetID: toolID, TargetName: visible(name, 200),
		Detail: map[string]any{"server": server.Name, "labels": labels, "labels_before": before},
	})
}
