package server

import (
	"time"

	"countersign/client"
	"countersign/policy"
	"countersign/registry"
)

// The words of automation. They are types of their own, so that the domain may change without them.

type serverJSON struct {
	ID            string                 `json:"id"`
	Name          string                 `json:"name" doc:"Reverse DNS with one slash, like com.acme/orders."`
	Title         string                 `json:"title"`
	Description   string                 `json:"description"`
	Team          string                 `json:"team" doc:"The id of the team that owns it."`
	TeamName      string                 `json:"team_name"`
	Labels        []string               `json:"labels"`
	Requests      []policy.ClientRequest `json:"client_requests" doc:"What the server may ask of clients, of elicitation, roots and sampling."`
	State         registry.State         `json:"state"`
	Version       int64                  `json:"version" doc:"As in the ETag."`
	CreatedBy     string                 `json:"created_by"`
	CreatedByName string                 `json:"created_by_name"`
	CreatedAt     time.Time              `json:"created_at"`
	ChangedAt     time.Time              `json:"changed_at"`
	Endpoint      *endpointJSON          `json:"endpoint,omitempty"`
	Tools         countsJSON             `json:"tools"`
}

func (s serverJSON) version() int64  { return s.Version }
func (s serverJSON) address() string { return "/v1/servers/" + s.ID }

type countsJSON struct {
	Offered     int        `json:"offered" doc:"Served at the last look; prompts and resources count too."`
	Pinned      int        `json:"pinned"`
	ReadOnly    int        `json:"read_only" doc:"Pinned, with this risk."`
	Write       int        `json:"write"`
	Destructive int        `json:"destructive"`
	Held        int        `json:"held" doc:"Pinned, and changed since."`
	Pending     int        `json:"pending" doc:"Never pinned."`
	CheckedAt   *time.Time `json:"checked_at,omitempty"`
}

type endpointJSON struct {
	ID            string             `json:"id"`
	Transport     registry.Transport `json:"transport"`
	URL           string             `json:"url,omitempty"`
	Command       string             `json:"command,omitempty"`
	CommandDigest string             `json:"command_digest,omitempty"`
	Digest        string             `json:"digest"`
	CreatedAt     time.Time          `json:"created_at"`
	EndedAt       *time.Time         `json:"ended_at,omitempty"`
}

func serverOf(s registry.Server) serverJSON {
	out := serverJSON{
		ID: s.ID, Name: s.Name, Title: s.Title, Description: s.Description, Team: s.TeamID, TeamName: s.TeamName,
		Labels: orNone(s.Labels), Requests: orNone(s.Requests), State: s.State, Version: s.Version, CreatedBy: s.CreatedBy, CreatedByName: s.CreatedByName,
		CreatedAt: s.CreatedAt, ChangedAt: s.ChangedAt,
		Tools: countsJSON{
			Offered: s.Offered, Pinned: s.Pinned, ReadOnly: s.ReadOnly, Write: s.Write, Destructive: s.Destructive,
			Held: s.Held, Pending: s.Pending, CheckedAt: s.CheckedAt,
		},
	}
	if s.Endpoint.ID != "" {
		endpoint := endpointOf(s.Endpoint)
		out.Endpoint = &endpoint
	}
	return out
}

func endpointOf(e registry.Endpoint) endpointJSON {
	return endpointJSON{
		ID: e.ID, Transport: e.Transport, URL: e.URL, Command: e.Command, CommandDigest: e.CommandDigest,
		Digest: e.Digest.String(), CreatedAt: e.CreatedAt, EndedAt: e.EndedAt,
	}
}

type discoveryJSON struct {
	ID              string                  `json:"id"`
	Server          string                  `json:"server" doc:"The id of the server."`
	ServerName      string                  `json:"server_name"`
	Endpoint        string                  `json:"endpoint"`
	State           registry.DiscoveryState `json:"state"`
	Gateway         string                  `json:"gateway,omitempty" doc:"Who leased it last."`
	GatewayName     string                  `json:"gateway_name,omitempty"`
	Attempts        int                     `json:"attempts"`
	Steps           []client.Step           `json:"steps"`
	ServerInfo      registry.ServerInfo     `json:"server_info" doc:"What the server calls itself."`
	Offered         int                     `json:"offered"`
	Error           string                  `json:"error,omitempty"`
	RequestedBy     string                  `json:"requested_by"`
	RequestedByName string                  `json:"requested_by_name"`
	CreatedAt       time.Time               `json:"created_at"`
	NotBefore       time.Time               `json:"not_before"`
	FinishedAt      *time.Time              `json:"finished_at,omitempty"`
	InReach         int                     `json:"in_reach" doc:"Gateways seen in the last minute that could do it."`
}

