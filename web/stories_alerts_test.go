package web

import "time"

func alerts() Alerts {
	return Alerts{
		MayHandle: true, Next: "/alerts?after=alt_9", Told: AlertChannels{Known: true, MayMake: true},
		Open: []AlertLine{
			{ID: "alt_1", Rule: "Spend of one agent", RuleLink: "/alerts?rule=alr_2", Kind: "Cost", Summary: "release-bot cost 212.40 EUR within an hour; the rule says at most 100.00 EUR", State: "open", About: "release-bot", AboutLink: "/usage?agent=release-bot", Urgent: true, Times: 14, FiredAt: noon.Add(-50 * time.Minute), LastAt: noon.Add(-8 * time.Second), Calls: "/usage/calls?agent=release-bot"},
			{ID: "alt_2", Rule: "More than 100 calls a minute from one session", RuleLink: "/alerts?rule=alr_session", Kind: "Rate", Summary: "131 calls within a minute from one session of billing-agent", State: "acknowledged", About: "9c1f42ab", Times: 1, FiredAt: noon.Add(-3 * time.Hour), LastAt: noon.Add(-3 * time.Hour), Calls: "/usage/calls?session=9c1f42ab", TakenBy: "Ines Roth", TakenAt: before(2 * time.Hour)},
		},
		Closed: []AlertLine{
			{ID: "alt_3", Rule: "A gateway is silent", Kind: "Gateway", Summary: "edge-fra-2 has not been seen for 6 minutes", State: "closed", About: "edge-fra-2", AboutLink: "/gateways/gw2", Times: 3, FiredAt: noon.Add(-30 * time.Hour), LastAt: noon.Add(-29 * time.Hour), ClosedAt: before(29 * time.Hour)},
			{ID: "alt_4", Rule: "Denials", Kind: "Denials", Summary: "80 % of the calls of analyst-copilot were denied", State: "closed", Times: 1, FiredAt: noon.Add(-60 * time.Hour), LastAt: noon.Add(-60 * time.Hour), Calls: "/usage/calls?agent=analyst-copilot", ClosedBy: "Jonas Weber", ClosedAt: before(59 * time.Hour)},
		},
	}
}

func listening() AlertChannels {
	return AlertChannels{Known: true, MayTest: true, MayMake: true, Channels: []ListeningChannel{{"chn_1", "on-call chat", "Chat", "active"}, {"chn_2", "incident platform", "Webhook", "failing"}}}
}

func alertRules() AlertRules {
	return AlertRules{
		May: true, Told: listening(),
		Rules: []AlertRuleLine{
			{ID: "alr_session", Name: "More than 100 calls a minute from one session", Kind: "Rate", Means: "Fires when one session makes more than 100 calls within one minute.", BuiltIn: true, Open: 1, Alerts: "/alerts?rule=alr_session", FiredAt: before(3 * time.Hour), Version: 1},
			{ID: "alr_2", Name: "Spend of one agent", Kind: "Cost", Means: "Fires when the calls of one agent cost more than 100.00 EUR within one hour.", By: "Jonas Weber", Urgent: true, Off: true, Version: 3},
		},
		Ideas: []AlertIdea{{"A gateway is silent", "Fires when a gateway was not seen for five minutes.", "/alerts/rules/new?kind=gateway_silent&idea=1"}},
	}
}

func alertKinds() []RoleOption {
	return []RoleOption{
		{Option{"/alerts/rules/new?kind=session_rate", "Calls of one session", false}, "One session makes more calls than anybody would."},
		{Option{"/alerts/rules/new?kind=cost", "Cost", false}, "What models are paid for the tokens of calls, by the prices set here."},
	}
}

func alertRuleForm1() AlertRuleForm {
	return AlertRuleForm{
		ID: "alr_2", Name: "Spend of one agent", Version: 3, Kind: "cost", KindLabel: "Cost", KindMeans: "What models are paid for the tokens of calls, by the prices set here.", Told: listening(), Urgent: true,
		Fields: []AlertField{
			{Name: "amount", Label: "Amount", Value: "1OO", Hint: "1 to 1,000,000", Number: true},
			{Name: "by", Label: "Counted", Options: []Option{{"agent", "For each agent by itself", true}, {"all", "For all together", false}}},
			{Name: "server", Label: "Server", Optional: true, Hint: "Leave it empty for every server."},
		},
		ReadsBack: "Fires when the calls of one agent cost more than 100.00 EUR within one hour.",
		Errors:    Errors{"amount": "Write a whole number."},
	}
}

func prices() Prices {
	return Prices{
		May: true, Unpriced: []UnpricedModel{{"llama-4-local", "/usage/prices?model=llama-4-local"}},
		New: PriceForm{Currency: "EUR"},
		Prices: []PriceLine{
			{PriceForm{ID: "prc_1", Model: "claude-sonnet-*", Currency: "EUR", Input: "3.00", Output: "15.00", Version: 2}, "Jonas Weber", noon.Add(-90 * time.Hour)},
			{PriceForm{ID: "prc_2", Model: "gpt-6", From: "2026-11-01", Currency: "USD", Input: "2.50", Output: "10.00", Version: 1}, "Jonas Weber", noon.Add(-400 * time.Hour)},
		},
	}
}

func alertStories() []story {
	p := page("Alerts", "/alerts")
	p.Alerts, p.Urgent = 2, true
	told := alerts()
	told.Told, told.Open, told.Errors = listening(), nil, Errors{"": "Somebody closed this alert before."}
	reader := alertRules()
	reader.May, reader.Told = false, AlertChannels{}
	missing := prices()
	missing.Prices, missing.New.Errors = nil, Errors{"input": "Write an amount as 3.00."}
	return []story{
		{"alerts", AlertsPage(p, alerts())},
		{"alerts none", AlertsPage(p, told)},
		{"alert-rules", AlertRulesPage(p, alertRules())},
		{"alert rules reader", AlertRulesPage(p, reader)},
		{"alert-rule", AlertRulePage(p, alertRuleForm1())},
		{"alert rule kinds", AlertRulePage(p, AlertRuleForm{Kinds: alertKinds()})},
		{"prices", PricesPage(page("Prices", "/usage"), prices())},
		{"prices none", PricesPage(page("Prices", "/usage"), missing)},
	}
}
