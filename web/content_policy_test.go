package web

import "time"

func policyDocument() Policy {
	return Policy{
		Lines: []AudienceLine{
			{ID: "a1", Name: "everything", State: "in_force", Revision: 413, Address: "/policy/revisions/e2.r413?audience=a1", Gateways: 4, Warnings: 2, PublishedAt: before(2 * time.Minute), Shown: true},
			{ID: "a2", Name: "com.acme/* and com.stripe/payments", State: "compiling", Revision: 409, Gateways: 2, PublishedAt: before(50 * time.Hour)},
			{ID: "a3", Name: "com.slack/acme", State: "none"},
		},
		Audience: "a1", Name: "everything", Revision: 413, Epoch: 2, ETag: `"413-9c1f42ab"`, KeyID: "2026-11a", Digest: digest, Generation: 414,
		Bytes: 48211, Compressed: 9313, IssuedAt: noon.Add(-2 * time.Minute), Servers: 12, Tools: 128, Grants: 24, Guardrails: 6,
		Document: "{\n  \"revision\": 413,\n  \"grants\": [\n    {\n      \"name\": \"Support refunds\",\n      \"subject\": {\"groups\": [\"support-emea\"], \"agents\": [\"billing-agent\"]},\n      \"resource\": {\"servers\": [\"com.stripe/payments\"], \"names\": [\"create_refund\"]}\n    }\n  ]\n}",
		Warnings: []WarningGroup{
			{"Rules that reach nothing", []Warning{{"The grant “Old onboarding bot” reaches no tool that this audience may see.", "/grants/g4/edit", "Open the grant"}, {"The guardrail “Exports at night” reaches no tool that this audience may see.", "/guardrails/r7/edit", "Open the guardrail"}}, 4},
			{"Calls that nobody can approve", []Warning{{"Calls of “drop_table” on com.acme/postgres wait for an approval that no team may give.", "/servers/srv3", "Open the server"}}, 0},
		},
		Suspended: 1,
	}
}

func revisions() Revisions {
	return Revisions{
		Audiences: []Option{{"a1", "everything", true}, {"a2", "com.acme/*", false}}, Audience: "a1", Next: "/policy/revisions?audience=a1&after=2-409",
		Lines: []RevisionLine{
			{413, 2, noon.Add(-2 * time.Minute), "Ines Roth", "2 rules changed: user tomas may call com.example/orders: list_orders", true, "/policy/revisions/e2.r413?audience=a1"},
			{412, 2, noon.Add(-3 * time.Hour), "Jonas Weber", "The guardrail “Refund rate” was made", false, "/policy/revisions/e2.r412?audience=a1"},
			{409, 2, noon.Add(-50 * time.Hour), "", "com.stripe/payments: create_refund was pinned anew", false, "/policy/revisions/e2.r409?audience=a1"},
		},
	}
}

func oneRevision() RevisionPage {
	return RevisionPage{
		ID: "e2.r412", Audience: "a1", Name: "everything", Number: 412, Epoch: 2, Against: 409, At: noon.Add(-3 * time.Hour), Moves: []KV{{"The guardrail “Refund rate” was made", "Jonas Weber"}, {"The policy was compiled anew", ""}}, MoreMoves: 2, Digest: digest, KeyID: "2026-11a", Bytes: 48011,
		Sentences: foreseenChange().Sentences[:3], Rules: ruleChangeList(), Others: []Option{{"413", "413", false}, {"409", "409", true}, {"408", "408", false}},
		JSON: "/policy/revisions/e2.r412/document?audience=a1", Rollout: "/policy/rollout/412", MayBack: true,
	}
}

func ruleChangeList() []RuleChange {
	return []RuleChange{
		{Kind: "guardrail", Name: "Refund rate", Address: "/guardrails/r4/edit", Tone: "added", By: "Jonas Weber", Note: "It denies what was allowed."},
		{Kind: "grant", Name: "Support refunds", Address: "/grants/g1/edit", Tone: "changed", By: "Ines Roth", Fields: []FieldChange{{"Condition", "args.amount <= 100", "args.amount <= 5000"}, {"Groups", "", "support-amer"}}},
		{Kind: "grant", Name: "Old onboarding bot", Tone: "ended", By: "Ines Roth"},
	}
}

