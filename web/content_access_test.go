package web

import "time"

func guardrails() Guardrails {
	return Guardrails{May: true, Chips: []Chip{{"In force", "/guardrails", 3, true}, {"Ended", "/guardrails?ended=yes", -1, false}}, Guardrails: []GuardrailLine{
		{ID: "r1", Name: "Destructive calls need a person", Who: "everyone", What: "every tool that is destructive on any server", Effect: "Approval by one person of the owning team, never the caller,", Reason: "Made with the installation.", By: "Countersign", CreatedAt: noon.Add(-3000 * time.Hour)},
		{ID: "r2", Name: "No exports by bots", Who: "through scraper-nightly", Except: "members of data-office", Version: 2, What: "export_* on com.acme/*", Effect: "Denied", Reason: "Its key was found in a public repository.", By: "Jonas Weber", CreatedAt: noon.Add(-30 * time.Minute), Emergency: true},
		{ID: "r3", Name: "Refunds stay small", Who: "everyone", What: "create_refund on com.stripe/payments", Effect: "Denied unless something is true", Condition: `principal.agent == "billing-agent"`, Require: "args.amount <= 100", Version: 1, Reason: "Agreed with finance.", By: "Jonas Weber", CreatedAt: noon.Add(-900 * time.Hour)},
	}}
}

func row2(id, name, state, why string, active int64, seen time.Duration) GatewayRow {
	r := GatewayRow{ID: id, Name: name, Kind: "proxy", Audience: "everything", Instance: name + "-7d9f", Version: "1.3.2", State: state, Why: why, Active: active, Wanted: 413}
	if seen > 0 {
		r.SeenAt = before(seen)
	}
	return r
}

func gatewayList() Gateways {
	offline := row2("gw6", "edge-iad-1", "OFFLINE", "", 412, 9*time.Minute)
	fresh := row2("gw7", "edge-new", "PENDING", "", 0, 0)
	fresh.Instance, fresh.Version = "", ""
	return Gateways{May: true, Gateways: []GatewayRow{
		row2("gw1", "edge-ams-1", "SYNCED", "", 413, 3*time.Second), row2("gw2", "edge-ams-2", "SYNCED", "", 413, 12*time.Second),
		row2("gw3", "edge-fra-1", "REJECTED", "This version does not know the obligation response_limit.", 412, 14*time.Second),
		row2("gw4", "edge-fra-2", "STALE", "", 410, 19*time.Minute), offline, fresh, row2("gw8", "edge-old", "revoked", "", 300, 300*time.Hour),
	}}
}

func gatewayForm() NewGateway {
	return NewGateway{Name: "edge-ams-1", Kind: "proxy", Servers: "com.acme/*\ncom.stripe/payments", Resource: "mcp.acme.example"}
}

func enrolled() Enrolled {
	return Enrolled{
		ID: "gw1", Name: "edge-ams-1", ClientID: "gw_3KQ9ZP", Secret: "csk_b3VyIG1vY2sgc2VjcmV0IGZvciBzY3JlZW5zaG90cw",
		Config: "control_plane: https://countersign.acme.example\nclient_id: gw_3KQ9ZP\nclient_secret_file: /etc/countersign/gateway-secret\nlisten: 127.0.0.1:8081\nresource: https://mcp.acme.example\nissuers:\n  - issuer: https://login.acme.example\n    algorithms: [RS256, ES256, EdDSA]\n",
	}
}

func oneGateway() Gateway {
	return Gateway{
		GatewayRow: row2("gw3", "edge-fra-1", "REJECTED", "", 412, 4*time.Second), ClientID: "gw_3KQ9ZP", Resource: "https://mcp.acme.example", By: "Jonas Weber", CreatedAt: noon.Add(-700 * time.Hour),
		Servers: []string{"com.acme/*", "com.stripe/payments"}, Instances: []GatewayRow{gatewayList().Gateways[2]}, Commands: []KV{{"filesystem", digest}}, May: true,
		Timeline: timelineOf("gateway.enrolled", "Jonas Weber", "gateway.rejected_policy", "edge-fra-1"),
	}
}

func auditLog() Audit {
	events := timelineOf("approval.approved", "Ines Roth", "approval.requested", "billing-agent", "server.pinned", "Jonas Weber", "grant.created", "Jonas Weber", "session.began", "Mei Tan")
	return Audit{Events: events, Kind: "approval.", Actor: "Ines", From: "2026-11-01", To: "2026-11-22", Next: "/audit?before=88204", Chosen: &events[0]}
}

func teams() Teams {
	return Teams{May: true, Teams: []TeamLine{{"t1", "Commerce", []string{"commerce", "shop-leads"}, 2, 4}, {"t2", "Payments", []string{"payments"}, 0, 1}, {"t3", "Nobody yet", nil, 0, 0}}}
}
