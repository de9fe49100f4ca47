package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
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
	Tainted   []string         `json:"tainted,omitzero"` // labels of servers that answered lately; none: not known; empty: of none
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
