package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/policy"
)

// released are the columns of a tool that nothing holds.
const released = `held_at = null, held_reason = '', severity = '', held_note = '', held_note_by = '', held_note_at = null`

// holdTx holds tools, and grades what holds them; a tool that is held already keeps the gravest that it was seen to
// serve, so that another change does not move it down the queue. Every tool that is callable no more, or again, gets
// its event.
func holdTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, tools []known, c changes) error {
	if len(c.hold)+len(c.regrade)+len(c.lost)+len(c.back) == 0 {
		return nil
	}
	severities, err := gradeTx(ctx, tx, c)
	if err != nil {
		return err
	}
	var ids, reasons, grades []string
	for _, t := range tools {
		severity, graded := severities[t.ID]
		if !graded {
			continue
		}
		severities[t.ID] = graver(t.Severity, severity)
		ids, reasons, grades = append(ids, t.ID), append(reasons, c.hold[t.ID]), append(grades, string(severities[t.ID]))
	}
	_, err = tx.Exec(ctx, `
		update tools t
		set held_at = coalesce(t.held_at, clock_timestamp()),
		    held_reason = case when t.held_at is null then n.reason else t.held_reason end,
		    severity = n.severity, version = t.version + 1
		from unnest(@ids::text[], @reasons::text[], @grades::text[]) as n (id, reason, severity)
		where t.id = n.id and (t.held_at is null or t.severity <> n.severity)`,
		pgx.StrictNamedArgs{"ids": ids, "reasons": reasons, "grades": grades})
	if err != nil {
		return fmt.Errorf("holding tools: %w", err)
	}
	return audit.AppendAll(ctx, tx, heldEvents(who, server, tools, c, severities))
}

// gradeTx says how grave it is what is served in place of what is pinned, by tool id. What is served is recorded
// already. What cannot be read, or is there twice, cannot be compared.
func gradeTx(ctx context.Context, tx pgx.Tx, c changes) (map[string]Severity, error) {
	severities := map[string]Severity{}
	for id, reason := range c.hold {
		if reason == HeldBroken {
			severities[id] = SeverityHigh
		}
	}
	rows, _ := tx.Query(ctx, `
		select t.id, t.kind, p.raw as pinned, s.raw as served, s.findings
		from tools t
		join definitions p on p.id = t.pinned_id
		join definitions s on s.tool_id = t.id and s.digest = t.observed_digest
		where t.id = any (@ids)`,
		pgx.StrictNamedArgs{"ids": slices.Concat(slices.Collect(maps.Keys(c.hold)), c.regrade)})
	var id string
	var kind policy.Kind
	var pinned, served []byte
	var findings []Finding
	_, err := pgx.ForEachRow(rows, []any{&id, &kind, &pinned, &served, &findings}, func() error {
		severities[id] = grade(kind, pinned, served, findings)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("comparing definitions: %w", err)
	}
	return severities, nil
}

// grade says how grave a difference is. What could not even be pinned is the gravest. A guess from the wording that
// the definition wants something its owner would not makes it high, and never decides.
func grade(kind policy.Kind, pinned, served []byte, findings []Finding) Severity {
	if blocked(findings) {
		return SeverityCritical
	}
	_, severity := Differences(kind, pinned, served)
	if slices.ContainsFunc(findings, func(f Finding) bool { return f.Heuristic }) {
		return graver(severity, SeverityHigh)
	}
	return severity
}

// heldEvents are the events of the tools that are held from now on, gone or back.
func heldEvents(who identity.Principal, server lockedServer, tools []known, c changes, severities map[string]Severity) []audit.Event {
	kinds := map[string]string{}
	for id := range c.hold {
		kinds[id] = "tool.held"
	}
	for _, id := range c.lost {
		kinds[id] = "tool.gone"
	}
	for _, id := range c.back {
		kinds[id] = "tool.returned"
	}
	var events []audit.Event
	for _, t := range tools {
		kind, happened := kinds[t.ID]
		if !happened {
			continue
		}
		detail := map[string]any{
			"server_id": server.ID, "server": server.Name, "kind": t.Kind, "pinned": digestOf(t.Pinned).String(),
		}
		if reason, held := c.hold[t.ID]; held {
			detail["reason"], detail["severity"] = reason, severities[t.ID]
			if it, served := c.serve[t.ID]; served {
				detail["served"] = it.digest.String()
			}
		}
		events = append(events, audit.Event{
			Kind: kind, Who: who, TargetKind: "tool", TargetID: t.ID, TargetName: visible(t.Name, 200), Detail: detail,
		})
	}
	return events
}
