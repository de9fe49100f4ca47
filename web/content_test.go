package web

import "time"

// What the stories show: one invented company on one invented day.

func line(id, tool, risk, server, agent, caller string, left time.Duration) ApprovalLine {
	return ApprovalLine{
		ID: id, Tool: tool, Risk: risk, Server: server, Agent: agent, Caller: caller, State: "pending",
		Left: left, ExpiresAt: noon.Add(left), CreatedAt: noon.Add(left - 10*time.Minute),
	}
}

func queue() Approvals {
	first := line("ap1", "delete_branch", "destructive", "com.github/acme", "release-bot", "Tomas Lind", 4*time.Minute+12*time.Second)
	first.Chosen = true
	return Approvals{
		DayCount: 119, Chosen: chosen(first),
		Waiting: []ApprovalLine{
			first,
			line("ap2", "create_refund", "write", "com.stripe/payments", "billing-agent", "Ines Roth", 7*time.Minute+40*time.Second),
			line("ap3", "invite_member", "write", "com.slack/acme", "onboarding", "Dana Okafor", 9*time.Minute+58*time.Second),
		},
	}
}

func chosen(l ApprovalLine) *Approval {
	return &Approval{
		ApprovalLine: l, ServerID: "srv1", Kind: "tool", Total: 10 * time.Minute, Version: 3, Digest: digest,
		Arguments: []byte(`{"branch":"release/2026.11","force":true,"limits":{"apiKey":"k-123456789","depth":2,"paths":["a","b"]},"owner":"acme","reason":"Merged in #4812, clean` + "\u200b" + `up","retries":3,"token":"ghp_0123456789abcdefghijklmnopqrstuvwxyz"}`),
		Gateway:   "edge-ams-1", Model: "claude-opus-4-6", Evidence: "verified",
		Guardrails: []string{"Destructive calls need a person"}, Grants: []string{"Release team, storefront"},
		Definition: digest, DefinitionNo: 3, Teams: []string{"Platform", "Payments"}, Quorum: 2, Approvals: 1, MayDecide: true,
		Votes: []Vote{{Name: "Jonas Weber", Decision: "approve", Reason: "The release shipped on Friday.", At: noon.Add(-time.Minute), Counts: true, Scope: "Up to 2 more calls within 10 min."}},
		Cues: []Cue{
			{"destr", "octagon-alert", "Cannot be undone.", "This tool is classified as destructive."},
			{"write", "triangle-alert", "Only asserted.", "The gateway says who calls; it sent no token that proves it."},
			{"", "search", "Large call.", "The arguments are 5,120 bytes; read them to the end."},
		},
		Timeline: timelineOf("approval.requested", "release-bot", "approval.voted", "Jonas Weber"), LastEvent: 88202,
		Ways:      []Way{{Teams: []string{"Platform", "Payments"}, Quorum: 2, Votes: 1}, {Teams: []string{"Heads of engineering"}, Quorum: 1}},
		Fallback:  &Fallback{Way: Way{Teams: []string{"On call"}, Quorum: 1}, In: 3*time.Minute + 50*time.Second},
		MostScope: &Scope{Uses: 5, Minutes: 30, Free: []string{"branch", "reason"}}, Scoped: ScopeTyped{Uses: "5", Minutes: "30"},
		MayAlone: true, Previous: compareWith(),
	}
}

func compareWith() *Previous {
	return &Previous{
		ID: "ap7", Caller: "Ines Roth", DecidedBy: "Jonas Weber", SameCaller: true, At: noon.Add(-50 * time.Hour), More: 3,
		Changes: []ArgumentChange{
			{Path: []string{"branch"}, Before: []byte(`"release/2026.10"`), After: []byte(`"release/2026.11"`)},
			{Path: []string{"force"}, After: []byte(`true`)},
			{Path: []string{"limits", "apiKey"}, Before: []byte(`"k-000"`), After: []byte(`"k-123456789"`)},
			{Path: []string{"limits", "paths", "2"}, Before: []byte(`{"deep":"c` + "\u200b" + `"}`)},
		},
	}
}

