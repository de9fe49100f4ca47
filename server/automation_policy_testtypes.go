package server

import (
	"time"

	"countersign/delivery"
	"countersign/policy"
)

// foresightRequest is the body of POST /v1/policy/preview.
type foresightRequest struct {
	Draft draftJSON `json:"draft"`
}

// foresightJSON is what a draft would do.
type foresightJSON struct {
	Generation int64             `json:"generation" doc:"Of the registry that it was held against."`
	Nothing    bool              `json:"nothing" doc:"No call anywhere would be decided otherwise."`
	Sentences  []policy.Sentence `json:"sentences" doc:"Who gains and who loses what, which guardrails begin and stop."`
	More       int               `json:"more,omitempty" doc:"Sentences that were left out."`
	Changes    policy.Changes    `json:"changes" doc:"The same, for machines; whole."`
	Warnings   []policy.Warning  `json:"warnings" doc:"That would be new."`
	Settled    []policy.Warning  `json:"settled" doc:"That would be gone."`
	Failing    []testResultJSON  `json:"failing" doc:"Policy tests that would keep it from being published."`
}

func foresightOf(f delivery.Foresight) foresightJSON {
	return foresightJSON{
		Generation: f.Generation, Nothing: f.Nothing(), Sentences: orNone(f.Sentences), More: f.More, Changes: f.Changes,
		Warnings: orNone(f.Warnings), Settled: orNone(f.Settled), Failing: whole(f.Failing, testResultOf).Items,
	}
}

// expectJSON is the verdict that a test wants. What is left out may be anything.
type expectJSON struct {
	Outcome delivery.ExpectedOutcome `json:"outcome"`
	Reason  policy.Reason            `json:"reason,omitempty"`
	Quorum  int                      `json:"quorum,omitempty" doc:"Of the approval that holds the call."`
	Limits  []string                 `json:"limits,omitzero" doc:"Names of exactly the guardrails that count the call."`
}

type policyTestJSON struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	Given         callJSON   `json:"given"`
	Expect        expectJSON `json:"expect"`
	Version       int64      `json:"version" doc:"As in the ETag."`
	CreatedBy     string     `json:"created_by"`
	CreatedByName string     `json:"created_by_name"`
	CreatedAt     time.Time  `json:"created_at"`
	ChangedAt     time.Time  `json:"changed_at"`
}

func (t policyTestJSON) version() int64  { return t.Version }
func (t policyTestJSON) address() string { return "/v1/policy/tests/" + t.ID }

func policyTestOf(t delivery.PolicyTest) policyTestJSON {
	return policyTestJSON{
		ID: t.ID, Name: t.Name, Given: callOf(t.Given), Expect: expectJSON(t.Expect), Version: t.Version, CreatedBy: t.CreatedBy,
		CreatedByName: t.CreatedByName, CreatedAt: t.CreatedAt, ChangedAt: t.ChangedAt,
	}
}

type newPolicyTestJSON struct {
	Name   string     `json:"name" doc:"Unique among open tests, ignoring case."`
	Given  callJSON   `json:"given"`
	Expect expectJSON `json:"expect"`
}

func (n newPolicyTestJSON) test() delivery.NewPolicyTest {
	return delivery.NewPolicyTest{Name: n.Name, Given: n.Given.given(), Expect: delivery.Expect(n.Expect)}
}

// runRequest is the body of POST /v1/policy/tests/run.
type runRequest struct {
	Tests []newPolicyTestJSON `json:"tests,omitempty" doc:"To run instead of those that are stored."`
	Draft *draftJSON          `json:"draft,omitempty" doc:"Rules that are not saved, to hold them against as well."`
}

// runJSON is what became of tests.
type runJSON struct {
	Passed  int              `json:"passed"`
	Failed  int              `json:"failed"`
	Results []testResultJSON `json:"results"`
}

type testResultJSON struct {
	ID       string     `json:"id,omitempty" doc:"Not there if the test is not stored."`
	Name     string     `json:"name"`
	Passed   bool       `json:"passed"`
	Expect   expectJSON `json:"expect"`
	Got      expectJSON `json:"got" doc:"The whole verdict."`
	Deciding string     `json:"deciding,omitempty" doc:"The name of the rule that settled it."`
	Fault    string     `json:"fault,omitempty" doc:"In words."`
}

func testResultOf(r delivery.TestResult) testResultJSON {
	return testResultJSON{
		ID: r.ID, Name: r.Name, Passed: r.Passed, Expect: expectJSON(r.Expect), Got: expectJSON(r.Got), Deciding: r.Deciding, Fault: r.Fault,
	}
}

func runOf(results []delivery.TestResult) runJSON {
	out := runJSON{Results: whole(results, testResultOf).Items}
	for _, r := range results {
		if r.Passed {
			out.Passed++
		} else {
			out.Failed++
		}
	}
	return out
}
