package web

import "time"

func clients() Clients {
	return Clients{May: true, Clients: []ClientLine{
		{ID: "cli_7Q2M", Name: "rules pipeline", By: "Jonas Weber", Roles: []string{"Viewer", "Admin"}, CreatedAt: noon.Add(-26 * time.Hour)},
		{ID: "cli_9F4T", Name: "storefront deploy", Team: "Commerce", By: "Jonas Weber", CreatedAt: noon.Add(-900 * time.Hour)},
		{ID: "cli_2B8K", Name: "nightly inventory report, eu-central", By: "Mei Tan", Roles: []string{"Viewer"}, CreatedAt: noon.Add(-4000 * time.Hour), RevokedAt: before(50 * time.Hour)},
	}}
}

func clientForm() NewClient {
	return NewClient{
		Name: "rules pipeline", Teams: []Option{{"", "No team", true}, {"t1", "Commerce", false}},
		Roles: []RoleOption{
			{Option{"viewer", "Viewer", true}, "Reads servers, tools, rules and gateways. Enough for countersign plan and export."},
			{Option{"auditor", "Auditor", false}, "Reads the audit log as well."},
			{Option{"admin", "Admin", true}, "Changes teams, grants and every server, and makes guardrails. For countersign apply."},
		},
	}
}

func issuedClient() IssuedClient {
	const secret = "csk_b3VyIG1vY2sgc2VjcmV0IGZvciBzY3JlZW5zaG90cw"
	return IssuedClient{
		ID: "cli_7Q2M", Name: "rules pipeline", Secret: secret,
		Config: "COUNTERSIGN_URL=https://countersign.acme.example\nCOUNTERSIGN_CLIENT_ID=cli_7Q2M\nCOUNTERSIGN_CLIENT_SECRET=" + secret + "\n",
	}
}

func clientStories() []story {
	p := page("Clients", "/clients")
	stopped, reader, mistaken, fresh := clients(), clients(), clientForm(), clientForm()
	stopped.Errors, stopped.Reason, stopped.Clients[1].Asked = Errors{"reason": "Say why in at most 500 characters, for the one who asks later."}, " ", true
	reader.May = false
	mistaken.Name, mistaken.Errors = "", Errors{"name": "Give it a name of 1 to 100 characters.", "team": "There is no such team."}
	fresh.Name, fresh.Roles[0].Selected, fresh.Roles[2].Selected = "", false, false
	return []story{
		{"clients", ClientsPage(p, clients())},
		{"clients stopped", ClientsPage(p, stopped)},
		{"clients reader", ClientsPage(flashed(p, "Revoked. Its tokens are refused at once."), reader)},
		{"clients empty", ClientsPage(p, Clients{May: true})},
		{"client-form", NewClientPage(p, fresh)},
		{"client form mistake", NewClientPage(p, mistaken)},
		{"client-issued", IssuedClientPage(p, issuedClient())},
	}
}

func hostileClients(p Page) []story {
	form, list := spoiled(clientForm()), spoiled(clients())
	form.Errors = Errors{"": hostile(""), "name": hostile("name"), "roles": hostile("roles"), "team": hostile("team")}
	list.Errors, list.Clients[0].Asked = Errors{"": hostile(""), "reason": hostile("reason")}, true
	return []story{{"clients", ClientsPage(p, list)}, {"client-form", NewClientPage(p, form)}, {"client-issued", IssuedClientPage(p, spoiled(issuedClient()))}}
}
