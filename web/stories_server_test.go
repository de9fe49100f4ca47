package web

// oneServerStories are the tabs of a server.
func oneServerStories() []story {
	p := page("Servers", "/servers")
	live := p
	live.Focus = true
	stopped, stopping, unseen, filtered := serverTools(), serverTools(), serverTools(), serverTools()
	stopped.State, stopped.Review, stopped.Effects = "suspended", nil, effectsOf("SYNCED", "SYNCED", "SYNCED")
	stopping.State, stopping.Review, stopping.Effects = "suspended", nil, effectsOf("SYNCED", "PENDING", "STALE", "OFFLINE")
	stopping.Effects.Lines[1].Carries = 0
	unseen.State, unseen.Effects, unseen.Tools = "suspended", effectsOf(), nil
	filtered.Tools, filtered.Filtered, filtered.Review, filtered.Query, filtered.First, filtered.Next = nil, true, nil, "nothing", "/servers/srv1?q=nothing", ""
	closed, reader, retired, elsewhere, mistaken := serverAccess(), serverSettings(), serverSettings(), serverSettings(), serverSettings()
	closed.Grants, closed.Guardrails, closed.State = nil, nil, "suspended"
	reader.MayChange = false
	retired.State = "retired"
	elsewhere.State, elsewhere.Form = "suspended", "transfer"
	elsewhere.Errors = Errors{"transfer-reason": "Say why, for the one who asks later."}
	mistaken.Errors = Errors{"labels": "A label has at most 60 characters."}
	return []story{
		{"server", ServerPage(p, serverTools())},
		{"server suspending", ServerPage(live, stopping)},
		{"server suspended", ServerPage(flashed(p, "Suspended. Below is which gateway denies its calls already."), stopped)},
		{"server unseen", ServerPage(p, unseen)},
		{"server filtered", ServerPage(p, filtered)},
		{"server empty", ServerPage(p, ServerTools{Server: Server{ServerLine: ServerLine{Name: "com.acme/new"}, Tab: "tools"}})},
		{"server-versions", ServerVersionsPage(p, serverVersions())},
		{"server versions empty", ServerVersionsPage(p, ServerVersions{Server: serverOf("versions")})},
		{"server-access", ServerAccessPage(p, serverAccess())},
		{"server access closed", ServerAccessPage(p, closed)},
		{"server-traffic", ServerTrafficPage(p, serverTraffic())},
		{"server traffic none", ServerTrafficPage(p, ServerTraffic{Server: serverOf("traffic")})},
		{"server-settings", ServerSettingsPage(p, serverSettings())},
		{"server settings mistake", ServerSettingsPage(p, mistaken)},
		{"server settings transfer", ServerSettingsPage(p, elsewhere)},
		{"server settings reader", ServerSettingsPage(p, reader)},
		{"server settings retired", ServerSettingsPage(p, retired)},
	}
}
