package registry

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// ruleKey is the form of a key that people choose; the database holds to it as well.
var ruleKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

const badKey = "A key has up to 100 letters, digits, dots, hyphens and underscores, as orders.readers."

func keyTaken(what string) *problem.Error {
	return problem.New(problem.Conflict, "key_taken", "There is a %s of this key already. Nothing was changed.", what).
		Field("key", "Choose another key, or change the "+what+" that has it.")
}

// changeGrantTx makes an open grant what a clean n says, save its key. The caller moves the policy's generation.
func changeGrantTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, version int64, n NewGrant) error {
	tag, err := tx.Exec(ctx, `
		update grants
		set name = @name, subject = @subject, resource = @resource, condition = @condition, not_before = @not_before,
		    not_after = @not_after, reason = @reason, version = version + 1
		where id = @id and version = @version and ended_at is null`,
		pgx.StrictNamedArgs{
			"id": id, "version": version, "name": n.Name, "subject": n.Subject, "resource": n.Resource,
			"condition": n.Condition, "not_before": n.NotBefore, "not_after": n.NotAfter, "reason": n.Reason,
		})
	if err != nil {
		return fmt.Errorf("changing grant: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return grantChanged()
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "grant.changed", Who: who, TargetKind: "grant", TargetID: id, TargetName: n.Name, Detail: n.detail(),
	})
}

// changeGuardrailTx makes an open guardrail what a clean n says, save its key. The caller has asked whether who may
// loosen it, and moves the policy's generation.
func changeGuardrailTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, version int64, n NewGuardrail) error {
	tag, err := tx.Exec(ctx, `
		update guardrails
		set name = @name, subject = @subject, exempt = @exempt, resource = @resource, condition = @condition, effect = @effect,
		    reason = @reason, version = version + 1
		where id = @id and version = @version and ended_at is null`,
		pgx.StrictNamedArgs{
			"id": id, "version": version, "name": n.Name, "subject": n.Subject, "exempt": n.Except, "resource": n.Resource,
			"condition": n.Condition, "effect": n.Effect, "reason": n.Reason,
		})
	if err != nil {
		return fmt.Errorf("changing guardrail: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return guardrailChanged()
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "guardrail.changed", Who: who, TargetKind: "guardrail", TargetID: id, TargetName: n.Name, Detail: n.detail(),
	})
}
