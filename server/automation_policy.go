package server

import (
	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/registry"
)

// policyOperations answer what would be: a call explained, a draft foreseen, tests run, who has access and who uses it.
// Those that only ask are POST where the question is too long for an address; they change nothing.
func (s *Server) policyOperations() []operation {
	read, change := machine(identity.ReadPolicy), machine(identity.ChangeGrant)
	return []operation{
		{post, "/v1/policy/explain", read, "What would become of a call, by which rules, and what a caller who is denied would need.", acts(s, s.explain)},
		{post, "/v1/policy/preview", read, "Who gains and who loses what by rules that are not saved.", acts(s, s.foreseeDraft)},
		{get, "/v1/policy/tests", read, "What must hold of the rules: policy tests, by name.", lists(s.listPolicyTests)},
		{post, "/v1/policy/tests", change, "Make a policy test. While one fails, nothing is published.", makes(s, s.makePolicyTest)},
		{post, "/v1/policy/tests/run", read, "Run the policy tests, or those that are sent, against the rules as they are now.", acts(s, s.runPolicyTests)},
		{get, "/v1/policy/tests/:id", read, "A policy test.", reads(s.readPolicyTest)},
		{put, "/v1/policy/tests/:id", change, "Make a policy test what is said.", changes(s, s.changePolicyTest)},
		{post, "/v1/policy/tests/:id/end", change, "End a policy test, for good.", changes(s, s.stopPolicyTest)},
		{get, "/v1/policy/access", read, "Who may call what: subjects as grants say them, by their words, and what each has on each server.", lists(s.listAccess)},
		{post, "/v1/policy/access", read, "Exactly what one caller may call.", acts(s, s.callerAccess)},
		{get, "/v1/policy/access.csv", read, "Who may call what, a line for each subject and tool.", s.accessTable()},
		{get, "/v1/grants/idle", read, "Grants that nobody used for long, or ever, or that are about to end.", lists(s.listIdleGrants)},
	}
}

func (s *Server) explain(c echo.Context, who identity.Principal, in questionJSON) (*explanationJSON, error) {
	return said(explanationOf)(s.delivery.Explain(c.Request().Context(), who, delivery.Question{
		Request: in.given().Request(), AudienceID: in.Audience, GatewayID: in.Gateway, Draft: in.Draft.draft(),
	}))
}

func (s *Server) foreseeDraft(c echo.Context, who identity.Principal, in foresightRequest) (*foresightJSON, error) {
	return said(foresightOf)(s.delivery.Foresee(c.Request().Context(), who, *in.Draft.draft()))
}

func (s *Server) listPolicyTests(c echo.Context, who identity.Principal, _ everything) (registry.Page[policyTestJSON], error) {
	found, err := s.delivery.PolicyTests(c.Request().Context(), who)
	return whole(found, policyTestOf), err
}

func (s *Server) readPolicyTest(c echo.Context, who identity.Principal) (*policyTestJSON, error) {
	return said(policyTestOf)(s.delivery.PolicyTest(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makePolicyTest(c echo.Context, who identity.Principal, in newPolicyTestJSON) (*policyTestJSON, error) {
	return said(policyTestOf)(s.delivery.CreatePolicyTest(c.Request().Context(), who, in.test()))
}

func (s *Server) changePolicyTest(c echo.Context, who identity.Principal, version int64, in newPolicyTestJSON) (*policyTestJSON, error) {
	return said(policyTestOf)(s.delivery.ChangePolicyTest(c.Request().Context(), who, c.Param("id"), version, in.test()))
}

// endedTestJSON is what is left of a policy test.
type endedTestJSON struct {
	ID string `json:"id"`
}

func (s *Server) stopPolicyTest(c echo.Context, who identity.Principal, version int64, _ none) (*endedTestJSON, error) {
	id := c.Param("id")
	if err := s.delivery.EndPolicyTest(c.Request().Context(), who, id, version); err != nil {
		return nil, err
	}
	return &endedTestJSON{ID: id}, nil
}

func (s *Server) runPolicyTests(c echo.Context, who identity.Principal, in runRequest) (*runJSON, error) {
	if in.Tests == nil {
		return said(runOf)(s.delivery.RunPolicyTests(c.Request().Context(), who, in.Draft.draft()))
	}
	tests := make([]delivery.NewPolicyTest, len(in.Tests))
	for i, t := range in.Tests {
		tests[i] = t.test()
	}
	return said(runOf)(s.delivery.TryPolicyTests(c.Request().Context(), who, tests, in.Draft.draft()))
}
