package web

import "time"

func grants() Grants {
	end := noon.Add(50 * time.Hour)
	grant := func(id, name, who, what, state string, until *time.Time) GrantLine {
		return GrantLine{ID: id, Name: name, Who: who, What: what, State: state, Reason: "As agreed", By: "Jonas Weber", Version: 2, NotAfter: until, CreatedAt: noon.Add(-90 * time.Hour)}
	}
	return Grants{
		May: true, Next: "/grants?after=g4",
		Grants: []GrantLine{
			grant("g1", "Support refunds", "members of support-emea, through billing-agent", "create_refund on com.stripe/payments", "in_force", nil),
			grant("g2", "Release team, storefront", "members of release, through release-bot", "merge_* or delete_branch on com.github/acme", "in_force", &end),
			grant("g3", "Contractor, migration", "yuki", "every tool that is read-only on com.acme/postgres", "later", &end),
			grant("g4", "Old onboarding bot", "through onboarding-v1", "invite_member on com.slack/acme", "ended", &end),
		},
	}
}

func grantForm() NewGrant {
	return NewGrant{
		Name: "Support reads orders", Users: "tomas\nines", Groups: "support-emea", Agents: "billing-agent", Servers: "com.example/orders", Names: "list_*", Until: "168h", Reason: "INC-2207",
		Risks:   []Option{{"read_only", "Read-only", true}, {"write", "Write", false}, {"destructive", "Destructive", false}},
		Kinds:   []Option{{"tool", "Tools", false}, {"prompt", "Prompts", false}, {"resource", "Resources", false}},
		Known:   []Option{{"com.example/orders", "com.example/orders", false}},
		Preview: []Reached{{"com.example/orders", "list_orders", "tool", "read_only", false}, {"com.example/orders", "list_customers_by_region", "tool", "read_only", true}, {"com.example/orders", "cancel_order", "tool", "destructive", false}}, Previewed: true,
	}
}

func guardrails() Guardrails {
	return Guardrails{May: true, Guardrails: []GuardrailLine{
		{ID: "r1", Name: "Destructive calls need a person", Who: "everyone", What: "every tool that is destructive on any server", Effect: "Approval by one person of the owning team, never the caller,", Reason: "Made with the installation.", By: "Countersign", CreatedAt: noon.Add(-3000 * time.Hour)},
		{ID: "r2", Name: "No exports by bots", Who: "through scraper-nightly", Except: "members of data-office", Version: 2, What: "export_* on com.acme/*", Effect: "Denied", Reason: "Its key was found in a public repository.", By: "Jonas Weber", CreatedAt: noon.Add(-30 * time.Minute)},
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

func policyDocument() Policy {
	return Policy{
		Audiences: []Option{{"a1", "everything", true}, {"a2", "com.acme/* and com.stripe/payments", false}}, Audience: "a1", Revision: 413, Epoch: 2, ETag: `"413-9c1f42ab"`, KeyID: "2026-11a", Digest: digest,
		Bytes: 48211, Compressed: 9313, IssuedAt: noon.Add(-2 * time.Minute), Servers: 12, Tools: 128, Grants: 24, Guardrails: 6,
		Document: []byte("{\n  \"revision\": 413,\n  \"grants\": [\n    {\n      \"name\": \"Support refunds\",\n      \"subject\": {\"groups\": [\"support-emea\"], \"agents\": [\"billing-agent\"]},\n      \"resource\": {\"servers\": [\"com.stripe/payments\"], \"names\": [\"create_refund\"]}\n    }\n  ]\n}"),
		Warnings: []string{"Grant “Old onboarding bot” names com.slack/acme, which is not registered."},
	}
}

func auditLog() Audit {
	events := timelineOf("approval.approved", "Ines Roth", "approval.requested", "billing-agent", "server.pinned", "Jonas Weber", "grant.created", "Jonas Weber", "session.began", "Mei Tan")
	return Audit{Events: events, Kind: "approval.", Actor: "Ines", From: "2026-11-01", To: "2026-11-22", Next: "/audit?before=88204", Chosen: &events[0]}
}

func teams() Teams {
	return Teams{May: true, Teams: []TeamLine{{"t1", "Commerce", []string{"commerce", "shop-leads"}, 2, 4}, {"t2", "Payments", []string{"payments"}, 0, 1}, {"t3", "Nobody yet", nil, 0, 0}}}
}
