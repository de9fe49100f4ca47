package web

import (
	"fmt"
	"slices"
	"time"
)

func serverOf(tab string) Server {
	return Server{
		ServerLine: serverLine("srv1", "com.stripe/payments", "Stripe", "active", "Payments", 8, 4, 2, 2, 1), Tab: tab, Description: "Payments, refunds and disputes of the shop.",
		Where: "https://mcp.stripe.example/v1", Version: 7, Items: 14, MayChange: true,
	}
}

func serverTools() ServerTools {
	return ServerTools{
		Server: serverOf("tools"), Only: []Option{{"", "Every state", true}, {"held", "Changed", false}, {"pending", "To review", false}}, Next: "/servers/srv1?after=tol5",
		Tools: []ToolLine{
			{"tol1", "tool", "create_refund", "destructive", "held", "Refund a charge in full or in part. Returns the refund object.", "critical", 3, 412},
			{"tol2", "tool", "list_disputes", "read_only", "pinned", "List disputes, newest first.", "", 1, 180},
			{"tol3", "tool", "create_invoice", "", "pending", lines(30), "", 2, 1830},
			{"tol4", "resource", "file:///handbook/refunds.md", "read_only", "gone", "", "", 1, 0},
			{"tol5", "prompt", "apology", "read_only", "rejected", "", "", 1, 60},
			{"tol6", "tool", "update_dispute", "write", "held", "Add evidence to a dispute.", "low", 2, 300},
		},
		Review: review(), GatewayURL: "https://edge.acme.example/mcp/com.stripe/payments",
	}
}

func effectsOf(states ...string) *Effects {
	e := &Effects{ServerID: "srv1", Words: "Suspended", At: noon.Add(-4 * time.Second)}
	for i, state := range states {
		line := EffectLine{ID: "gw1", Name: []string{"edge-ams-1", "edge-ams-2", "laptops", "edge-fra-1"}[i], State: state, Carries: 413, SeenAt: before(2 * time.Second)}
		if state == "SYNCED" {
			line.Took, line.AtMost = 380*time.Millisecond, i == 2
		}
		e.Lines = append(e.Lines, line)
	}
	return e
}

func versionOf(tool string, number int, state string, ago time.Duration) VersionLine {
	v := VersionLine{
		ID: fmt.Sprint("def", number, tool), ToolID: "tol1", Tool: tool, Kind: "tool", Digest: digest, State: state, Number: number, Tokens: 412, FirstSeenAt: noon.Add(-ago),
		Pinned: state == "approved", Served: state != "superseded",
	}
	if state != "pending" {
		v.DecidedAt, v.DecidedBy, v.Reason = before(ago-time.Hour), "Ines Roth", "Agreed with Commerce, OPS-2291"
	}
	return v
}

func versions() []VersionLine {
	served := versionOf("create_refund", 4, "pending", 38*time.Minute)
	served.Findings = []Finding{{"The description tells the model not to ask first.", "/description", false}}
	never := versionOf("create_refund", 2, "superseded", 2000*time.Hour)
	never.DecidedAt = nil
	return []VersionLine{served, versionOf("create_refund", 3, "approved", 300*time.Hour), versionOf("apology", 1, "rejected", 400*time.Hour), never, versionOf("list_disputes", 1, "approved", 3000*time.Hour)}
}

func serverVersions() ServerVersions {
	return ServerVersions{
		Server: serverOf("versions"), Versions: versions(), Next: "/servers/srv1/versions?after=def1",
		Looks: []DiscoveryLine{{"d1", "done", "Jonas Weber", "edge-ams-1", noon.Add(-2 * time.Minute)}, {"d0", "failed", "Jonas Weber", "edge-ams-1", noon.Add(-30 * time.Hour)}},
	}
}

func serverAccess() ServerAccess {
	return ServerAccess{Server: serverOf("access"), Grants: grants().Grants[:2], Guardrails: guardrails().Guardrails, GatewayURL: "https://edge.acme.example/mcp/com.stripe/payments", MayGrant: true}
}

func serverTraffic() ServerTraffic {
	v := ServerTraffic{Server: serverOf("traffic"), UsageFilter: usageFilter("/servers/srv1/traffic"), Totals: total(24), Points: hours(24), Usage: "/usage?server=x", Calls: "/usage/calls?server=x"}
	v.Tools = []ToolTraffic{
		{"list_disputes", 3120, 12, 0, 3, 4, 41 * time.Millisecond, 180 * time.Millisecond, before(3 * time.Minute)},
		{"create_refund", 201, 40, 118, 0, 0, 320 * time.Millisecond, 1200 * time.Millisecond, before(2 * time.Hour)},
		{"drop_everything", 9, 9, 0, 0, 0, 0, 0, before(40 * time.Hour)},
	}
	v.Callers, v.Recent, v.MadeSafe, v.Asks = callerList(), callLines(), 1, "It may ask clients for nothing."
	return v
}

func callerList() []Caller {
	return []Caller{{"tomas", "release-bot", "claude-sonnet-5", 2890, noon.Add(-3 * time.Minute)}, {"priya", "billing-agent", "", 311, noon.Add(-5 * time.Hour)}}
}

func serverSettings() ServerSettings {
	return ServerSettings{
		Server: serverOf("settings"), Teams: []Option{{"t1", "Payments", true}, {"t2", "Commerce", false}}, Form: "edit",
		Typed:    ServerForm{Title: "Stripe", Description: "Payments, refunds and disputes of the shop.", Labels: "money, env=prod", Transport: "streamable_http", Requests: clientRequests("elicitation")},
		Commands: []Option{{"", "None", true}, {"filesystem sha256:aa", "filesystem, by laptops", false}},
		Endpoints: []EndpointLine{
			{"streamable_http", "https://mcp.stripe.example/v1", digest, noon.Add(-300 * time.Hour), nil},
			{"stdio", "stripe", digest, noon.Add(-2000 * time.Hour), before(300 * time.Hour)},
		},
		Timeline: timelineOf("server.registered", "Jonas Weber", "server.pinned", "Ines Roth"), CreatedBy: "Jonas Weber", CreatedAt: noon.Add(-2000 * time.Hour),
	}
}

// clientRequests are what a server may be let ask of clients; those that are allowed are ticked.
func clientRequests(allowed ...string) []Option {
	out := []Option{
		{Value: "elicitation", Label: "Elicitation: have the user fill in a form that the server words, or open an address that it names"},
		{Value: "roots", Label: "Roots: learn which folders of the user's machine the client works on"},
		{Value: "sampling", Label: "Sampling: have the client's model answer what the server writes, at the client's cost and with what it knows"},
	}
	for i, o := range out {
		out[i].Selected = slices.Contains(allowed, o.Value)
	}
	return out
}
