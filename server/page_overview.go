package server

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/delivery"
	"countersign/identity"
	"countersign/registry"
	"countersign/usage"
	"countersign/web"
)

// overview is what the first page is made of, read once.
type overview struct {
	servers  []registry.Server
	rollout  delivery.Rollout
	held     int                // tools, on servers that are not retired
	drifted  []registry.Drifted // the gravest
	risks    []registry.RiskProposal
	waiting  []approvals.Summary
	counts   approvals.Counts
	calls    usage.Outcomes
	recent   []usage.RecentCall
	hasGrant bool
	stopped  int    // suspensions in force
	blocked  string // why the latest change of the policy is not published
}

func (s *Server) overviewPage(c echo.Context, who identity.Principal) error {
	o, err := s.readOverview(c, who)
	if err != nil {
		return err
	}
	view := web.Overview{Tasks: slices.Concat(o.tasks(), s.alertTasks(c.Request().Context(), who), s.tellingTasks(c.Request().Context(), who)), Facts: o.facts(), Steps: s.firstSteps(o, who)}
	view.Headline, view.Sub = o.headline(len(view.Steps) > 0)
	for _, g := range o.rollout.Gateways {
		line := web.GatewayLine{ID: g.ID, Name: g.Name, State: string(g.State), Revision: g.Revision}
		if len(g.Instances) > 0 {
			seen := g.Instances[0].LastSeenAt
			line.SeenAt, line.Revision = &seen, g.Instances[0].ActiveRevision
		}
		view.Gateways = append(view.Gateways, line)
	}
	for _, call := range o.recent {
		view.Recent = append(view.Recent, web.RecentCall{
			At: call.At, Decision: call.Decision, Server: call.Server, Tool: call.Tool, Agent: call.Agent, Who: call.Subject, Reason: call.Reason,
		})
	}
	return render(c, http.StatusOK, web.OverviewPage(s.page(c, who, "Overview", "/"), view))
}

func (s *Server) readOverview(c echo.Context, who identity.Principal) (o overview, err error) {
	ctx := c.Request().Context()
	servers, err := s.registry.Servers(ctx, who, registry.ServerFilter{Limit: 200})
	if err != nil {
		return o, err
	}
	o.servers = servers.Items
	if o.rollout, err = s.delivery.Rollout(ctx, who); err != nil {
		return o, err
	}
	drifts, err := s.registry.Drifts(ctx, who, registry.DriftFilter{Limit: 1})
	if err != nil {
		return o, err
	}
	o.drifted = drifts.Items
	if o.held, err = s.registry.DriftCount(ctx, who); err != nil {
		return o, err
	}
	if o.risks, err = s.registry.RiskProposals(ctx, who, true, ""); err != nil {
		return o, err
	}
	waiting, err := s.approvals.List(ctx, who, approvals.Filter{Waiting: true, Limit: 1})
	if err != nil {
		return o, err
	}
	o.waiting = waiting.Items
	if o.counts, err = s.approvals.Counts(ctx, who); err != nil {
		return o, err
	}
	if o.calls, err = s.usage.CallsSince(ctx, who, s.cfg.Now().Add(-24*time.Hour)); err != nil {
		return o, err
	}
	if o.recent, err = s.usage.RecentCalls(ctx, who, 8); err != nil {
		return o, err
	}
	grants, err := s.registry.Grants(ctx, who, registry.GrantFilter{Limit: 1})
	if err != nil {
		return o, err
	}
	o.hasGrant = len(grants.Items) > 0
	suspended, err := s.registry.Suspensions(ctx, who)
	if err != nil {
		return o, err
	}
	o.stopped = len(suspended)
	audiences, err := s.delivery.Audiences(ctx, who)
	for _, a := range audiences {
		if o.blocked == "" {
			o.blocked = a.CompileError
		}
	}
	return o, err
}

// headline is the page in a sentence.
func (o overview) headline(firstRun bool) (string, string) {
	pending, active := 0, 0
	for _, server := range o.servers {
		pending += server.Pending
		if server.State == registry.Active {
			active++
		}
	}
	synced := o.rollout.Counts[delivery.Synced]
	sub := fmt.Sprintf("%d of %d servers active, %d of %d gateways on the current policy.", active, len(o.servers), synced, len(o.rollout.Gateways))
	var parts []string
	if o.counts.Waiting > 0 {
		parts = append(parts, count(o.counts.Waiting, "call", "calls"))
	}
	if tools := o.held + pending; tools > 0 {
		parts = append(parts, count(tools, "tool", "tools"))
	}
	switch {
	case len(parts) > 0:
		verb := " need"
		if len(parts) == 1 && strings.HasPrefix(parts[0], "One ") {
			verb = " needs"
		}
		return strings.Join(parts, " and ") + verb + " a person", sub
	case firstRun:
		return "On the way to the first governed call", sub
	}
	return "Nothing needs you", sub
}

var numbers = []string{"No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"}

func count(n int, one, many string) string {
	word := strconv.Itoa(n)
	if n < len(numbers) {
		word = numbers[n]
	}
	if n == 1 {
		return word + " " + one
	}
	return word + " " + many
}

