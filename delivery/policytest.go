package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// PolicyTest is something that must hold of the rules, whoever changes them: given this call, expect this verdict. It
// judges rules and nothing else: every server is taken as active and every tool as it is pinned, and suspensions that
// were made in an emergency are left out, so that an incident never makes a test fail.
//
//	open ──EndPolicyTest──▶ ended
//
// While an open test fails, nothing is published: what was in force stays, and says which test is in the way.
type PolicyTest struct {
	ID            string
	Name          string // unique among open ones, ignoring case
	Given         Given
	Expect        Expect
	Version       int64
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	ChangedAt     time.Time
}

// Given is the call that a test makes.
type Given struct {
	Principal GivenPrincipal  `json:"principal"`
	Server    string          `json:"server"`
	Kind      policy.Kind     `json:"kind,omitempty"` // none: tool
	Name      string          `json:"name"`           // of the tool or prompt; of a resource its URI
	Arguments json.RawMessage `json:"arguments,omitempty"`
	At        *time.Time      `json:"at,omitempty"` // none: when the test is run
}

// GivenPrincipal is who calls in a test. What is left out is not known, as of a caller who does not tell.
type GivenPrincipal struct {
	User      string           `json:"user,omitempty"`
	Issuer    string           `json:"issuer,omitempty"`
	Groups    []string         `json:"groups,omitzero"` // none: not known; empty: in no group
	Agent     string           `json:"agent,omitempty"`
	Model     string           `json:"model,omitempty"`
	Assurance policy.Assurance `json:"assurance,omitempty"` // none: nobody vouches for the model
	AMR       []string         `json:"amr,omitempty"`       // how they signed in: [pwd, otp]
	AuthTime  *time.Time       `json:"auth_time,omitempty"`
}

// Expect is the verdict that a test wants. What is left out may be anything.
type Expect struct {
	Outcome ExpectedOutcome `json:"outcome"`
	Reason  policy.Reason   `json:"reason,omitempty"`
	Quorum  int             `json:"quorum,omitempty"` // of the approval that holds the call
	Limits  []string        `json:"limits,omitzero"`  // names of exactly the guardrails that count the call
}

// ExpectedOutcome is an outcome as it is written in a test.
type ExpectedOutcome string

// The outcomes that a test may expect.
const (
	ExpectAllow ExpectedOutcome = "allow"
	ExpectHold  ExpectedOutcome = "hold"
	ExpectDeny  ExpectedOutcome = "deny"
)

// NewPolicyTest is what CreatePolicyTest and ChangePolicyTest need.
type NewPolicyTest struct {
	Name   string `json:"name"`
	Given  Given  `json:"given"`
	Expect Expect `json:"expect"`
}

// maxTests is how many tests may be open, as each is run before every publication.
const maxTests = 2000

const selectTests = `
	select t.id, t.name, t.given, t.expect, t.version, t.created_by, coalesce(p.name, t.created_by) as created_by_name,
	       t.created_at, t.changed_at
	from policy_tests t
	left join people p on p.id = t.created_by
	where t.ended_at is null `

// PolicyTests lists the open tests by name. It needs identity.ReadPolicy.
func (d *Delivery) PolicyTests(ctx context.Context, who identity.Principal) ([]PolicyTest, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	return readTests(ctx, d.pool)
}

func readTests(ctx context.Context, q querier) ([]PolicyTest, error) {
	rows, _ := q.Query(ctx, selectTests+`order by lower(t.name)`)
	tests, err := pgx.CollectRows(rows, pgx.RowToStructByName[PolicyTest])
	if err != nil {
		return nil, fmt.Errorf("reading policy tests: %w", err)
	}
	return tests, nil
}

// PolicyTest gives one open test. It needs identity.ReadPolicy. Problem: NotFound no_such_policy_test.
func (d *Delivery) PolicyTest(ctx context.Context, who identity.Principal, id string) (PolicyTest, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return PolicyTest{}, err
	}
	rows, _ := d.pool.Query(ctx, selectTests+`and t.id = @id`, pgx.StrictNamedArgs{"id": id})
	test, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[PolicyTest])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return PolicyTest{}, problem.New(problem.NotFound, "no_such_policy_test", "There is no such open policy test.")
	case err != nil:
		return PolicyTest{}, fmt.Errorf("reading policy test: %w", err)
	}
	return test, nil
}

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