func rollback() Rollback {
	return Rollback{ID: "e2.r409", Audience: "a1", Number: 409, Rules: ruleChangeList(), Reason: "The new limit was a mistake", Foresight: foreseenChange()}
}

func explained() Explain {
	return Explain{
		Form: callForm(), Against: []Option{{"current", "What is in force", true}, {"registry", "The rules as they are now", false}},
		Answer: &Answer{
			State: "denied", Sentence: "Denied: no grant lets tomas call refund_order on com.example/orders with these arguments.", Against: "Revision 413 of everything", Risk: "destructive",
			Notes: []string{"These groups are what you filled in; the token of the caller decides."},
			Steps: []TraceStep{
				{"server", "com.example/orders", "/servers/srv1", "It is active.", "yes"},
				{"tool", "refund_order", "/servers/srv1/tools/t1", "It is pinned, and what is served is what was reviewed.", "yes"},
				{"guardrail", "No exports by bots", "/guardrails/r2/edit", "The agent is another one.", "no"},
				{"guardrail", "Destructive calls need a person", "/guardrails/r1/edit", "It matches: one person of the owning team approves first.", "yes"},
				{"grant", "Support refunds", "/grants/g1/edit", "Its condition is not true: args.amount <= 100.", "decides"},
				{"grant", "Support reads orders", "/grants/g9/edit", "It is for read-only tools.", "no"},
			},
			Nearest: &Nearest{Name: "Support refunds", Address: "/grants/g1/edit", Needs: []string{"args.amount <= 100 would have to be true; amount is 120."}, Make: "/grants/new?users=tomas&servers=com.example/orders&names=refund_order"},
		},
	}
}

func callForm() ExplainForm {
	return ExplainForm{
		User: "tomas", Groups: "support, emea", Agent: "billing-agent", Model: "claude-sonnet-5", Attested: true, Server: "com.example/orders", Tool: "refund_order",
		Kinds: []Option{{"tool", "Tool", true}, {"prompt", "Prompt", false}, {"resource", "Resource", false}}, Arguments: "{\"order\": \"A-1009\", \"amount\": 120}", At: "2026-11-22T14:31",
	}
}

func policyTests() PolicyTests {
	return PolicyTests{
		May: true, Failed: 1, Ran: "Against the rules as they are now", RanAt: before(3 * time.Second),
		Lines: []TestLine{
			{ID: "t1", Name: "Support reads orders", Given: "user tomas with group support calls list_orders on com.example/orders", Expected: "allowed", Got: "allowed", State: "passed", By: "Mei Tan", Version: 1, At: noon.Add(-900 * time.Hour)},
			failingTest(),
			{ID: "t3", Name: "Refunds above 100 wait", Given: "user tomas calls refund_order on com.example/orders with {\"amount\": 120}", Expected: "held: approval_required", By: "Jonas Weber", Version: 3, At: noon.Add(-20 * time.Minute)},
		},
	}
}

func testForm() TestForm {
	result := failingTest()
	return TestForm{
		ID: "t2", Version: 1, Name: "Bots never delete", Call: callForm(), Result: &result,
		Outcomes: []Option{{"deny", "Denied", true}, {"hold", "Held for a person", false}, {"allow", "Allowed", false}}, Reasons: []Option{{"", "Any", true}, {"no_grant", "No grant allows it", false}},
	}
}

func matrix() Matrix {
	at := "/policy/access?subject=group+support&at=srv1"
	return Matrix{
		Columns: []MatrixColumn{{"srv1", "com.example/orders"}, {"srv2", "com.stripe/payments"}, {"srv3", "com.github/acme"}},
		Rows: []MatrixRow{
			{"group support-emea", []MatrixCell{{Allowed: 15, Held: 1, Worst: "destructive", Depends: true, Address: at, Open: true}, {Allowed: 1, Worst: "write", Address: at}, {}}},
			{"group release with agent release-bot", []MatrixCell{{}, {}, {Allowed: 13, Held: 2, Denied: 1, Worst: "write", Address: at}}},
			{"agent scraper-nightly", []MatrixCell{{Denied: 6, Address: at}, {}, {}}},
		},
		Next: "/policy/access?after=3", CSV: "/policy/access.csv", Open: "What group support-emea can call of com.example/orders", Tools: accessList(),
	}
}

