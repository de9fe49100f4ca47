package delivery

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/registry"
)

// CreatePolicyTest makes a test, which holds from the next publication on. It needs identity.ChangeGrant. Problems:
// Invalid invalid_policy_test; Conflict policy_test_taken, too_many_policy_tests.
func (d *Delivery) CreatePolicyTest(ctx context.Context, who identity.Principal, n NewPolicyTest) (PolicyTest, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return PolicyTest{}, err
	}
	if err := n.clean(); err != nil {
		return PolicyTest{}, err
	}
	var id string
	err := d.changingTests(ctx, func(tx pgx.Tx) error {
		var open int
		if err := tx.QueryRow(ctx, `select count(*) from policy_tests where ended_at is null`).Scan(&open); err != nil {
			return fmt.Errorf("counting policy tests: %w", err)
		}
		if open >= maxTests {
			return problem.New(problem.Conflict, "too_many_policy_tests", "There are %d policy tests. End one first; nothing was changed.", open)
		}
		err := tx.QueryRow(ctx, `
			insert into policy_tests (name, given, expect, created_by) values (@name, @given, @expect, @by) returning id`,
			pgx.StrictNamedArgs{"name": n.Name, "given": n.Given, "expect": n.Expect, "by": who.ID}).Scan(&id)
		if err != nil {
			return fmt.Errorf("inserting policy test: %w", err)
		}
		return audit.Append(ctx, tx, n.event("policy_test.created", who, id))
	})
	if err != nil {
		return PolicyTest{}, err
	}
	return d.PolicyTest(ctx, who, id)
}

// ChangePolicyTest makes an open test what n says. version is the Version that the reader saw. It needs
// identity.ChangeGrant. Problems: those of CreatePolicyTest; NotFound no_such_policy_test; Conflict policy_test_changed.
func (d *Delivery) ChangePolicyTest(ctx context.Context, who identity.Principal, id string, version int64, n NewPolicyTest) (PolicyTest, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return PolicyTest{}, err
	}
	if err := n.clean(); err != nil {
		return PolicyTest{}, err
	}
	if _, err := d.PolicyTest(ctx, who, id); err != nil {
		return PolicyTest{}, err
	}
	err := d.changingTests(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update policy_tests
			set name = @name, given = @given, expect = @expect, version = version + 1, changed_at = clock_timestamp()
			where id = @id and version = @version and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "version": version, "name": n.Name, "given": n.Given, "expect": n.Expect})
		if err != nil {
			return fmt.Errorf("changing policy test: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return testChanged()
		}
		return audit.Append(ctx, tx, n.event("policy_test.changed", who, id))
	})
	if err != nil {
		return PolicyTest{}, err
	}
	return d.PolicyTest(ctx, who, id)
}

// EndPolicyTest ends a test, for good: it keeps nothing from being published any more. It needs identity.ChangeGrant.
// Problems: NotFound no_such_policy_test; Conflict policy_test_changed.
func (d *Delivery) EndPolicyTest(ctx context.Context, who identity.Principal, id string, version int64) error {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	test, err := d.PolicyTest(ctx, who, id)
	if err != nil {
		return err
	}
	return d.changingTests(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update policy_tests set ended_at = clock_timestamp(), ended_by = @by, version = version + 1
			where id = @id and version = @version and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "version": version, "by": who.ID})
		if err != nil {
			return fmt.Errorf("ending policy test: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return testChanged()
		}
		n := NewPolicyTest{test.Name, test.Given, test.Expect}
		return audit.Append(ctx, tx, n.event("policy_test.ended", who, id))
	})
}

// changingTests runs a change of tests in a transaction. It moves the generation, so that what a test kept from being
// published is tried again, and what a new one refutes is looked at.
func (d *Delivery) changingTests(ctx context.Context, change func(tx pgx.Tx) error) error {
	err := postgres.InTx(ctx, d.pool, func(tx pgx.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		_, err := registry.BumpTx(ctx, tx)
		return err
	})
	if postgres.Constraint(err) == "policy_tests_name_open" {
		return problem.New(problem.Conflict, "policy_test_taken", "There is a policy test of this name already. Nothing was changed.").
			Field("name", "Choose another name.")
	}
	if err == nil {
		d.hub.Wake(ctx, registry.TopicPolicy)
	}
	return err
}

func testChanged() *problem.Error {
	return problem.New(problem.Conflict, "policy_test_changed", "Somebody changed or ended this policy test while you looked at it. Nothing was changed by you.")
}

// event is what the log keeps of a test. Arguments may be anything, so it keeps that there are some.
func (n *NewPolicyTest) event(kind string, who identity.Principal, id string) audit.Event {
	given := n.Given
	given.Arguments = nil
	return audit.Event{
		Kind: kind, Who: who, TargetKind: "policy_test", TargetID: id, TargetName: n.Name,
		Detail: map[string]any{"given": given, "expect": n.Expect, "arguments": len(n.Given.Arguments) > 0},
	}
}
