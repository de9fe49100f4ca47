package web

// ruleStories are the lists and forms of grants and guardrails.
func ruleStories() []story {
	p := page("Grants", "/grants")
	asked, unused, mistaken, nothing, changed, fresh := grants(), grants(), grantForm(), grantForm(), grantForm(), NewGrant{Rule: RuleForm{Risks: ruleForm().Risks, Kinds: ruleForm().Kinds}}
	asked.Errors, asked.Reason, asked.Grants[1].Asked = Errors{"reason": "Say why, for the one who asks later."}, "x", true
	unused.Show, unused.Chips, unused.Grants = "unused", grantChips("unused"), unused.Grants[1:2]
	mistaken.Errors = Errors{"name": "A grant needs a name.", "users": "Line 3 holds a control character.", "condition": "Column 6: there is no variable “arg”; args holds the arguments.", "not_after": "The end is not after the beginning."}
	mistaken.Foresight, mistaken.Until = Foresight{}, "at"
	nothing.Foresight = Foresight{Foreseen: true}
	changed.ID, changed.Version, changed.Stale, changed.Until, changed.At, changed.Failing = "g1", 3, true, "at", "2026-12-24T18:00", []TestLine{failingTest()}
	return []story{
		{"grants", GrantsPage(p, grants())},
		{"grants stopped", GrantsPage(watched(flashed(p, "“Release team” is given.")), asked)},
		{"grants unused", GrantsPage(p, unused)},
		{"grants empty", GrantsPage(p, Grants{May: true, Chips: grantChips("")})},
		{"grants none used", GrantsPage(p, Grants{Show: "never", Chips: grantChips("never")})},
		{"grant-form", NewGrantPage(p, grantForm())},
		{"grant form fresh", NewGrantPage(p, fresh)},
		{"grant form mistake", NewGrantPage(p, mistaken)},
		{"grant form nothing", NewGrantPage(p, nothing)},
		{"grant form change", NewGrantPage(p, changed)},
	}
}

// policyStories are the pages about the policy as a whole.
func policyStories() []story {
	p := page("Policy", "/policy")
	broken, blocked, one, reader := policyDocument(), policyDocument(), policyDocument(), suspensions()
	broken.Error = "guardrail “Refund rate”: names no tool"
	blocked.Failing, blocked.Warnings = []TestLine{failingTest()}, nil
	one.Lines, one.Warnings, one.Behind, one.Suspended = one.Lines[:1], nil, true, 0
	reader.May, reader.MayLift = false, false
	refused, lifted := suspensions(), suspensions()
	refused.Errors, refused.Which = Errors{"which": "Name the agent exactly, without a star."}, "scraper-*"
	lifted.Errors, lifted.Asked, lifted.Tool, lifted.LiftReason = Errors{"lift": "Say why, for the one who asks later."}, "r8", &SuspendTool{"srv2", "com.github/acme", "t7", "delete_branch"}, "x"
	draft, unanswered := explained(), Explain{Form: ExplainForm{Kinds: callForm().Kinds}, Against: explained().Against, Errors: Errors{"call_server": "Name the server.", "call_arguments": "This is no JSON: line 1, column 3."}}
	draft.Draft = &Draft{Words: "The grant “Support refunds”, as it stands in its form and is not saved", Back: "/grants", Held: []KV{{"draft", "grant"}, {"name", "Support refunds"}}}
	draft.Answer = &Answer{State: "held", Sentence: "Held: one person of Commerce approves it first.", Against: "The draft", Obliges: []string{"At most 10 calls a minute each.", "A result of at most 64 KB."}, Steps: explained().Answer.Steps[:4]}
	mended := testForm()
	mended.Result, mended.Errors = nil, Errors{"name": "A test needs a name.", "call_tool": "Name the tool."}
	refusedTests := policyTests()
	refusedTests.Errors, refusedTests.May = Errors{"": "Somebody changed or ended this policy test while you looked at it. Nothing was changed by you."}, false
	person := matrix()
	person.Person, person.Rows, person.Open = &PersonAccess{Form: callForm(), Words: "What tomas can call through billing-agent", Stop: "/policy/suspensions?kind=person&which=tomas", Notes: []string{"Groups are those of the last sign-in here."}, Tools: accessList(), More: 12}, nil, ""
	done, failed, back := rollout(), rollout(), rollback()
	done.Lines, done.What, done.By = done.Lines[:2], "", ""
	failed.Error, failed.Lines = "The test “Bots never delete” fails.", nil
	back.Errors, back.Reason = Errors{"reason": "Say why, for the one who asks later.", "sure": "Tick this when you have read what changes."}, ""
	first := oneRevision()
	first.Against, first.Sentences, first.Rules, first.InForce, first.Others = 0, nil, nil, true, nil
	return []story{
		{"policy", PolicyPage(p, policyDocument())},
		{"policy broken", PolicyPage(p, broken)},
		{"policy blocked", PolicyPage(p, blocked)},
		{"policy one", PolicyPage(p, one)},
		{"policy empty", PolicyPage(p, Policy{})},
		{"revisions", RevisionsPage(p, revisions())},
		{"revisions empty", RevisionsPage(p, Revisions{})},
		{"revision", OneRevisionPage(p, oneRevision())},
		{"revision first", OneRevisionPage(p, first)},
		{"rollback", RollbackPage(p, rollback())},
		{"rollback mistake", RollbackPage(p, back)},
		{"rollback nothing", RollbackPage(p, Rollback{Number: 412, Foresight: Foresight{Foreseen: true}})},
		{"explain", ExplainPage(p, explained())},
		{"explain draft", ExplainPage(p, draft)},
		{"explain fresh", ExplainPage(p, unanswered)},
		{"policy-tests", PolicyTestsPage(p, policyTests())},
		{"policy tests stopped", PolicyTestsPage(p, refusedTests)},
		{"policy tests empty", PolicyTestsPage(p, PolicyTests{May: true})},
		{"policy-test-form", TestFormPage(p, testForm())},
		{"policy test mistake", TestFormPage(p, mended)},
		{"access", MatrixPage(p, matrix())},
		{"access person", MatrixPage(p, person)},
		{"access empty", MatrixPage(p, Matrix{})},
		{"access many", MatrixPage(p, Matrix{TooMany: "There are 212 subjects and 96 servers. Name a part of either."})},
		{"access nobody", MatrixPage(p, Matrix{Filtered: true, Query: "tomas", Person: &PersonAccess{Words: "What tomas can call"}})},
		{"rollout", RolloutPage(p, rollout())},
		{"rollout done", RolloutPage(p, done)},
		{"rollout failed", RolloutPage(p, failed)},
		{"suspensions", SuspensionsPage(p, suspensions())},
		{"suspensions reader", SuspensionsPage(p, reader)},
		{"suspensions refused", SuspensionsPage(p, refused)},
		{"suspensions stopped", SuspensionsPage(p, lifted)},
		{"suspensions empty", SuspensionsPage(p, Suspensions{May: true, Kind: "person"})},
		{"keys", KeysPage(p, keys())},
	}
}

