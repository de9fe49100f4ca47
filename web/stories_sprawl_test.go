package web

import "time"

func sprawl() Sprawl {
	return Sprawl{
		Since: before(64 * 24 * time.Hour), CSV: "/sprawl.csv", Next: "/sprawl?after=812.tol_9",
		Facts: []Fact{
			{"Servers", "42", "1 whose team has nobody"},
			{"Tools", "618", "9 on several servers"},
			{"Never called", "211", "64 unused for 90 days"},
			{"Tokens of all lists", "≈ 184.3k", "estimated, o200k"},
		},
		Servers: []SprawlServer{
			{ID: "srv1", Name: "com.stripe/payments", Team: "Payments", Owned: true, Pinned: 14, Tokens: 12840, NeverCalled: 2, Unused: 3, LastCall: before(3 * time.Minute), Of: 12840},
			{ID: "srv2", Name: "com.acme/warehouse-legacy", Team: "Warehouse", Pinned: 61, Tokens: 9120, NeverCalled: 61, Unused: 61, Of: 12840},
			{ID: "srv3", Name: "com.acme/orders", Team: "Commerce", Owned: true, Pinned: 3, Tokens: 640, LastCall: before(2 * time.Hour), Of: 12840},
		},
		Tools: []SprawlTool{
			{ServerID: "srv2", Server: "com.acme/warehouse-legacy", ID: "tol1", Kind: "tool", Name: "run_report", Risk: "destructive", Pinned: true, Tokens: 2210, Duplicates: []string{"com.acme/bi", "com.acme/finance"}},
			{ServerID: "srv1", Server: "com.stripe/payments", ID: "tol2", Kind: "tool", Name: "create_refund", Risk: "destructive", Pinned: true, Tokens: 812, Calls: 2890, LastCall: before(3 * time.Minute)},
			{ServerID: "srv3", Server: "com.acme/orders", ID: "tol3", Kind: "prompt", Name: "apology", Tokens: 0},
		},
	}
}

func sprawlStories() []story {
	p := page("Tool sprawl", "/sprawl")
	tidy, later := Sprawl{CSV: "/sprawl.csv", Show: "no_owner"}, sprawl()
	later.First, later.Facts, later.Servers = "/sprawl", nil, nil
	return []story{
		{"sprawl", SprawlPage(p, sprawl())},
		{"sprawl tidy", SprawlPage(p, tidy)},
		{"sprawl later", SprawlPage(p, later)},
	}
}
