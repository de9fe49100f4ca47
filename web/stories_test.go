package web

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// story is one page in one condition.
type story struct {
	name string
	page templ.Component
}

var noon = time.Date(2026, 11, 22, 14, 31, 0, 0, time.UTC)

func before(d time.Duration) *time.Time { t := noon.Add(-d); return &t }

const digest = "sha256:9c1f42ab6de1f0c7a5b83e2d4417c90e5a6b7c8d9e0f112233445566778e07d"

func everywhere() map[string]bool {
	allowed := map[string]bool{"/servers/new": true, suspending: true}
	for _, g := range append(navigation, group{entries: usagePages}) {
		for _, e := range g.entries {
			allowed[e.address] = true
		}
	}
	return allowed
}

func page(title, section string) Page {
	return Page{
		Title: title, Section: section, Person: Person{Name: "Priya Nair", Roles: "Approver, Payments"}, Allowed: everywhere(),
		Waiting: 3, Held: 2, CSRF: "csrf-of-priya", Now: noon, SignedIn: true, Focus: section == "/approvals",
	}
}

func flashed(p Page, words string) Page { p.Flash = words; return p }

func watched(p Page) Page { p.FlashLink = "/policy/rollout/414"; return p }

// stories gives every page as people will meet it: full, empty, and after a mistake.
func stories() []story {
	all := []story{}
	for _, some := range [][]story{approvalStories(), serverStories(), oneServerStories(), driftStories(), accessStories(), importStories(), clientStories(), agentStories(), guardrailStories(), ruleStories(), policyStories(), evidenceStories(), doorStories(), sprawlStories(), channelStories(), usageStories(), alertStories()} {
		all = append(all, some...)
	}
	return all
}

// subjects are the views that the hostile stories fill, each with the page that shows it.
func hostileStories() []story {
	p := spoiled(page("Approvals", "/approvals"))
	p.Allowed = everywhere()
	p.Focus = true
	withErrors := func(e Errors, names ...string) Errors {
		e = maps.Clone(e)
		if e == nil {
			e = Errors{}
		}
		for _, n := range append(names, "") {
			e[n] = hostile(n)
		}
		return e
	}
	waiting, decided, discovery, register := spoiled(queue()), spoiled(history()), spoiled(lookDone()), spoiled(registerForm())
	waiting.Chosen.Arguments = hostileArguments()
	waiting.Chosen.Previous.Changes = []ArgumentChange{
		{Path: []string{hostile("key")}, Before: quoted(hostile("value")), After: hostileArguments()},
		{Path: []string{"secrets", "inner"}, After: quoted("hunter2-hunter2")},
	}
	waiting.Chosen.Since = spoiled(timelineOf("approval.voted", "somebody"))
	waiting.Chosen.Errors = withErrors(waiting.Chosen.Errors, "reason")
	register.Errors = withErrors(nil, "name", "title", "team", "description", "transport", "url", "command")
	discovery.Review.Errors = withErrors(nil, "reason")
	failed, gateway := spoiled(lookFailed()), spoiled(gatewayForm())
	gateway.Errors = withErrors(nil, "name", "kind", "servers", "resource")
	settings := spoiled(serverSettings())
	settings.Errors = withErrors(nil, "title", "description", "labels")
	review, tool := spoiled(driftReview()), spoiled(oneTool())
	review.Errors, tool.Errors = withErrors(nil, "risk", "reason"), withErrors(nil, "risk", "reason")
	tool.Comparison = &Comparison{A: "v1", B: "v2", Texts: []TextChange{{"Description", poison, poison + poison}}, Differences: spoiled(compared()).Differences}
	audit := spoiled(auditLog())
	audit.Errors = withErrors(nil, "kind", "actor", "target", "from", "to")
	return append(slices.Concat(hostileImports(p), hostileClients(p), hostileAgents(p), hostileGuardrails(p), hostilePolicy(p), hostileChannels(p), hostileUsage(p)), []story{
		{"sprawl", SprawlPage(p, spoiled(sprawl()))},
		{"overview", OverviewPage(p, spoiled(overview()))},
		{"approvals", ApprovalsPage(p, waiting)},
		{"decided", ApprovalsPage(p, decided)},
		{"requests", RequestsPage(p, spoiled(myRequests()))},
		{"reviews", ReviewsPage(p, spoiled(emergencyReviews()))},
		{"approval report", ReportPage(p, spoiled(report()))},
		{"servers", ServersPage(p, spoiled(serverList()))},
		{"register", NewServerPage(p, register)},
		{"discovery", DiscoveryPage(p, discovery)},
		{"discovery failed", DiscoveryPage(p, failed)},
		{"server", ServerPage(p, spoiled(serverTools()))},
		{"server versions", ServerVersionsPage(p, spoiled(serverVersions()))},
		{"server access", ServerAccessPage(p, spoiled(serverAccess()))},
		{"server traffic", ServerTrafficPage(p, spoiled(serverTraffic()))},
		{"server settings", ServerSettingsPage(p, settings)},
		{"drift", DriftPage(p, spoiled(driftQueue()))},
		{"drift review", DriftReviewPage(p, review)},
		{"tool", ToolPage(p, tool)},
		{"guardrails", GuardrailsPage(p, spoiled(guardrails()))},
		{"teams", TeamsPage(p, spoiled(teams()))},
		{"gateways", GatewaysPage(p, spoiled(Gateways{Gateways: gatewayList().Gateways, Ahead: gatewayList().Gateways[:1]}))},
		{"gateway-form", NewGatewayPage(p, gateway)},
		{"enrolled", EnrolledPage(p, spoiled(enrolled()))},
		{"gateway", GatewayPage(p, spoiled(oneGateway()))},
		{"audit", AuditPage(p, audit)},
		{"me", MePage(p, spoiled(me()))},
		{"sign-in", SignInPage(spoiled(signIn()))},
		{"problem", ProblemPage(p, spoiled(outage()))},
		{"problem outside", ProblemPage(Page{}, spoiled(outage()))},
	}...)
}