func hostilePolicy(p Page) []story {
	errs := func(fields ...string) Errors {
		e := Errors{"": hostile("")}
		for _, f := range fields {
			e[f] = hostile(f)
		}
		return e
	}
	document, form, list, call := spoiled(policyDocument()), spoiled(grantForm()), spoiled(grants()), spoiled(explained())
	document.Document, document.Failing, document.Error = hostile("document"), []TestLine{spoiled(failingTest())}, hostile("Error")
	form.Errors, form.Failing = errs(grantFields...), []TestLine{spoiled(failingTest())}
	list.Errors, list.Grants[0].Asked = errs("reason"), true
	call.Errors, call.Draft = errs(callFields...), &Draft{Words: hostile("Words"), Back: hostile("Back"), Held: []KV{{hostile("Name"), hostile("Value")}}}
	tests, test, stopped, back := spoiled(policyTests()), spoiled(testForm()), spoiled(suspensions()), spoiled(rollback())
	tests.Errors, test.Errors = errs(), errs(callFields...)
	stopped.Errors, stopped.Asked, stopped.Tool = errs("which", "reason", "kind", "lift"), stopped.Lines[0].ID, &SuspendTool{hostile("ServerID"), hostile("Server"), hostile("ID"), hostile("Name")}
	back.Errors, back.Compiles = errs("reason", "sure"), hostile("Error")
	people, agents := spoiled(matrix()), spoiled(suspensions())
	people.Person, agents.Errors = &PersonAccess{Form: spoiled(callForm()), Words: hostile("Words"), Tools: spoiled(matrix()).Tools}, errs("which", "reason", "kind")
	return []story{
		{"policy", PolicyPage(p, document)},
		{"grants", GrantsPage(p, list)},
		{"grant-form", NewGrantPage(p, form)},
		{"revisions", RevisionsPage(p, spoiled(revisions()))},
		{"revision", OneRevisionPage(p, spoiled(oneRevision()))},
		{"rollback", RollbackPage(p, back)},
		{"explain", ExplainPage(p, call)},
		{"policy-tests", PolicyTestsPage(p, tests)},
		{"policy-test-form", TestFormPage(p, test)},
		{"access", MatrixPage(p, spoiled(matrix()))},
		{"access person", MatrixPage(p, people)},
		{"rollout", RolloutPage(p, spoiled(rollout()))},
		{"suspensions", SuspensionsPage(p, stopped)},
		{"suspend", SuspensionsPage(p, agents)},
		{"keys", KeysPage(p, spoiled(keys()))},
	}
}
