package web

import (
	"time"
)

func usageFilter(path string) UsageFilter {
	return UsageFilter{
		Path: path, SpanWords: "the last 24 hours", MayName: true,
		Spans: []Option{{path + "?span=24h", "24 hours", true}, {path + "?span=7d", "7 days", false}, {path + "?span=30d", "30 days", false}},
		Keep:  []NameValue{{"span", "24h"}},
	}
}

// hours are a day of calls: the peak at noon, and one agent that goes wrong.
func hours(n int) []UsageTotals {
	points := make([]UsageTotals, n)
	for i := range points {
		at := noon.Truncate(time.Hour).Add(time.Duration(i-n+1) * time.Hour)
		by := 12 - at.Hour()
		points[i] = UsageTotals{
			Day:        Day{At: at, Allowed: 1150 - by*by*6, Held: i % 5, Denied: i % 7, Failed: i % 11 / 8},
			TokensRead: int64(900_000 - by*by*5000), TokensWritten: int64(60_000 - by*by*310),
			AddedP50: time.Duration(210+i*i%90) * time.Microsecond, AddedP95: time.Duration(640+i*37%400) * time.Microsecond,
			TookP50: time.Duration(38+i%9) * time.Millisecond, TookP95: time.Duration(180+i*13%140) * time.Millisecond,
		}
		if at.Hour() == 11 {
			points[i].Denied = 40
		}
		if at.Hour() == 4 {
			points[i] = UsageTotals{Day: Day{At: at}}
		}
	}
	return points
}

func total(n int) UsageTotals {
	t := UsageTotals{Cost: "1,204.12 EUR", Unpriced: 1_204_000, AddedP50: 250 * time.Microsecond, AddedP95: time.Millisecond, TookP50: 50 * time.Millisecond, TookP95: 250 * time.Millisecond, Errors: 31}
	for _, p := range hours(n) {
		t.Allowed, t.Held, t.Denied, t.Failed = t.Allowed+p.Allowed, t.Held+p.Held, t.Denied+p.Denied, t.Failed+p.Failed
		t.TokensRead, t.TokensWritten = t.TokensRead+p.TokensRead, t.TokensWritten+p.TokensWritten
	}
	return t
}

func usage() Usage {
	before := total(20)
	before.Cost, before.Unpriced = "1,154.30 EUR", 0
	v := Usage{
		UsageFilter: usageFilter("/usage"), Totals: total(24), Before: &before, Points: hours(24), CSV: "/usage.csv?by=tool", Calls: "/usage/calls?span=24h", Next: "/usage?by=tool&page=2",
		Tabs: []Option{{"/usage?by=server", "Server", false}, {"/usage?by=tool", "Tool", true}, {"/usage?by=model", "Model", false}, {"/usage?by=agent", "Agent", false}, {"/usage?by=person", "Person", false}},
		Columns: []SortColumn{
			{"Tool", "/usage?by=tool&sort=name", "", false},
			{"Calls", "/usage?by=tool&sort=calls", "descending", true},
			{"Denied", "/usage?sort=denied", "", true},
			{"Errors", "/usage?sort=errors", "", true},
			{"Tokens read", "/usage?sort=read", "", true},
			{"Written", "/usage?sort=written", "", true},
			{"Cost", "/usage?sort=cost", "", true},
			{"Added, half", "/usage?sort=half", "", true},
			{"95 of 100", "/usage?sort=most", "", true},
			{"Last", "/usage?sort=last", "", false},
		},
		Rest: "Another 212 tools with 3,410 calls are not listed. Narrow it down to see them.", NoPrice: []string{"llama-4-local", "mistral-medium"},
	}
	v.Chips = []Chip{{Name: "server: com.stripe/payments", Address: "/usage?span=24h"}}
	v.Server = "com.stripe/payments"
	last := noon.Add(-2 * time.Minute)
	v.Lines = []UsageLine{
		{"list_disputes", "com.stripe/payments", "/servers/srv1/tools/tol1", "/usage?tool=list_disputes", 12120, 3, 0, 4, 14_200_000, 310_000, "1,081.20 EUR", false, 240 * time.Microsecond, 910 * time.Microsecond, last},
		{"create_refund", "com.stripe/payments", "/servers/srv1/tools/tol2", "/usage?tool=create_refund", 3201, 118, 40, 27, 3_100_000, 890_000, "122.92 EUR", true, 251 * time.Microsecond, 1210 * time.Microsecond, last},
		{"drop_everything", "com.stripe/payments", "", "", 442, 442, 0, 0, 0, 12_000, "", false, 0, 0, last},
		{"", "", "", "", 3, 0, 0, 0, 120, 40, "", false, 190 * time.Microsecond, 190 * time.Microsecond, last},
	}
	return v
}