func accessList() []AccessTool {
	return []AccessTool{
		{"com.example/orders", "tool", "list_orders", "read_only", "allowed", "By the grant “Support reads orders”.", "/policy/explain?call_tool=list_orders"},
		{"com.example/orders", "tool", "refund_order", "destructive", "held", "One person of the owning team approves first.", "/policy/explain?call_tool=refund_order"},
		{"com.example/orders", "resource", "orders://{id}", "read_only", "denied", "A guardrail denies it.", ""},
	}
}

func rollout() Rollout {
	return Rollout{
		Generation: 414, At: before(8 * time.Second), By: "Jonas Weber", What: "The agent scraper-nightly is suspended", Lines: effectsNow().Lines, Address: "/policy/rollout/414",
		Undo: "/policy/suspensions", UndoWords: "Open suspensions",
	}
}

func effectsNow() Effects {
	return Effects{ServerID: "srv1", Words: "Suspended", At: noon.Add(-8 * time.Second), Lines: []EffectLine{
		{ID: "gw1", Name: "edge-ams-1", State: "SYNCED", Took: 58 * time.Millisecond, Carries: 414, SeenAt: before(time.Second)},
		{ID: "gw2", Name: "edge-ams-2", State: "SYNCED", Took: 2 * time.Second, AtMost: true, Carries: 414, SeenAt: before(time.Second)},
		{ID: "gw3", Name: "laptops", State: "PENDING", Carries: 414, SeenAt: before(4 * time.Second)},
		{ID: "gw4", Name: "edge-fra-1", State: "REJECTED", Carries: 414, Why: "This version does not know the effect token_budget.", SeenAt: before(4 * time.Second)},
		{ID: "gw5", Name: "edge-fra-2", State: "STALE", Carries: 414, SeenAt: before(19 * time.Minute)},
		{ID: "gw6", Name: "edge-new", State: "OFFLINE"},
	}}
}

func suspensions() Suspensions {
	return Suspensions{
		May: true, MayLift: true, Kind: "agent", Which: "scraper-nightly", Reason: "Its key was found in a public repository.",
		Lines: []Suspension{
			{ID: "r2", Kind: "agent", Name: "scraper-nightly", Reason: "Its key was found in a public repository.", By: "Jonas Weber", Version: 1, At: noon.Add(-30 * time.Minute), Rollout: "/policy/rollout/411"},
			{ID: "r8", Kind: "tool", Name: "delete_branch on com.github/acme", Reason: "INC-2207", By: "Mei Tan", Version: 1, At: noon.Add(-50 * time.Hour), Rollout: "/policy/rollout/398", Address: "/servers/srv2/tools/t7"},
			{ID: "r9", Kind: "person", Name: "tomas", Reason: "Left the company.", By: "Mei Tan", Version: 1, At: noon.Add(-90 * time.Hour), Rollout: "/policy/rollout/390"},
			{ID: "srv7", Kind: "server", Name: "com.acme/legacy", Servers: true, Address: "/servers/srv7"},
		},
	}
}

func keys() Keys {
	return Keys{Root: "sha256:kS2mWwbYc0x1p5QvH9uJ3bZC4q7oRk8sTnV6xYwA0dE", Groups: []KeyGroup{
		{"Policy", "Signs what gateways enforce", []KeyLine{
			{ID: "2026-11b", Algorithm: "EdDSA", State: "next", CreatedAt: noon.Add(-time.Minute), NextAt: before(-2 * time.Hour)},
			{ID: "2026-11a", Algorithm: "EdDSA", State: "active", CreatedAt: noon.Add(-500 * time.Hour), ActiveAt: before(400 * time.Hour)},
			{ID: "2026-10a", Algorithm: "EdDSA", State: "retiring", CreatedAt: noon.Add(-900 * time.Hour), ActiveAt: before(800 * time.Hour), EndsAt: before(-90 * time.Minute)},
			{ID: "2026-08a", Algorithm: "EdDSA", State: "retired", CreatedAt: noon.Add(-3000 * time.Hour), ActiveAt: before(2900 * time.Hour), RetiredAt: before(400 * time.Hour)},
		}},
		{"OPA bundles", "Signs the bundles for gateways built on OPA", []KeyLine{{ID: "2026-11c", Algorithm: "ES256", State: "active", CreatedAt: noon.Add(-500 * time.Hour), ActiveAt: before(500 * time.Hour)}}},
	}}
}