func approvalStories() []story {
	p := page("Approvals", "/approvals")
	mistaken, own, first := queue(), queue(), overview()
	mistaken.Chosen.Errors = Errors{"reason": "Say why, so that the agent and the caller can be told."}
	own.Chosen.MayDecide, own.Chosen.Standing = false, "You asked for this call, so somebody else decides."
	first.Headline, first.Sub, first.Steps, first.Tasks, first.Recent = "On the way to the first governed call", "1 of 1 servers active, 1 of 1 gateways on the current policy.", firstSteps(), nil, nil
	first.Facts = []Fact{{"Calls, last 24 h", "0", "0 allowed"}, {"Denied", "0", "0 held for a person"}, {"Decided, last 24 h", "0", "0 waiting"}, {"Active servers", "1", "of 1 registered"}}
	chosen := queue()
	chosen.Chosen = nil
	for i := range chosen.Waiting {
		chosen.Waiting[i].Chosen = false
	}
	narrowed := history()
	narrowed.Chosen, narrowed.Filter = nil, ApprovalFilter{Tool: "drop_table", By: "Ines Roth", From: "tomorrow", Emergency: true, States: []Option{{"", "Any", true}, {"denied", "Denied", false}}, Errors: Errors{"from": "Write a date as 2026-11-22."}}
	narrowed.Chips = []Chip{{Name: "tool: drop_table", Address: "/approvals?state=decided&by=Ines+Roth"}, {Name: "emergencies", Address: "/approvals?state=decided"}}
	late, lost := queue(), history()
	late.Alarm = "Channels that fail: ops-chat."
	late.Chosen.SignIn, late.Chosen.Form, late.Chosen.Typed = "/auth/login?return=%2Fapprovals%2Fap1&max_age=300", "emergency", "Nobody answers."
	late.Chosen.Since = timelineOf("approval.terms_changed", "Countersign")
	late.Chosen.Errors = Errors{"": "Something happened to this request while you looked. Reload the page and decide again.", "ticket": "Name the ticket or incident."}
	lost.Chosen.MayRevoke, lost.Chosen.MaySettle, lost.Chosen.Execution, lost.Chosen.State, lost.Chosen.PurgedAt = false, true, "indeterminate", "closed", before(time.Minute)
	lost.Chosen.Errors = Errors{"ran": "Say whether it ran."}
	return []story{
		{"approval late", ApprovalsPage(p, late)},
		{"approval settle", ApprovalsPage(p, lost)},
		{"history", ApprovalsPage(p, narrowed)},
		{"requests", RequestsPage(page("My requests", "/approvals"), myRequests())},
		{"reviews", ReviewsPage(page("Reviews", "/approvals"), emergencyReviews())},
		{"approval-report", ReportPage(page("How approving goes", "/approvals"), report())},
		{"overview", OverviewPage(page("Overview", "/"), overview())},
		{"first-run", OverviewPage(page("Overview", "/"), first)},
		{"overview empty", OverviewPage(page("Overview", "/"), Overview{Headline: "Nothing needs you", Sub: "0 of 0 servers active."})},
		{"approvals", ApprovalsPage(p, chosen)},
		{"approval", ApprovalsPage(p, queue())},
		{"approval mistake", ApprovalsPage(p, mistaken)},
		{"approval own", ApprovalsPage(p, own)},
		{"approval decided", ApprovalsPage(flashed(p, "Approved. The identical call goes through once."), history())},
		{"approvals empty", ApprovalsPage(p, Approvals{})},
		{"approvals decided empty", ApprovalsPage(p, Approvals{Decided: true})},
	}
}

