package web

// driftStories are the queue of what changed, its review, and the page of one tool.
func driftStories() []story {
	q, p := page("Drift", "/drift"), page("Servers", "/servers")
	newer, blocked, reader, gone, calm, noted, back := driftReview(), driftReview(), driftReview(), driftReview(), driftReview(), driftReview(), driftReview()
	newer.Newer, newer.Reason, newer.Errors = true, "Agreed with the publisher", Errors{"": "Something else is served by now."}
	blocked.Blocked, blocked.Findings = true, []Finding{{"One hidden character.", "/description", true}}
	blocked.Errors = Errors{"reason": "Say why, for the one who asks later."}
	reader.MayDecide, reader.Callers = false, nil
	gone.Served, gone.Comparison, gone.Severity = nil, nil, ""
	calm.HeldAt, calm.Comparison = nil, nil
	noted.Note, noted.NoteBy, noted.NoteAt, noted.Severity = "Waiting for the publisher's answer", "Ines Roth", before(1), "low"
	noted.Served.State, noted.Served.DecidedBy = "rejected", "Ines Roth"
	back.Served, back.Comparison = back.Pinned, &Comparison{A: "Reviewed v3", B: "Offered now v3"}
	mistaken := driftQueue()
	mistaken.Proposals[0].Errors = Errors{"reason-rsk1": "Say why, for the one who asks later."}
	plainTool, compare, proposed, prompt, wrong := oneTool(), oneTool(), oneTool(), oneTool(), oneTool()
	plainTool.State, plainTool.Versions, plainTool.Callers = "pinned", versions()[1:2], nil
	compare.Comparison = compared()
	plainTool.Stopped = &suspensions().Lines[1]
	proposed.Proposal = &proposals()[0]
	prompt.Kind, prompt.Arguments, prompt.Grants, prompt.Description, prompt.MayChange, prompt.State, prompt.Risk = "prompt", nil, nil, "", false, "pending", ""
	wrong.Errors = Errors{"reason": "A lower risk needs a reason."}
	return []story{
		{"drift", DriftPage(q, driftQueue())},
		{"drift empty", DriftPage(q, Drift{LookedAt: driftQueue().LookedAt})},
		{"drift never looked", DriftPage(q, Drift{Proposals: proposals()[1:]})},
		{"drift filtered", DriftPage(q, Drift{Filtered: true, Query: "x"})},
		{"drift mistake", DriftPage(q, mistaken)},
		{"drift-review", DriftReviewPage(q, driftReview())},
		{"drift review newer", DriftReviewPage(q, newer)},
		{"drift review blocked", DriftReviewPage(q, blocked)},
		{"drift review reader", DriftReviewPage(q, reader)},
		{"drift review gone", DriftReviewPage(q, gone)},
		{"drift review calm", DriftReviewPage(q, calm)},
		{"drift review noted", DriftReviewPage(q, noted)},
		{"drift review back", DriftReviewPage(q, back)},
		{"tool", ToolPage(p, oneTool())},
		{"tool pinned", ToolPage(p, plainTool)},
		{"tool compared", ToolPage(p, compare)},
		{"tool proposed", ToolPage(p, proposed)},
		{"tool prompt", ToolPage(p, prompt)},
		{"tool mistake", ToolPage(p, wrong)},
	}
}
