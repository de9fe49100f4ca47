package registry

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/desired"
	"countersign/identity"
	"countersign/internal/problem"
)

// rollbackOptions make a plan of the rules alone: teams, servers, pins and suspensions stay as they are.
var rollbackOptions = PlanOptions{Prune: true, rulesOnly: true}

// PlanRollback says what it takes to make the grants and guardrails what they were at a generation, and changes
// nothing. It is made of the same steps as a plan of files, so that it says who gains and who loses. A rule that has
// ended since is made anew under its old key. It needs identity.ReadRegistry and identity.ReadPolicy.
//
// Problems: NotFound no_such_generation; Invalid invalid_set, when a rule of then cannot be one now.
func (r *Registry) PlanRollback(ctx context.Context, who identity.Principal, generation int64) (Plan, error) {
	if err := mayPlan(who); err != nil {
		return Plan{}, err
	}
	var plan Plan
	err := pgx.BeginTxFunc(ctx, r.pool, ReadOnly, func(tx pgx.Tx) (err error) {
		plan, _, err = r.planRollbackTx(ctx, tx, generation)
		return err
	})
	return plan, err
}

func (r *Registry) planRollbackTx(ctx context.Context, tx pgx.Tx, generation int64) (Plan, []planStep, error) {
	states, err := statesAt(ctx, tx, generation)
	if err != nil {
		return Plan{}, nil, err
	}
	now, err := readPresentTx(ctx, tx, nil)
	if err != nil {
		return Plan{}, nil, err
	}
	set, err := now.setOf(states)
	if err != nil {
		return Plan{}, nil, err
	}
	return r.compareTx(ctx, tx, now, set, rollbackOptions)
}

// setOf writes states of rules in the words of files, save suspensions. A rule that is still at the version of then needs
// no comparing: it is left out, and of p as well.
func (p present) setOf(states []ruleState) (set desired.Set, err error) {
	for _, s := range states {
		switch {
		case s.Kind == "grant" && p.grants[s.Row.Key].at(s):
			delete(p.grants, s.Row.Key)
		case s.Kind == "guardrail" && p.guardrails[s.Row.Key].at(s):
			delete(p.guardrails, s.Row.Key)
		case s.Kind == "grant":
			g, err := s.Row.desiredGrant()
			if err != nil {
				return set, err
			}
			set.Grants = append(set.Grants, g)
		case !s.Row.Emergency:
			g, err := s.Row.desiredGuardrail(p)
			if err != nil {
				return set, err
			}
			set.Guardrails = append(set.Guardrails, g)
		}
	}
	return set, nil
}

// at reports whether the rule is at this very state.
func (k kept[T]) at(s ruleState) bool { return k.id == s.RuleID && k.version == s.Row.Version }

func (r ruleRow) desiredGrant() (desired.Grant, error) {
	g, err := r.grant()
	if err != nil {
		return desired.Grant{}, fmt.Errorf("grant %s: %w", r.ID, err)
	}
	return desired.Grant{
		Key: r.Key, Name: r.Name, For: g.Subject, On: g.Resource, Condition: r.Condition,
		From: truncated(r.NotBefore), Until: truncated(r.NotAfter), Reason: r.Reason,
	}, nil
}

func (r ruleRow) desiredGuardrail(p present) (desired.Guardrail, error) {
	g, err := r.guardrail()
	if err != nil {
		return desired.Guardrail{}, fmt.Errorf("guardrail %s: %w", r.ID, err)
	}
	d := desired.Guardrail{
		Key: r.Key, Name: r.Name, For: g.Subject, Except: g.Except, On: g.Resource, Condition: r.Condition, Reason: r.Reason,
	}
	d.SetEffect(p.withNames(g.Effect))
	return d, nil
}

// Rollback makes the grants and guardrails what they were at a generation, all of it or nothing, if that is still the
// plan whose digest was seen. The policy of then becomes a new generation, and so a new revision. Servers, pins and
// suspensions stay. It needs identity.ChangeGrant and a person's session, since it may loosen guardrails, and a reason.
//
// Problems: NotFound no_such_generation; Invalid invalid_reason, invalid_set; Forbidden interactive_only; Precondition
// plan_changed; Unavailable apply_busy.
func (r *Registry) Rollback(ctx context.Context, who identity.Principal, generation int64, seen, reason string) (Plan, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Plan{}, err
	}
	if who.Kind != identity.Person || who.SessionID == "" {
		refused := audit.Event{Kind: "policy.rollback_refused", Who: who, TargetKind: "generation", TargetID: strconv.FormatInt(generation, 10)}
		return Plan{}, audit.Refused(ctx, r.pool, refused, personOnly())
	}
	reason, err := cleanReason(reason)
	if err == nil && reason == "" {
		err = invalidReason().Field("reason", "Say why, for the one who asks later.")
	}
	if err != nil {
		return Plan{}, err
	}
	for range applyTries {
		plan, err := r.rollbackOnce(ctx, who, generation, seen, reason)
		if lostRace(err) {
			continue
		}
		if err == nil && !plan.Empty() {
			r.hub.Wake(ctx, TopicPolicy)
		}
		return plan, err
	}
	return Plan{}, applyBusy()
}

func (r *Registry) rollbackOnce(ctx context.Context, who identity.Principal, generation int64, seen, reason string) (Plan, error) {
	var plan Plan
	err := pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) (err error) {
		var steps []planStep
		if plan, steps, err = r.planRollbackTx(ctx, tx, generation); err != nil {
			return err
		}
		if plan.Digest != seen {
			return problem.New(problem.Precondition, "plan_changed",
				"The rules changed since you looked, so this is no longer what a rollback does. Nothing was changed; look again.")
		}
		if plan.Empty() {
			return nil
		}
		to := strconv.FormatInt(generation, 10)
		a := applier{tx: tx, who: who, pruned: "Rolled back to generation " + to + ": " + reason, teams: map[string]string{}}
		plan.Generation, err = a.run(ctx, steps, audit.Event{
			Kind: "policy.rolled_back", Who: who, TargetKind: "generation", TargetID: to, TargetName: "generation " + to,
			Detail: map[string]any{"reason": reason, "digest": plan.Digest},
		})
		return err
	})
	return plan, err
}