func serverStories() []story {
	p := page("Servers", "/servers")
	live := p
	live.Focus = true
	mistaken, blocked, reader := registerForm(), lookDone(), lookDone()
	mistaken.Errors = Errors{"name": "Two words with a slash, as com.acme/orders.", "url": "An address begins with https://."}
	blocked.Review.Errors = Errors{"": "Lowering the risk of cancel_order needs a reason.", "reason": "Say why the risk is lower than what was pinned."}
	reader.Review.MayPin, reader.MayChange = false, false
	waiting := looking()
	waiting.State, waiting.InReach, waiting.Gateway = "waiting", 0, ""
	for i := range waiting.Steps {
		waiting.Steps[i].State, waiting.Steps[i].Detail, waiting.Steps[i].MS = "waiting", "", 0
	}
	again := looking()
	again.State, again.Error = "waiting", "The connection was refused: nothing listens at that address."
	return []story{
		{"discovery again", DiscoveryPage(live, again)},
		{"servers", ServersPage(p, serverList())},
		{"servers filtered", ServersPage(p, Servers{Filtered: true, Query: "x", First: "/servers", CSV: "/servers.csv?q=x", States: serverList().States})},
		{"servers empty", ServersPage(p, Servers{MayRegister: true, CSV: "/servers.csv", States: serverList().States})},
		{"register", NewServerPage(p, registerForm())},
		{"register mistake", NewServerPage(p, mistaken)},
		{"register no command", NewServerPage(p, NewServer{Teams: registerForm().Teams})},
		{"discovery waiting", DiscoveryPage(live, waiting)},
		{"discovery running", DiscoveryPage(live, looking())},
		{"discovery failed", DiscoveryPage(p, lookFailed())},
		{"discovery", DiscoveryPage(p, lookDone())},
		{"discovery mistake", DiscoveryPage(p, blocked)},
		{"discovery reader", DiscoveryPage(p, reader)},
	}
}

func accessStories() []story {
	g := page("Guardrails", "/guardrails")
	return []story{
		{"guardrails", GuardrailsPage(g, guardrails())},
		{"guardrails empty", GuardrailsPage(g, Guardrails{})},
		{"teams", TeamsPage(page("Teams", "/teams"), teams())},
		{"teams empty", TeamsPage(page("Teams", "/teams"), Teams{May: true, Errors: Errors{"name": "A team needs a name."}})},
	}
}

func evidenceStories() []story {
	g, a := page("Gateways", "/gateways"), page("Audit log", "/audit")
	mistaken, wrong, unchosen := gatewayForm(), auditLog(), auditLog()
	mistaken.Errors = Errors{"name": "Another gateway has this name.", "resource": "An address begins with https://."}
	wrong.Errors, wrong.Events, wrong.Chosen = Errors{"from": "A day, as 2026-11-22."}, nil, nil
	unchosen.Chosen = nil
	return []story{
		{"gateways", GatewaysPage(g, gatewayList())},
		{"gateways empty", GatewaysPage(g, Gateways{May: true})},
		{"gateway-form", NewGatewayPage(g, NewGateway{Servers: "*"})},
		{"gateway form mistake", NewGatewayPage(g, mistaken)},
		{"enrolled", EnrolledPage(g, enrolled())},
		{"gateway", GatewayPage(g, oneGateway())},
		{"gateway empty", GatewayPage(g, Gateway{GatewayRow: GatewayRow{ID: "gw9", Name: "edge-new", State: "PENDING", Kind: "proxy"}, May: true})},
		{"audit", AuditPage(a, unchosen)},
		{"audit-event", AuditPage(a, auditLog())},
		{"audit mistake", AuditPage(a, wrong)},
	}
}

func doorStories() []story {
	failed := signIn()
	failed.Error, failed.Linked = "None of your groups has a role here. Ask an admin to map one of them.", false
	return []story{
		{"sign-in", SignInPage(signIn())},
		{"sign-in failed", SignInPage(failed)},
		{"signed out", SignInPage(SignIn{Provider: "login.acme.example", Login: "/auth/login", Done: true})},
		{"me", MePage(page("You", "/me"), me())},
		{"me empty", MePage(page("You", "/me"), Me{Name: "Lea Novak"})},
		{"problem", ProblemPage(page("There is nothing here", ""), Problem{Status: 404, Title: "There is nothing here", Message: "There is nothing at this address.", Back: "/", BackTo: "Go to the overview", Request: "K4MZ7Q"})},
		{"outage", ProblemPage(Page{}, outage())},
	}
}

func lines(n int) string { return strings.TrimSuffix(strings.Repeat("one more line\n", n), "\n") }
