package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/web"
)

func (s *Server) policyTestsPage(c echo.Context, who identity.Principal) error {
	return s.showPolicyTests(c, who, http.StatusOK, nil)
}

// showPolicyTests lists the tests with what they say of the rules as they are at this moment: they are cheap to run.
func (s *Server) showPolicyTests(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	tests, err := s.delivery.PolicyTests(ctx, who)
	if err != nil {
		return err
	}
	results, err := s.delivery.RunPolicyTests(ctx, who, nil)
	if err != nil {
		return err
	}
	byID := make(map[string]delivery.TestResult, len(results))
	for _, r := range results {
		byID[r.ID] = r
	}
	now := s.cfg.Now()
	view := web.PolicyTests{May: who.Can(identity.ChangeGrant, "") == nil, Errors: errs, Ran: "Run against the rules as they are now", RanAt: &now}
	for _, t := range tests {
		line := web.TestLine{
			ID: t.ID, Name: t.Name, Given: sentence(givenWords(t.Given)), Expected: expectWords(t.Expect), By: t.CreatedByName, Version: t.Version, At: t.ChangedAt,
		}
		if r, run := byID[t.ID]; run {
			tellResult(&line, r)
		}
		if line.State == "failed" {
			view.Failed++
		}
		view.Lines = append(view.Lines, line)
	}
	return render(c, status, web.PolicyTestsPage(s.page(c, who, "Policy tests", "/policy"), view))
}

func tellResult(line *web.TestLine, r delivery.TestResult) {
	line.Got, line.State, line.Why = expectWords(r.Got), "passed", r.Fault
	if !r.Passed {
		line.State = "failed"
	}
}

func expectWords(e delivery.Expect) string {
	words := map[delivery.ExpectedOutcome]string{delivery.ExpectAllow: "allowed", delivery.ExpectHold: "held for a person", delivery.ExpectDeny: "denied"}[e.Outcome]
	if e.Reason != "" && e.Reason != policy.ReasonAllowed && e.Reason != policy.ReasonApprovalRequired {
		words += " (" + strings.ReplaceAll(string(e.Reason), "_", " ") + ")"
	}
	if e.Quorum > 1 {
		words += ", by " + strconv.Itoa(e.Quorum) + " people"
	}
	return words
}

// policyTestForm is the form of a test as it was sent.
type policyTestForm struct{ callForm }

func (f policyTestForm) test() (delivery.NewPolicyTest, error) {
	given, err := f.given()
	return delivery.NewPolicyTest{
		Name: f.Get("name"), Given: given,
		Expect: delivery.Expect{Outcome: delivery.ExpectedOutcome(f.Get("expect_outcome")), Reason: policy.Reason(f.Get("expect_reason"))},
	}, err
}

func (f policyTestForm) view() web.TestForm {
	version, _ := strconv.ParseInt(f.Get("version"), 10, 64)
	reason := func(r policy.Reason, words string) web.Option { return web.Option{Value: string(r), Label: words} }
	return web.TestForm{
		ID: f.Get("id"), Version: version, Name: f.Get("name"), Call: f.callForm.view(),
		Outcomes: chosen(f.Get("expect_outcome"), web.Option{Value: "deny", Label: "It is denied"}, web.Option{Value: "hold", Label: "It is held for a person"},
			web.Option{Value: "allow", Label: "It is allowed"}),
		Reasons: chosen(f.Get("expect_reason"), web.Option{Label: "Any"}, reason(policy.ReasonNoGrant, "No grant allows it"),
			reason(policy.ReasonDeniedByGuardrail, "A guardrail denies it"), reason(policy.ReasonConditionNotMet, "The condition of the grant is not true"),
			reason(policy.ReasonRequirementNotMet, "What a guardrail requires is not true"), reason(policy.ReasonMFARequired, "A second factor is needed"),
			reason(policy.ReasonStepUpRequired, "A fresh sign-in is needed"),
			reason(policy.ReasonUnknownTool, "The tool is not pinned"), reason(policy.ReasonUnknownServer, "The server is not known")),
	}
}