func (d discoveryJSON) address() string { return "/v1/discoveries/" + d.ID }

func discoveryOf(d registry.Discovery) discoveryJSON {
	return discoveryJSON{
		ID: d.ID, Server: d.ServerID, ServerName: d.ServerName, Endpoint: d.EndpointID, State: d.State, Gateway: d.GatewayID,
		GatewayName: d.GatewayName, Attempts: d.Attempts, Steps: orNone(d.Steps), ServerInfo: d.ServerInfo, Offered: d.Offered,
		Error: d.Error, RequestedBy: d.RequestedBy, RequestedByName: d.RequestedByName, CreatedAt: d.CreatedAt,
		NotBefore: d.NotBefore, FinishedAt: d.FinishedAt, InReach: d.InReach,
	}
}

// registeredJSON is a server with the discovery that was opened for it.
type registeredJSON struct {
	Server    serverJSON    `json:"server"`
	Discovery discoveryJSON `json:"discovery"`
}

func (r registeredJSON) version() int64  { return r.Server.Version }
func (r registeredJSON) address() string { return r.Server.address() }

type locationJSON struct {
	Transport     registry.Transport `json:"transport"`
	URL           string             `json:"url,omitempty"`
	Command       string             `json:"command,omitempty" doc:"A stdio command that gateways know by name and digest."`
	CommandDigest string             `json:"command_digest,omitempty"`
}

func (l locationJSON) location() registry.Location {
	return registry.Location{Transport: l.Transport, URL: l.URL, Command: l.Command, CommandDigest: l.CommandDigest}
}

type newServerJSON struct {
	Name        string                 `json:"name" doc:"Reverse DNS with one slash, like com.acme/orders."`
	Title       string                 `json:"title,omitempty"`
	Description string                 `json:"description,omitempty"`
	Team        string                 `json:"team" doc:"The id of the team that owns it."`
	Labels      []string               `json:"labels,omitempty"`
	Requests    []policy.ClientRequest `json:"client_requests,omitempty" doc:"What the server may ask of clients: elicitation, roots, sampling. Some needs a person in a session."`
	locationJSON
}

type newStateJSON struct {
	State  registry.State `json:"state" doc:"active, suspended or retired."`
	Reason string         `json:"reason,omitempty"`
}

// reasonJSON says why something ends.
type reasonJSON struct {
	Reason string `json:"reason,omitempty"`
}

type teamJSON struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Groups    []string  `json:"groups" doc:"Groups of the identity provider whose members are in the team."`
	Members   int       `json:"members" doc:"People who are in it by name."`
	Servers   int       `json:"servers" doc:"Not retired."`
	CreatedAt time.Time `json:"created_at"`
}

func (t teamJSON) address() string { return "/v1/teams/" + t.ID }

func teamOf(t registry.Team) teamJSON {
	return teamJSON{ID: t.ID, Name: t.Name, Groups: orNone(t.IDPGroups), Members: t.Members, Servers: t.Servers, CreatedAt: t.CreatedAt}
}

// staffedTeamJSON is a team with those who are in it by name.
type staffedTeamJSON struct {
	teamJSON
	People []memberJSON `json:"people"`
}

type memberJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type newTeamJSON struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"`
	People []string `json:"people,omitempty" doc:"Ids of people."`
}

// orNone keeps an empty list from becoming null.
func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// each makes the words of a page.
func each[From, To any](found registry.Page[From], word func(From) To) registry.Page[To] {
	out := registry.Page[To]{Items: make([]To, 0, len(found.Items)), Next: found.Next}
	for _, item := range found.Items {
		out.Items = append(out.Items, word(item))
	}
	return out
}

// whole is a list without pages.
func whole[From, To any](all []From, word func(From) To) registry.Page[To] {
	return each(registry.Page[From]{Items: all}, word)
}
