package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// Pin is a person's acceptance of one definition, as it was on their screen, and the risk they give the tool.
type Pin struct {
	DefinitionID string
	Risk         policy.Risk
}

// candidate is a definition to be pinned, and its tool, both locked.
type candidate struct {
	ID           string
	ToolID       string
	Kind         policy.Kind
	Name         string
	Number       int
	Digest       []byte
	ProposedRisk policy.Risk
	Findings     []Finding
	State        DefinitionState
	Observed     []byte      // what the tool serves
	Risk         policy.Risk // of the tool so far
	PinnedID     string
	Held         bool
	ServedNumber int // version that is served; 0: nothing is that could be pinned
	pin          Pin
}

// Pin accepts definitions of one server, all or none: they become callable by whom grants allow, what was held is
// released, and other versions are superseded. The first pin makes a proposed server active. It needs
// identity.PinDefinition for the server's team, in a person's session.
//
// Only what the endpoint served last can be pinned. Pinning the pinned definition again raises its risk, or releases a
// tool that is served unchanged again. A risk that is lower than the tool's, or at the first pin lower than what the
// server's annotations suggest, takes a second person: the tool is pinned at the higher one, and the lower is proposed,
// with the reason, which is needed then ([Registry.DecideRisk]).
//
// Problems: NotFound no_such_server, no_such_definition; Invalid invalid_pin; Conflict definition_changed (something
// else is served by now), definition_blocked, server_retired. Fields are named by definition id.
func (r *Registry) Pin(ctx context.Context, who identity.Principal, serverID string, pins []Pin, reason string) error {
	if err := mayRead(who); err != nil {
		return err
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockDecidedTx(ctx, tx, who, serverID)
		if err != nil {
			return err
		}
		candidates, err := candidatesTx(ctx, tx, server, pins)
		if err != nil {
			return err
		}
		if err := checkPins(candidates, reason); err != nil {
			return err
		}
		return pinTx(ctx, tx, who, server, candidates, reason)
	})
	if err != nil {
		return err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return nil
}

// candidatesTx reads what is to be pinned, in the order of pins.
func candidatesTx(ctx context.Context, tx pgx.Tx, server lockedServer, pins []Pin) ([]candidate, error) {
	byID := make(map[string]Pin, len(pins))
	for _, p := range pins {
		byID[p.DefinitionID] = p
	}
	if len(pins) == 0 || len(byID) != len(pins) {
		return nil, problem.New(problem.Invalid, "invalid_pin", "Choose at least one definition, and each once.")
	}
	rows, _ := tx.Query(ctx, `
		select d.id, d.tool_id, t.kind, t.name, d.number, d.digest, d.proposed_risk, d.findings, d.state,
		       t.observed_digest as observed, coalesce(t.risk, '') as risk, coalesce(t.pinned_id, '') as pinned_id,
		       t.held_at is not null as held, coalesce(o.number, 0) as served_number
		from definitions d
		join tools t on t.id = d.tool_id
		left join definitions o on o.tool_id = t.id and o.digest = t.observed_digest
		where t.server_id = @server and d.id = any (@ids)
		order by t.kind, t.name, d.number
		for update of t`, pgx.StrictNamedArgs{"server": server.ID, "ids": slices.Collect(maps.Keys(byID))})
	candidates, err := pgx.CollectRows(rows, pgx.RowToStructByName[candidate])
	if err != nil {
		return nil, fmt.Errorf("reading definitions to pin: %w", err)
	}
	if len(candidates) != len(pins) {
		return nil, problem.New(problem.NotFound, "no_such_definition", "One of these definitions is not of this server. Nothing was pinned.")
	}
	for i := range candidates {
		candidates[i].pin = byID[candidates[i].ID]
	}
	return candidates, nil
}

// checkPins refuses the whole if any one of the pins cannot be.
func checkPins(candidates []candidate, reason string) error {
	changed := problem.New(problem.Conflict, "definition_changed",
		"What the server offers changed while you read it. Nothing was pinned; look at what it serves now.")
	blocks := problem.New(problem.Conflict, "definition_blocked",
		"A definition has findings that block it. Nothing was pinned; leave it out, or have the server changed.")
	invalid := problem.New(problem.Invalid, "invalid_pin", "Nothing was pinned.")
	tools := map[string]bool{}
	for _, c := range candidates {
		name := visible(c.Name, 80)
		switch {
		case tools[c.ToolID]:
			invalid.Field(c.ID, name+" is chosen in two versions.")
		case !c.pin.Risk.Known():
			invalid.Field(c.ID, "Choose the risk of "+name+".")
		case !slices.Equal(c.Digest, c.Observed) || c.State == Superseded:
			changed.Field(c.ID, name+" "+c.nowServed())
		case blocked(c.Findings):
			blocks.Field(c.ID, name+" cannot be pinned as it is.")
		case reason == "" && weaker(c.pin.Risk, c.floor()):
			invalid.Field(c.ID, fmt.Sprintf("%s counts as %s. Proposing a lower risk needs a reason.", name, c.floor()))
		}
		tools[c.ToolID] = true
	}
	for _, p := range []*problem.Error{changed, blocks, invalid} {
		if len(p.Fields) > 0 {
			return p
		}
	}
	return nil
}

// nowServed says what is served in place of a definition that is not.
func (c candidate) nowServed() string {
	if c.ServedNumber == 0 {
		return fmt.Sprintf("v%d is not offered any more.", c.Number)
	}
	return fmt.Sprintf("v%d is not what the server serves now: that is v%d.", c.Number, c.ServedNumber)
}

