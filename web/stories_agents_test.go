package web

import "time"

func agents() Agents {
	return Agents{
		May: true,
		Seen: []SeenAgent{
			{Agent: "claude-desktop", Calls: 214, Asked: 3, LastAt: noon.Add(-2 * time.Minute)},
			{Agent: "https://client.dev/.well-known/oauth-client/nightly-inventory-report-eu-central.json", Calls: 9, LastAt: noon.Add(-30 * time.Hour)},
		},
		Agents: []AgentLine{
			{ID: "agt_7Q2M", Agent: "cursor", Name: "Cursor of the storefront", Owner: "Tomas Lind", Note: "Runs on Tomas' laptop; moves to the build farm in December.", Version: 3, ChangedAt: noon.Add(-26 * time.Hour)},
			{ID: "agt_9F4T", Agent: "ops-bot", Name: "ops-bot", Owner: "Mei Tan", OwnerGone: true, Version: 1, ChangedAt: noon.Add(-900 * time.Hour)},
		},
		Next: "/agents?after=agt_9F4T",
	}
}

func agentForm() AgentForm {
	return AgentForm{
		Agent: "claude-desktop", Owners: []Option{{"", "Choose somebody", true}, {"per_1", "Tomas Lind, tomas@example.com", false}},
		Errors: Errors{"owner": "Choose somebody who has signed in once."},
	}
}

func agentStories() []story {
	p := page("Agents", "/agents")
	return []story{
		{"agents", AgentsPage(p, agents())},
		{"agents empty", AgentsPage(flashed(p, "Nobody answers for “cursor” any more."), Agents{May: true})},
		{"agent-form", AgentFormPage(p, agentForm())},
	}
}

func hostileAgents(p Page) []story {
	list, form := spoiled(agents()), spoiled(agentForm())
	list.Errors, list.Agents[0].Asked = Errors{"": hostile(""), "reason": hostile("reason")}, true
	form.ID = "agt_1"
	form.Errors = Errors{"": hostile(""), "agent": hostile("agent"), "owner": hostile("owner")}
	return []story{{"agents", AgentsPage(p, list)}, {"agent-form", AgentFormPage(p, form)}}
}