func emergencyReviews() Reviews {
	open := EmergencyReview{
		ID: "rvw1", ApprovalID: "ap8", Server: "com.acme/postgres", Tool: "restart_cluster", Agent: "on-call-bot", Caller: "Tomas Lind", Execution: "succeeded",
		OpenedBy: "Jonas Weber", Reason: "The primary was down and nobody answered for twenty minutes.", Ticket: "INC-311",
		OpenedAt: noon.Add(-30 * time.Hour), DueAt: noon.Add(-6 * time.Hour), Overdue: true, MayClose: true,
	}
	closed := open
	closed.ID, closed.ApprovalID, closed.ClosedAt, closed.ClosedBy, closed.Finding, closed.Note = "rvw2", "ap9", before(time.Hour), "Ines Roth", "justified", "Read the incident. The rota is mended."
	closed.Overdue, closed.MayClose = false, false
	return Reviews{Items: []EmergencyReview{open, closed}, All: true, Next: "/reviews?all=1&after=x"}
}

func myRequests() Requests {
	v := Requests{Lines: append(queue().Waiting[:2], history().Waiting...), Next: "/requests?after=x"}
	v.Lines[0].MayCancel, v.Lines[2].MayReveal, v.Lines[2].MayCancel = true, true, true
	v.Lines[3].DecidedBy, v.Lines[3].Reason = "Ines Roth", "Not on a Friday."
	return v
}

func report() Report {
	v := Report{
		Days:    30,
		Windows: []Option{{"/approvals/report?days=7", "7 days", false}, {"/approvals/report?days=30", "30 days", true}, {"/approvals/report?days=90", "90 days", false}},
		Facts: []Fact{
			{"Asked", "3412", "3206 approved, 141 denied, 3 still wait"},
			{"Until somebody looked", "41s", "median of 3301; 95 % within 6m2s"},
			{"Until it was decided", "1m12s", "median of 3347; 95 % within 8m40s"},
			{"Expired", "58", "7 withdrawn"},
			{"By an earlier decision", "212", "asked nobody again"},
			{"Tokens refused", "3", "another call, gateway, or a second time"},
			{"Nobody knows the end", "1", "to be settled by a person"},
			{"Emergencies", "1", "1 review is open"},
		},
		Approvers: []ApproverLine{{"Jonas Weber", "99 %", "2.1s", 1870, true}, {"Ines Roth", "91 %", "34s", 1511, false}},
	}
	for i := range 30 {
		v.Daily = append(v.Daily, Day{At: noon.AddDate(0, 0, i-29), Allowed: 60 + i*i%37, Denied: i % 7, Held: i % 4})
	}
	return v
}

func timelineOf(kindsAndActors ...string) []Event {
	var out []Event
	for i := 0; i+1 < len(kindsAndActors); i += 2 {
		out = append(out, Event{
			ID: int64(88200 + i), At: noon.Add(-time.Duration(60-i) * time.Minute), Kind: kindsAndActors[i], Actor: kindsAndActors[i+1], ActorKind: "person",
			Target: "delete_branch", TargetKind: "approval", TargetID: "ap1", ActorID: "u1", IP: "198.51.100.7", Request: "K4MZ7Q",
			Detail: []KV{{"quorum", "1 of 2"}, {"reason", "The release shipped on Friday."}},
		})
	}
	return out
}

func history() Approvals {
	one := line("ap8", "send_invoice", "write", "com.stripe/payments", "billing-agent", "Omar Diallo", 0)
	one.State, one.Chosen = "approved", true
	two := line("ap9", "drop_table", "destructive", "com.acme/postgres", "scraper-nightly", "Tomas Lind", 0)
	two.State = "denied"
	three := line("ap10", "cancel_subscription", "destructive", "com.stripe/payments", "billing-agent", "Lea Novak", 0)
	three.State = "expired"
	four := line("ap11", "create_coupon", "write", "com.stripe/payments", "billing-agent", "Ines Roth", 0)
	four.State = "revoked"
	detail := chosen(one)
	detail.MayDecide, detail.MayRevoke, detail.DecidedBy, detail.DecidedAt = false, true, "Ines Roth", before(50*time.Second)
	detail.Reason, detail.Execution = "Agreed with the customer, INV-2207", "succeeded"
	two.Emergency = true
	detail.Given, detail.Revealed = "Up to 5 more calls within 30 min, in which these arguments may differ: branch.", before(40*time.Second)
	detail.Allowance = &Allowance{ID: "alw1", ApprovalID: "ap8", State: "open", GivenBy: "Ines Roth", Free: []string{"branch"}, Uses: 5, Used: 2, ExpiresAt: noon.Add(20 * time.Minute), MayRevoke: true}
	review := emergencyReviews().Items[0]
	detail.Review = &review
	return Approvals{Decided: true, DayCount: 119, Waiting: []ApprovalLine{one, two, three, four}, Chosen: detail, Next: "/approvals?state=decided&after=ap11"}
}

