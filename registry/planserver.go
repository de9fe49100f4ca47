package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"countersign/desired"
)

// server plans what becomes of one server.
func (p *planner) server(want desired.Server) {
	p.wanted[want.Path("")] = true
	now, there := p.servers[strings.ToLower(want.Name)]
	switch {
	case !there:
		p.register(want)
	case now.State == Retired && want.State == desired.Retired:
	case now.State == Retired:
		p.invalid.Field(want.Path("name"), "This server is retired, and stays so. Register it by another name.")
	case want.State == desired.Retired:
		p.retire(now)
	default:
		p.change(now, want)
	}
}

func (p *planner) register(want desired.Server) {
	r := Registration{
		Name: want.Name, Title: want.Title, Description: want.Description, TeamID: "known by name", Labels: want.Labels, Location: locationOf(want),
		Requests: requestsOf(want),
	}
	good := p.fields(r.clean(), want.Path)
	good = p.needTeam(want.Team, want.Path("team")) && good
	if want.State == desired.Suspended || want.State == desired.Retired {
		p.invalid.Field(want.Path("state"), "A new server is proposed, and becomes active when its owner pins a tool.")
		good = false
	}
	if !good {
		return
	}
	want.Name, want.Title, want.Description, want.Labels, want.State = r.Name, r.Title, r.Description, r.Labels, ""
	want.ClientRequests = optional(textsOf(r.Requests))
	p.add(planStep{
		PlannedChange{
			Kind: Adds, What: "server", Key: want.Name, Name: titleOf(want), Fields: desired.Differences(nil, want.Fields()),
			Consequence: "a gateway looks at it; nothing of it can be called before its owner pins its tools",
		},
		nothing, // proposed: no gateway hears of it
		func(ctx context.Context, a *applier) error { return a.register(ctx, want.Team, r) },
	})
}

func titleOf(s desired.Server) string {
	if s.Title != "" {
		return s.Title
	}
	return s.Name
}

func locationOf(s desired.Server) Location {
	if s.Command != "" {
		return Location{Transport: Stdio, Command: s.Command, CommandDigest: s.CommandDigest}
	}
	return Location{Transport: StreamableHTTP, URL: s.URL}
}

func (p *planner) retire(now presentServer) {
	was := now.is
	is := was
	is.State = desired.Retired
	p.add(planStep{
		PlannedChange{
			Kind: Ends, What: "server", Key: was.Name, Name: titleOf(was), Fields: desired.Differences(was.Fields(), is.Fields()),
			Consequence: "nothing of it can be called any more, and it stays retired",
		},
		func(f *foreseen) { delete(f.servers, now.ID) },
		func(ctx context.Context, a *applier) error { return a.setState(ctx, now.ID, Retired) },
	})
}

// change plans the edit, the move and the change of state of a server that is there.
func (p *planner) change(now presentServer, want desired.Server) {
	want = now.completed(want)
	if len(desired.Differences(now.is.Fields(), want.Fields())) == 0 {
		return
	}
	requests := requestsOf(want)
	e := Edit{Title: &want.Title, Description: &want.Description, Labels: &want.Labels, Requests: &requests}
	to := locationOf(want)
	moves := want.URL != now.is.URL || want.Command != now.is.Command || want.CommandDigest != now.is.CommandDigest
	good := p.fields(e.clean(), want.Path)
	if moves {
		for field, message := range to.clean() {
			p.invalid.Field(want.Path(field), message)
			good = false
		}
	}
	good = p.needTeam(want.Team, want.Path("team")) && good
	if !good || !p.mayBecome(now, want) {
		return
	}
	want.Title, want.Description, want.Labels, want.ClientRequests = *e.Title, *e.Description, *e.Labels, optional(textsOf(*e.Requests))
	change := PlannedChange{
		Kind: Changes, What: "server", Key: want.Name, Name: titleOf(want), Fields: desired.Differences(now.is.Fields(), want.Fields()),
		Consequence: now.consequence(want, moves),
	}
	if len(change.Fields) == 0 {
		return
	}
	p.add(planStep{change, p.foreseeServer(now, want, to, moves), func(ctx context.Context, a *applier) error {
		return a.changeServer(ctx, now, want, e, to, moves)
	}})
}

// completed fills in what the set leaves as it is. The names of server and team are written as the registry does.
func (s presentServer) completed(want desired.Server) desired.Server {
	want.Name = s.is.Name
	if strings.EqualFold(want.Team, s.is.Team) {
		want.Team = s.is.Team
	}
	if want.ClientRequests == nil {
		want.ClientRequests = s.is.ClientRequests
	}
	want.ClientRequests = optional(textsOf(requestsOf(want)))
	if want.URL == "" && want.Command == "" {
		want.URL, want.Command, want.CommandDigest = s.is.URL, s.is.Command, s.is.CommandDigest
	}
	if want.State == "" || want.State == desired.Active && s.State == Proposed {
		want.State = s.is.State
	}
	return want
}

func (p *planner) mayBecome(now presentServer, want desired.Server) bool {
	to := State(want.State)
	if to == now.State || slices.Contains(next[now.State], to) {
		return true
	}
	p.invalid.Field(want.Path("state"), fmt.Sprintf("A server that is %s cannot become %s.", now.State, to))
	return false
}

// consequence says what follows from a change of a server that its fields do not say.
func (s presentServer) consequence(want desired.Server, moves bool) string {
	var all []string
	switch {
	case moves && s.Pinned == 1:
		all = append(all, "a new endpoint unpins its one tool")
	case moves && s.Pinned > 1:
		all = append(all, fmt.Sprintf("a new endpoint unpins all %d tools", s.Pinned))
	case moves:
		all = append(all, "a gateway looks at the new endpoint")
	}
	if !strings.EqualFold(want.Team, s.is.Team) {
		all = append(all, "the new team owns it, and is asked for approvals")
	}
	if to := State(want.State); to != s.State && to == Suspended {
		all = append(all, "every call to it is refused")
	} else if to != s.State && to == Active {
		all = append(all, "what is pinned of it can be called again")
	}
	return strings.Join(all, "; ")
}