// floor is the risk below which no person alone can pin: the tool's own, or, before the first pin, the one that the
// server's annotations suggest.
func (c candidate) floor() policy.Risk {
	if c.Risk == "" {
		return c.ProposedRisk
	}
	return c.Risk
}

// risk is what the tool counts as once it is pinned.
func (c candidate) risk() policy.Risk {
	if weaker(c.pin.Risk, c.floor()) {
		return c.floor()
	}
	return c.pin.Risk
}

var riskOrder = map[policy.Risk]int{policy.ReadOnly: 1, policy.Write: 2, policy.Destructive: 3}

// weaker reports whether a is a lesser risk than b; nothing is weaker than no risk yet.
func weaker(a, b policy.Risk) bool { return riskOrder[a] < riskOrder[b] }

func pinTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, candidates []candidate, reason string) error {
	var ids, tools, risks []string
	for _, c := range candidates {
		ids, tools, risks = append(ids, c.ID), append(tools, c.ToolID), append(risks, string(c.risk()))
	}
	_, err := tx.Exec(ctx, `
		update definitions set state = 'superseded'
		where tool_id = any (@tools) and id <> all (@ids) and state in ('pending', 'approved')`,
		pgx.StrictNamedArgs{"tools": tools, "ids": ids})
	if err != nil {
		return fmt.Errorf("superseding definitions: %w", err)
	}
	_, err = tx.Exec(ctx, `
		update definitions set state = 'approved', decided_at = clock_timestamp(), decided_by = @by, reason = @reason
		where id = any (@ids)`, pgx.StrictNamedArgs{"ids": ids, "by": who.ID, "reason": reason})
	if err != nil {
		return fmt.Errorf("approving definitions: %w", err)
	}
	_, err = tx.Exec(ctx, `
		update tools t set pinned_id = n.definition, risk = n.risk, version = version + 1, `+released+`
		from unnest(@tools::text[], @ids::text[], @risks::text[]) as n (id, definition, risk)
		where t.id = n.id`, pgx.StrictNamedArgs{"tools": tools, "ids": ids, "risks": risks})
	if err != nil {
		return fmt.Errorf("pinning: %w", err)
	}
	if err := audit.AppendAll(ctx, tx, pinEvents(who, server, candidates, reason)); err != nil {
		return err
	}
	if err := proposeLowerTx(ctx, tx, who, server, candidates, reason); err != nil {
		return err
	}
	if server.State == Proposed {
		return setStateTx(ctx, tx, who, server, Active, "first pin")
	}
	_, err = BumpTx(ctx, tx)
	return err
}

func pinEvents(who identity.Principal, server lockedServer, candidates []candidate, reason string) []audit.Event {
	events := make([]audit.Event, 0, len(candidates))
	for _, c := range candidates {
		events = append(events, audit.Event{
			Kind: "definition.pinned", Who: who, TargetKind: "tool", TargetID: c.ToolID, TargetName: visible(c.Name, 200),
			Detail: map[string]any{
				"server_id": server.ID, "server": server.Name, "kind": c.Kind, "version": c.Number, "digest": digestOf(c.Digest).String(),
				"risk": c.risk(), "risk_before": c.Risk, "risk_proposed": c.ProposedRisk, "was_held": c.Held, "reason": reason,
			},
		})
	}
	return events
}

// Reject says that a pending definition is not wanted. The tool stays as it is: held, as gravely as before, or never
// callable; served again, the definition is still rejected. It needs
// identity.PinDefinition for the server's team, in a person's session, and a reason.
//
// Problems: NotFound no_such_server, no_such_definition; Invalid invalid_reason; Conflict definition_changed.
func (r *Registry) Reject(ctx context.Context, who identity.Principal, serverID, definitionID, reason string) error {
	if err := mayRead(who); err != nil {
		return err
	}
	reason, err := needReason(reason, invalidReason(), "reason")
	if err != nil {
		return err
	}
	return postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockServerTx(ctx, tx, who, identity.PinDefinition, serverID)
		if err != nil {
			return err
		}
		candidates, err := candidatesTx(ctx, tx, server, []Pin{{DefinitionID: definitionID}})
		if err != nil {
			return err
		}
		return rejectTx(ctx, tx, who, server, candidates[0], reason)
	})
}

func rejectTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, c candidate, reason string) error {
	switch {
	case c.ServedNumber != 0 && c.ServedNumber != c.Number:
		return problem.New(problem.Conflict, "definition_changed", "%s %s Nothing was changed; look at v%d.",
			visible(c.Name, 80), c.nowServed(), c.ServedNumber)
	case c.State != Pending:
		return problem.New(problem.Conflict, "definition_changed", "This version is %s by now. Nothing was changed.", c.State)
	}
	_, err := tx.Exec(ctx, `
		update definitions set state = 'rejected', decided_at = clock_timestamp(), decided_by = @by, reason = @reason
		where id = @id`, pgx.StrictNamedArgs{"id": c.ID, "by": who.ID, "reason": reason})
	if err != nil {
		return fmt.Errorf("rejecting definition: %w", err)
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "definition.rejected", Who: who, TargetKind: "tool", TargetID: c.ToolID, TargetName: visible(c.Name, 200),
		Detail: map[string]any{
			"server_id": server.ID, "server": server.Name, "version": c.Number, "digest": digestOf(c.Digest).String(), "reason": reason,
		},
	})
}