func (s *Server) newPolicyTestPage(c echo.Context, who identity.Principal) error {
	form := policyTestForm{callForm{url.Values{}}}
	for _, field := range []string{"call_user", "call_groups", "call_agent", "call_model", "call_server", "call_tool", "call_kind"} {
		form.Set(field, c.QueryParam(field))
	}
	return s.showPolicyTestForm(c, who, http.StatusOK, form.view())
}

func (s *Server) editPolicyTestPage(c echo.Context, who identity.Principal) error {
	test, err := s.delivery.PolicyTest(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return err
	}
	form := policyTestForm{formOfGiven(test.Given)}
	form.Set("id", test.ID)
	form.Set("version", strconv.FormatInt(test.Version, 10))
	form.Set("name", test.Name)
	form.Set("expect_outcome", string(test.Expect.Outcome))
	form.Set("expect_reason", string(test.Expect.Reason))
	return s.showPolicyTestForm(c, who, http.StatusOK, form.view())
}

func (s *Server) showPolicyTestForm(c echo.Context, who identity.Principal, status int, view web.TestForm) error {
	return render(c, status, web.TestFormPage(s.page(c, who, "Policy test", "/policy"), view))
}

// savePolicyTest makes or changes a test, or runs it once without keeping it.
func (s *Server) savePolicyTest(c echo.Context, who identity.Principal) error {
	form := policyTestForm{callForm{c.Request().PostForm}}
	view := form.view()
	test, err := s.keepPolicyTest(c, who, form, &view)
	if err != nil {
		errs, status, again := testErrors(err)
		if !again {
			return err
		}
		view.Errors = errs
		return s.showPolicyTestForm(c, who, status, view)
	}
	if view.Result != nil {
		return s.showPolicyTestForm(c, who, http.StatusOK, view)
	}
	return s.doneInForce(c, "/policy/tests", "“"+brief(test.Name)+"” is kept. It runs before every change is published.", s.generationOf(c, who, test.ID))
}

func (s *Server) keepPolicyTest(c echo.Context, who identity.Principal, form policyTestForm, view *web.TestForm) (delivery.PolicyTest, error) {
	ctx := c.Request().Context()
	n, err := form.test()
	if err != nil {
		return delivery.PolicyTest{}, err
	}
	switch id := form.Get("id"); {
	case form.Get("do") == "try":
		if n.Name == "" {
			n.Name = "Not kept yet"
		}
		results, err := s.delivery.TryPolicyTests(ctx, who, []delivery.NewPolicyTest{n}, nil)
		if err != nil {
			return delivery.PolicyTest{}, err
		}
		view.Result = &web.TestLine{Expected: expectWords(n.Expect)}
		tellResult(view.Result, results[0])
		return delivery.PolicyTest{}, nil
	case id != "":
		old, err := s.delivery.PolicyTest(ctx, who, id)
		if err != nil {
			return delivery.PolicyTest{}, err
		}
		n.Expect.Quorum, n.Expect.Limits = old.Expect.Quorum, old.Expect.Limits // the form does not show them
		return s.delivery.ChangePolicyTest(ctx, who, id, version(c), n)
	}
	return s.delivery.CreatePolicyTest(ctx, who, n)
}

// testErrors puts each error of a test under its field.
func testErrors(err error) (web.Errors, int, bool) {
	if p := problem.From(err); p.Kind == problem.Invalid {
		whole := problem.New(problem.Invalid, p.Code, "%s", p.Message)
		for field, message := range p.Fields {
			whole.Field(strings.TrimPrefix(field, "tests[0]."), message)
		}
		err = whole
	}
	return callErrors(err, "given.")
}

func (s *Server) endPolicyTest(c echo.Context, who identity.Principal) error {
	if err := s.delivery.EndPolicyTest(c.Request().Context(), who, c.Param("id"), version(c)); err != nil {
		errs, status, again := testErrors(err)
		if !again {
			return err
		}
		return s.showPolicyTests(c, who, status, errs)
	}
	return s.done(c, "/policy/tests", "The test is ended.")
}