func (o overview) tasks() []web.Task {
	var tasks []web.Task
	if len(o.waiting) > 0 {
		oldest := o.waiting[0]
		left := max(0, oldest.ExpiresAt.Sub(oldest.Now))
		tasks = append(tasks, web.Task{
			Icon: "octagon-alert", Tone: "destr", Title: count(o.counts.Waiting, "call waits", "calls wait") + " for a decision",
			Text: fmt.Sprintf("First: %s on %s, asked by %s for %s", oldest.ToolName, oldest.ServerName, oldest.Agent, callerName(oldest)),
			Due:  fmt.Sprintf("%d min left", int(left.Minutes())), Link: "/approvals/" + oldest.ID, Act: "Review calls", Primary: true,
		})
	}
	if o.blocked != "" {
		title := "The latest change of the policy is not published"
		if refutedByTests(o.blocked) {
			title = "A policy test keeps the latest change from being published"
		}
		tasks = append(tasks, web.Task{Icon: "octagon-alert", Tone: "destr", Title: title, Text: sentence(o.blocked), Link: "/policy", Act: "Open the policy"})
	}
	if o.stopped > 0 {
		tasks = append(tasks, web.Task{
			Icon: "ban", Tone: "destr", Title: count(o.stopped, "suspension is", "suspensions are") + " in force",
			Text: "Calls are denied on every gateway until somebody lifts it.", Link: "/policy/suspensions", Act: "Open suspensions",
		})
	}
	if len(o.drifted) > 0 {
		gravest := o.drifted[0]
		task := web.Task{
			Icon: "git-compare", Tone: "write", Title: count(o.held, "tool", "tools") + " changed after review",
			Text: fmt.Sprintf("First: %s on %s. Calls are held until somebody decides.", gravest.Name, gravest.ServerName), Link: "/drift", Act: "Compare versions",
		}
		if gravest.Severity == registry.SeverityCritical {
			task.Tone = "destr"
		}
		if gravest.HeldAt != nil {
			task.Due = "Held since " + gravest.HeldAt.UTC().Format("2 Jan 15:04 UTC")
		}
		tasks = append(tasks, task)
	}
	if len(o.risks) > 0 {
		last := o.risks[len(o.risks)-1]
		tasks = append(tasks, web.Task{
			Icon: "shield", Title: count(len(o.risks), "lower risk is", "lower risks are") + " proposed",
			Text: fmt.Sprintf("%s on %s, by %s. Another person decides.", last.ToolName, last.ServerName, last.ProposedByName), Link: "/drift", Act: "Decide",
		})
	}
	for _, server := range o.servers {
		if server.Pending > 0 && server.State != registry.Retired {
			tasks = append(tasks, web.Task{
				Icon: "server", Title: server.Name + " offers " + strings.ToLower(count(server.Pending, "thing", "things")) + " to pin",
				Text: "Nothing of it is callable before that.", Link: "/servers/" + server.ID, Act: "Review",
			})
		}
	}
	for _, g := range o.rollout.Gateways {
		if g.State != delivery.Synced && len(g.Instances) > 0 {
			tasks = append(tasks, web.Task{
				Icon: "radio-tower", Title: g.Name + " is not on the current policy",
				Text: "It goes on enforcing what it holds until its lease ends, then it denies.", Link: "/gateways/" + g.ID, Act: "Open gateway",
			})
		}
	}
	return tasks
}

func (o overview) facts() []web.Fact {
	active := 0
	for _, server := range o.servers {
		if server.State == registry.Active {
			active++
		}
	}
	return []web.Fact{
		{Name: "Calls, last 24 h", Value: strconv.FormatInt(o.calls.Calls, 10), Note: fmt.Sprintf("%d allowed", o.calls.Allowed)},
		{Name: "Denied", Value: strconv.FormatInt(o.calls.Denied, 10), Note: fmt.Sprintf("%d held for a person", o.calls.Held)},
		{Name: "Decided, last 24 h", Value: strconv.Itoa(o.counts.DecidedLastDay), Note: fmt.Sprintf("%d waiting", o.counts.Waiting)},
		{Name: "Active servers", Value: strconv.Itoa(active), Note: fmt.Sprintf("of %d registered", len(o.servers))},
	}
}

// firstSteps is the way of a new installation to its first governed call; nothing once that was made.
func (s *Server) firstSteps(o overview, who identity.Principal) []web.Step {
	if o.calls.Allowed > 0 || len(o.recent) > 0 && o.hasGrant || who.Can(identity.ChangeGrant, "") != nil {
		return nil
	}
	pinned, server := false, registry.Server{}
	for _, candidate := range o.servers {
		if candidate.Pinned > 0 {
			pinned, server = true, candidate
		}
	}
	add := web.Step{Title: "Add a server and pin its tools", Text: "A gateway looks at what it offers; you decide the risk of each tool.", Done: pinned, Link: "/servers/new", Act: "Register a server"}
	if len(o.servers) > 0 && !pinned {
		add.Link, add.Act = "/servers/"+o.servers[0].ID, "Review "+o.servers[0].Name
	}
	call := web.Step{Title: "Make the first governed call", Text: "Point an agent at the gateway, or run this from the folder of the checkout."}
	if s.cfg.Sample != nil {
		call.Command = s.cfg.Sample.Example
	}
	steps := []web.Step{
		{Title: "Sign in", Text: "Your groups at the identity provider decide what you may do.", Done: true},
		add,
		{Title: "Give somebody a grant", Text: "Nobody can call anything yet. Start with tools that cannot change anything.", Done: o.hasGrant, Link: "/grants/new?server=" + server.ID, Act: "New grant"},
		call,
	}
	for i := range steps {
		if !steps[i].Done {
			steps[i].Now = true
			break
		}
	}
	return steps
}
