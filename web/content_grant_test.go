package web

import "time"

func grants() Grants {
	soon, late := noon.Add(50*time.Hour), noon.Add(4000*time.Hour)
	grant := func(id, name, who, what, state string, until *time.Time) GrantLine {
		return GrantLine{ID: id, Name: name, Who: who, What: what, State: state, Reason: "As agreed", By: "Jonas Weber", Version: 2, NotAfter: until, CreatedAt: noon.Add(-90 * time.Hour), Watched: true}
	}
	list := []GrantLine{
		grant("g1", "Support refunds", "members of support-emea, through billing-agent", "create_refund on com.stripe/payments", "in_force", nil),
		grant("g2", "Release team, storefront", "members of release, through release-bot", "merge_* or delete_branch on com.github/acme", "in_force", &soon),
		grant("g3", "Contractor, migration", "yuki", "every tool that is read-only on com.acme/postgres", "later", &late),
		grant("g4", "Old onboarding bot", "through onboarding-v1", "invite_member on com.slack/acme", "in_force", nil),
		grant("g5", "Quarter close", "members of finance", "export_* on any server labelled data=finance", "ended", &soon),
	}
	list[0].Condition, list[0].UsedAt = "args.amount <= 5000 && args.currency in ['EUR', 'USD']", before(40*time.Second)
	list[1].Soon, list[1].UsedAt, list[1].Idle = true, before(97*24*time.Hour), true
	list[2].NotBefore = &soon
	list[3].Idle = true
	return Grants{May: true, Next: "/grants?after=g4", Chips: grantChips(""), Grants: list}
}

func grantChips(show string) []Chip {
	chips := []Chip{
		{"In force", "/grants", 24, false},
		{"End soon", "/grants?show=expiring", 2, false},
		{"Unused for 90 days", "/grants?show=unused", 5, false},
		{"Never used", "/grants?show=never", 3, false},
		{"With a condition", "/grants?show=conditional", -1, false},
		{"Ended", "/grants?show=ended", -1, false},
		{"All", "/grants?show=all", -1, false},
	}
	for i, of := range []string{"", "expiring", "unused", "never", "conditional", "ended", "all"} {
		chips[i].On = of == show
	}
	return chips
}

func ruleForm() RuleForm {
	return RuleForm{
		Servers: "com.example/orders", Names: "list_*", Condition: "args.region == 'emea'",
		Risks: []Option{{"read_only", "Read-only", true}, {"write", "Write", false}, {"destructive", "Destructive", false}},
		Kinds: []Option{{"tool", "Tools", false}, {"prompt", "Prompts", false}, {"resource", "Resources", false}},
	}
}

func grantForm() NewGrant {
	return NewGrant{
		Name: "Support reads orders", Who: SubjectForm{Users: "tomas\nines", Groups: "support-emea", Agents: "billing-agent"}, Rule: ruleForm(), Until: "168h", Reason: "INC-2207",
		Foresight: foreseenChange(),
	}
}

func foreseenChange() Foresight {
	return Foresight{
		Foreseen: true, Seen: "b7e2",
		Sentences: []Sentence{
			{"gain", "user tomas or ines with group support-emea with agent billing-agent may call com.example/orders: list_orders, list_customers_by_region, until 2026-11-29 14:31 UTC"},
			{"lose", "group support-amer may no longer call com.example/orders: list_orders"},
			{"begin", "everyone: only with the approval of one person of the owning team, calling com.example/orders: cancel_order"},
			{"risk", "com.example/orders: cancel_order is destructive, was write"},
		},
		More:     3,
		Findings: []string{"list_customers_by_region has no argument “region”, so that the condition is never true there."},
		Warnings: []Warning{{"Nobody can approve calls on com.example/orders that “Refunds need two people” holds: Commerce has neither a group nor a member.", "/teams", "Open teams"}},
		Tools:    []Reached{{"com.example/orders", "list_orders", "tool", "read_only", false}, {"com.example/orders", "list_customers_by_region", "tool", "read_only", true}, {"com.example/orders", "cancel_order", "tool", "destructive", false}},
	}
}

func failingTest() TestLine {
	return TestLine{ID: "t2", Name: "Bots never delete", Given: "release-bot for tomas calls delete_branch on com.github/acme", Expected: "denied", Got: "allowed", State: "failed", Why: "expected deny, got allow (allowed), by “Release team, storefront”", By: "Mei Tan", Version: 1, At: noon.Add(-200 * time.Hour)}
}