func overview() Overview {
	return Overview{
		Headline: "Three calls and two tools need a person", Sub: "11 of 12 servers active, 5 of 6 gateways on the current policy.",
		Tasks: []Task{
			{"octagon-alert", "destr", "Three calls wait for a decision", "First: delete_branch on com.github/acme, asked by release-bot for Tomas Lind", "4 min left", "/approvals/ap1", "Review calls", true},
			{"git-compare", "write", "Two tools changed after review", "com.stripe/payments: calls are held until you decide.", "", "/servers/srv1", "Review", false},
			{"radio-tower", "", "edge-fra-2 is not on the current policy", "It goes on enforcing what it holds until its lease ends, then it denies.", "", "/gateways/gw4", "Open gateway", false},
		},
		Facts: []Fact{{"Calls, last 24 h", "15,763", "15,395 allowed"}, {"Denied", "249", "119 held for a person"}, {"Decided, last 24 h", "119", "3 waiting"}, {"Active servers", "11", "of 12 registered"}},
		Gateways: []GatewayLine{
			{"gw1", "edge-ams-1", "SYNCED", 412, before(4 * time.Second)},
			{"gw2", "edge-ams-2", "SYNCED", 412, before(12 * time.Second)},
			{"gw4", "edge-fra-2", "STALE", 410, before(6 * time.Minute)},
			{"gw5", "laptops", "PENDING", 411, before(30 * time.Second)},
			{"gw6", "edge-new", "NEVER SEEN", 0, nil},
		},
		Recent: []RecentCall{
			{noon.Add(-8 * time.Second), "allowed", "com.atlassian/jira", "search_issues", "triage-bot", "Dana Okafor", "allowed"},
			{noon.Add(-52 * time.Second), "held", "com.github/acme", "delete_branch", "release-bot", "Tomas Lind", "approval_required"},
			{noon.Add(-20 * time.Minute), "denied", "com.stripe/payments", "create_refund", "billing-agent", "Ines Roth", "drifted"},
			{noon.Add(-50 * time.Hour), "denied", "com.stripe/payments", "create_coupon", "scraper-nightly", "", "no_grant"},
		},
	}
}

func firstSteps() []Step {
	return []Step{
		{Title: "Sign in", Text: "Your groups at the identity provider decide what you may do.", Done: true},
		{Title: "Add a server and pin its tools", Text: "A gateway looks at what it offers; you decide the risk of each tool.", Done: true},
		{Title: "Give somebody a grant", Text: "Nobody can call anything yet. Start with tools that cannot change anything.", Now: true, Link: "/grants/new?server=srv1", Act: "New grant", Command: "bin/countersign call com.example/orders list_orders"},
		{Title: "Make the first governed call", Text: "Point an agent at the gateway, or run this from the folder of the checkout."},
	}
}

func signIn() SignIn {
	return SignIn{Provider: "login.acme.example", Login: "/auth/login?return=%2Fapprovals", Linked: true}
}

func me() Me {
	return Me{
		Name: "Priya Nair", Email: "priya@acme.example", Issuer: "https://login.acme.example", Subject: "priya", Groups: []string{"payments", "approvers"}, Roles: []string{"Approver"}, Teams: []string{"Payments"},
		Sessions: []Session{
			{ID: "s1", Browser: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", IP: "198.51.100.7", Began: noon.Add(-3 * time.Hour), LastSeen: noon, Current: true},
			{ID: "s2", Browser: "Safari on iPhone", IP: "203.0.113.9", Began: noon.Add(-30 * time.Hour), LastSeen: noon.Add(-5 * time.Hour)},
		},
	}
}

func outage() Problem {
	return Problem{
		Status: 503, Title: "The control plane cannot answer right now", Message: "The database does not answer. Try again in a moment.",
		Safe: []string{"Nothing was changed.", "Gateways go on enforcing the policy they hold, until its lease ends."}, Back: "/", BackTo: "Try again", Request: "K4MZ7Q",
	}
}