func callLines() []CallLine {
	return []CallLine{
		{ID: "01JD0Q6RBX8Z", Session: "9c1f42ab6de1f0c7", SessionLink: "/usage/calls?session=9c1f42ab6de1f0c7", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", At: noon.Add(-8 * time.Second), Server: "com.stripe/payments", ServerLink: "/servers/srv1", Tool: "list_disputes", Kind: "tool", Subject: "tomas", Agent: "release-bot", Model: "claude-sonnet-5", Attested: true, Decision: "allowed", Took: 41 * time.Millisecond, Added: 240 * time.Microsecond, RequestBytes: 212, ResponseBytes: 18_412, TokensRead: 4_120, TokensWritten: 51, Gateway: "edge-ams-1", Instance: "edge-ams-1-7f", Revision: 412, Filtered: 2},
		{ID: "01JD0Q6R0000", At: noon.Add(-52 * time.Second), Server: "com.stripe/payments", ServerLink: "/servers/srv1", Tool: "create_refund", Kind: "tool", Subject: "priya", Agent: "billing-agent", Decision: "denied", Reason: "rate_limited", RequestBytes: 340, Gateway: "edge-ams-1", Revision: 412},
		{ID: "01JD0Q6QZZZZ", Session: "77ab42ab6de1f0c7", SessionLink: "/usage/calls?session=77ab42ab6de1f0c7", At: noon.Add(-3 * time.Minute), Server: "com.acme/handbook", Tool: "apology", Kind: "prompt", Model: "gpt-6", Decision: "allowed", ToolError: true, Took: 1200 * time.Millisecond, Added: 310 * time.Microsecond, RequestBytes: 12, ResponseBytes: 90, Gateway: "laptops", Revision: 411},
	}
}

func calls() Calls {
	return Calls{
		UsageFilter: usageFilter("/usage/calls"), Lines: callLines(), Next: "/usage/calls?after=x", CSV: "/usage/calls.csv", Usage: "/usage",
		Decisions: []Option{{"/usage/calls", "Any", true}, {"/usage/calls?decision=denied", "Denied", false}, {"/usage/calls?decision=held", "Held", false}},
	}
}

func unknownServers() UnknownServers {
	return UnknownServers{
		MayRegister: true,
		Names:       []UnknownServer{{"com.acme/warehouse", "edge-ams-1", "gw1", "tomas", "release-bot", 12, noon.Add(-90 * time.Hour), noon.Add(-4 * time.Minute), "/servers/new?name=com.acme%2Fwarehouse"}, {"admin", "laptops", "gw2", "", "", 411, noon.Add(-2 * time.Hour), noon.Add(-time.Hour), "/servers/new?name=admin"}},
		Commands:    []OfferedCommand{{"filesystem", []string{"laptops", "edge-ams-1"}, "/servers/new?command=filesystem"}},
	}
}

func usageStories() []story {
	p := page("Usage", "/usage")
	p.Alerts, p.Urgent = 2, true
	month, lone, none, narrowed := usage(), usage(), Usage{UsageFilter: usageFilter("/usage"), MayCall: true}, calls()
	month.Points = nil
	for i := range 30 {
		point := hours(24)[i%24]
		point.At = noon.Truncate(24*time.Hour).AddDate(0, 0, i-29)
		month.Points = append(month.Points, point)
	}
	lone.Points, lone.Lines, lone.Rest, lone.Next = hours(24), lone.Lines[:1], "", ""
	for i := range lone.Points {
		if i != 9 {
			lone.Points[i] = UsageTotals{Day: Day{At: lone.Points[i].At}}
		}
	}
	narrowed.Lines, narrowed.Session = nil, "9c1f42ab6de1f0c7"
	narrowed.Errors, narrowed.From = Errors{"from": "Write a date as 2026-11-22."}, "yesterday"
	narrowed.Chips = []Chip{{Name: "session: 9c1f42ab", Address: "/usage/calls"}}
	return []story{
		{"usage", UsagePage(p, usage())},
		{"usage month", UsagePage(p, month)},
		{"usage lone", UsagePage(p, lone)},
		{"usage empty", UsagePage(p, none)},
		{"calls", CallsPage(p, calls())},
		{"calls none", CallsPage(p, narrowed)},
		{"calls closed", CallsPage(p, Calls{UsageFilter: usageFilter("/usage/calls"), Closed: true})},
		{"unknown-servers", UnknownServersPage(p, unknownServers())},
		{"unknown servers none", UnknownServersPage(p, UnknownServers{})},
	}
}

func hostileUsage(p Page) []story {
	v, c := spoiled(usage()), spoiled(calls())
	v.Errors, c.Errors = Errors{}, Errors{}
	for _, name := range []string{"server", "tool", "agent", "model", "person", "from", "to"} {
		v.Errors[name], c.Errors[name] = hostile(name), hostile(name)
	}
	rules, form, prices := spoiled(alertRules()), spoiled(alertRuleForm1()), spoiled(prices())
	form.Errors, prices.New.Errors = Errors{"": hostile("")}, Errors{"model": hostile("model"), "input": hostile("input"), "currency": hostile("currency")}
	for _, f := range form.Fields {
		form.Errors[f.Name] = hostile("error of a field")
	}
	prices.Prices[0].Errors = prices.New.Errors
	return []story{
		{"usage", UsagePage(p, v)},
		{"calls", CallsPage(p, c)},
		{"unknown servers", UnknownServersPage(p, spoiled(unknownServers()))},
		{"alerts", AlertsPage(p, spoiled(alerts()))},
		{"alert rules", AlertRulesPage(p, rules)},
		{"alert rule", AlertRulePage(p, form)},
		{"alert kinds", AlertRulePage(p, spoiled(AlertRuleForm{Kinds: alertKinds()}))},
		{"prices", PricesPage(p, prices)},
	}
}
