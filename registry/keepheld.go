package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// heldTool is a tool that a person looks at, locked.
type heldTool struct {
	ID           string
	Kind         policy.Kind
	Name         string
	Held         bool
	ServedID     string // definition; "" nothing that could be pinned is served
	ServedNumber int
	Severity     Severity
}

// KeepHeld leaves a held tool held, and says why: somebody has looked, and waits for something. definitionID is what
// the tool served on their screen, "" if it served nothing. Nothing becomes callable or uncallable by it. It needs
// identity.PinDefinition for the server's team, in a person's session, and a note.
//
// Problems: NotFound no_such_tool; Invalid invalid_note with the field note; Conflict not_held, definition_changed
// (something else is served by now), server_retired.
func (r *Registry) KeepHeld(ctx context.Context, who identity.Principal, toolID, definitionID, note string) error {
	if err := mayRead(who); err != nil {
		return err
	}
	note, err := needReason(note, problem.New(problem.Invalid, "invalid_note", "Nothing was changed."), "note")
	if err != nil {
		return err
	}
	serverID, err := r.serverOfTool(ctx, toolID)
	if err != nil {
		return err
	}
	return postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockDecidedTx(ctx, tx, who, serverID)
		if err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, `
			select t.id, t.kind, t.name, t.held_at is not null as held, coalesce(d.id, '') as served_id,
			       coalesce(d.number, 0) as served_number, t.severity
			from tools t
			left join definitions d on d.tool_id = t.id and d.digest = t.observed_digest
			where t.id = @id
			for update of t`, pgx.StrictNamedArgs{"id": toolID})
		tool, err := one(rows, pgx.RowToStructByName[heldTool], "reading held tool", noSuchTool())
		if err != nil {
			return err
		}
		if err := tool.mayKeep(definitionID); err != nil {
			return err
		}
		return keepHeldTx(ctx, tx, who, server, tool, note)
	})
}

func (t heldTool) mayKeep(definitionID string) error {
	switch {
	case !t.Held:
		return problem.New(problem.Conflict, "not_held", "The tool is not held by now. Nothing was changed.")
	case t.ServedID == definitionID:
		return nil
	case t.ServedID == "":
		return problem.New(problem.Conflict, "definition_changed", "The server does not offer the tool any more. Nothing was changed; look again.")
	}
	return problem.New(problem.Conflict, "definition_changed",
		"The server offers v%d by now, not what was on your screen. Nothing was changed; look at v%d.", t.ServedNumber, t.ServedNumber)
}

func keepHeldTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, t heldTool, note string) error {
	_, err := tx.Exec(ctx, `
		update tools
		set held_note = @note, held_note_by = @by, held_note_at = clock_timestamp(), version = version + 1
		where id = @id`, pgx.StrictNamedArgs{"id": t.ID, "note": note, "by": who.ID})
	if err != nil {
		return fmt.Errorf("noting why a tool stays held: %w", err)
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "drift.kept_held", Who: who, TargetKind: "tool", TargetID: t.ID, TargetName: visible(t.Name, 200),
		Detail: map[string]any{
			"server_id": server.ID, "server": server.Name, "kind": t.Kind, "version": t.ServedNumber, "severity": t.Severity, "note": note,
		},
	})
}

// needReason cleans a reason that has to be given; invalid is the problem, field where it was typed.
func needReason(reason string, invalid *problem.Error, field string) (string, error) {
	clean, err := cleanReason(reason)
	switch {
	case err != nil:
		return "", invalid.Field(field, problem.From(err).Fields["reason"])
	case clean == "":
		return "", invalid.Field(field, "Say why, for the one who asks later.")
	}
	return clean, nil
}

// lockDecidedTx locks a server for a decision about what it offers, which only a person takes: not even the system
// itself.
func lockDecidedTx(ctx context.Context, tx pgx.Tx, who identity.Principal, serverID string) (lockedServer, error) {
	server, err := lockServerTx(ctx, tx, who, identity.PinDefinition, serverID)
	switch {
	case err != nil:
		return lockedServer{}, err
	case who.Kind != identity.Person:
		return lockedServer{}, personOnly()
	case server.State == Retired:
		return lockedServer{}, retired()
	}
	return server, nil
}

func personOnly() *problem.Error {
	return problem.New(problem.Forbidden, "interactive_only", "A person has to do this in a signed-in session.")
}

// serverOfTool gives the server of a tool, which never changes: it is locked before the tool.
func (r *Registry) serverOfTool(ctx context.Context, toolID string) (id string, err error) {
	err = r.pool.QueryRow(ctx, `select server_id from tools where id = @id`, pgx.StrictNamedArgs{"id": toolID}).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", noSuchTool()
	}
	if err != nil {
		return "", fmt.Errorf("reading the server of a tool: %w", err)
	}
	return id, nil
}
