package web

import (
	"strings"
	"time"
)

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

func agentView() AgentView {
	ended := noon.Add(-40 * time.Hour)
	return AgentView{
		AgentLine: AgentLine{
			ID: "agt_7Q2M", Agent: "nightly-inventory-report", Name: "Nightly report", Owner: "Tomas Lind", Note: "Runs on the build farm at two.",
			Models: []string{"claude-opus-4-1-20250805", "gpt-5"}, Open: 2, Version: 3, ChangedAt: noon.Add(-26 * time.Hour),
		},
		May: true, Fresh: true, Lives: []Option{{"30", "30 days", false}, {"90", "90 days", true}},
		KeyName: "build farm", Reason: "laptop lost", Errors: Errors{"name": "At most 200 characters."},
		Keys: []AgentKeyLine{
			{ID: "agk_1", Name: "build farm", Shown: "x7Qa", By: "Mei Tan", CreatedAt: noon.Add(-2 * time.Hour), ExpiresAt: noon.Add(2158 * time.Hour), Asked: true},
			{ID: "agk_2", Name: "the laptop of Tomas, for as long as the farm is being moved to another building", Shown: "0Zk9", By: "Mei Tan", CreatedAt: noon.Add(-900 * time.Hour), ExpiresAt: noon.Add(100 * time.Hour)},
			{ID: "agk_3", Name: "trial", Shown: "abcd", By: "Mei Tan", CreatedAt: noon.Add(-800 * time.Hour), ExpiresAt: noon.Add(-80 * time.Hour)},
			{ID: "agk_4", Name: "lost", Shown: "00Aa", By: "Mei Tan", CreatedAt: noon.Add(-800 * time.Hour), ExpiresAt: noon.Add(80 * time.Hour), EndedAt: &ended},
		},
	}
}

func issuedKey() IssuedKey {
	return IssuedKey{
		AgentID: "agt_7Q2M", Agent: "Nightly report", Name: "build farm", Until: "20 Feb 2027 12:00 UTC",
		Secret: "csa_" + strings.Repeat("0123456789aBcDeFgHiJkLmN", 2) + "x",
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
		{"agent", AgentPage(p, agentView())},
		{"agent key", IssuedKeyPage(p, issuedKey())},
	}
}

func hostileAgents(p Page) []story {
	list, form := spoiled(agents()), spoiled(agentForm())
	list.Errors, list.Agents[0].Asked = Errors{"": hostile(""), "reason": hostile("reason")}, true
	one, key := spoiled(agentView()), spoiled(issuedKey())
	one.Errors = Errors{"": hostile(""), "name": hostile("name"), "reason": hostile("reason")}
	form.ID = "agt_1"
	form.Errors = Errors{"": hostile(""), "agent": hostile("agent"), "owner": hostile("owner")}
	return []story{{"agents", AgentsPage(p, list)}, {"agent-form", AgentFormPage(p, form)}, {"agent", AgentPage(p, one)}, {"agent key", IssuedKeyPage(p, key)}}
}
