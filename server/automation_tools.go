package server

import (
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// toolJSON is a tool, a prompt or a resource. Its name and texts are the server's: hostile.
type toolJSON struct {
	ID         string          `json:"id"`
	Server     string          `json:"server"`
	Kind       policy.Kind     `json:"kind"`
	Name       string          `json:"name"`
	Risk       string          `json:"risk" doc:"read_only, write or destructive; empty before the first pin."`
	Labels     []string        `json:"labels" doc:"By which rules select it."`
	Held       bool            `json:"held" doc:"Calls wait until a person has looked at a change."`
	HeldAt     *time.Time      `json:"held_at,omitempty"`
	HeldReason string          `json:"held_reason,omitempty"`
	Offered    bool            `json:"offered" doc:"Served at the last look."`
	ObservedAt *time.Time      `json:"observed_at,omitempty"`
	Version    int64           `json:"version"`
	Pinned     *definitionJSON `json:"pinned,omitempty" doc:"Not there: it is not callable."`
	Served     *definitionJSON `json:"served,omitempty" doc:"What was served last."`
}

func (t toolJSON) version() int64 { return t.Version }

func toolOf(t registry.Tool) toolJSON {
	out := toolJSON{
		ID: t.ID, Server: t.ServerID, Kind: t.Kind, Name: t.Name, Risk: string(t.Risk), Labels: t.Labels, Held: t.Held(), HeldAt: t.HeldAt,
		HeldReason: t.HeldReason, Offered: t.Offered, ObservedAt: t.ObservedAt, Version: t.Version,
	}
	if t.Pinned != nil {
		pinned := definitionOf(*t.Pinned)
		out.Pinned = &pinned
	}
	if t.Served != nil {
		served := definitionOf(*t.Served)
		out.Served = &served
	}
	return out
}

// definitionJSON is one immutable version of a tool.
type definitionJSON struct {
	ID            string                   `json:"id"`
	Tool          string                   `json:"tool"`
	Number        int                      `json:"number" doc:"1 for the first version, and so on."`
	Digest        string                   `json:"digest"`
	ProposedRisk  string                   `json:"proposed_risk" doc:"From the server's own annotations."`
	Findings      []registry.Finding       `json:"findings"`
	Blocked       bool                     `json:"blocked" doc:"A finding keeps it from being pinned."`
	State         registry.DefinitionState `json:"state"`
	FirstSeenAt   time.Time                `json:"first_seen_at"`
	DecidedAt     *time.Time               `json:"decided_at,omitempty"`
	DecidedBy     string                   `json:"decided_by,omitempty"`
	DecidedByName string                   `json:"decided_by_name,omitempty"`
	Reason        string                   `json:"reason,omitempty"`
}

func definitionOf(d registry.Definition) definitionJSON {
	return definitionJSON{
		ID: d.ID, Tool: d.ToolID, Number: d.Number, Digest: d.Digest.String(), ProposedRisk: string(d.ProposedRisk),
		Findings: orNone(d.Findings), Blocked: d.Blocked(), State: d.State, FirstSeenAt: d.FirstSeenAt, DecidedAt: d.DecidedAt,
		DecidedBy: d.DecidedBy, DecidedByName: d.DecidedByName, Reason: d.Reason,
	}
}

// definitionTextJSON is a definition with its text.
type definitionTextJSON struct {
	definitionJSON
	Raw string `json:"raw" doc:"The JSON text as the server sent it, in a string so that it is exact to the byte."`
}

type toolQuery struct {
	Kind  policy.Kind `query:"kind"`
	Query string      `query:"query" doc:"Part of the name."`
	Only  string      `query:"only" enum:"held,pending,pinned,gone"`
	paging
}

func (s *Server) listTools(c echo.Context, who identity.Principal, q toolQuery) (registry.Page[toolJSON], error) {
	if _, err := s.registry.Server(c.Request().Context(), who, c.Param("id")); err != nil {
		return registry.Page[toolJSON]{}, err
	}
	found, err := s.registry.Tools(c.Request().Context(), who, registry.ToolFilter{
		ServerID: c.Param("id"), Kind: q.Kind, Query: q.Query, Only: q.Only, After: q.After, Limit: q.Limit,
	})
	return each(found, toolOf), err
}

func (s *Server) readTool(c echo.Context, who identity.Principal) (*toolJSON, error) {
	return said(toolOf)(s.registry.Tool(c.Request().Context(), who, c.Param("id")))
}

// definitionsOf gives the versions of the tool in the path; the tool has to be there.
func (s *Server) definitionsOf(c echo.Context, who identity.Principal) ([]registry.Definition, error) {
	if _, err := s.registry.Tool(c.Request().Context(), who, c.Param("id")); err != nil {
		return nil, err
	}
	return s.registry.Definitions(c.Request().Context(), who, c.Param("id"))
}

func (s *Server) listDefinitions(c echo.Context, who identity.Principal, _ everything) (registry.Page[definitionJSON], error) {
	found, err := s.definitionsOf(c, who)
	return whole(found, definitionOf), err
}

func (s *Server) readDefinition(c echo.Context, who identity.Principal) (*definitionTextJSON, error) {
	found, err := s.definitionsOf(c, who)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(found, func(d registry.Definition) bool { return d.ID == c.Param("definition") })
	if i < 0 {
		return nil, problem.New(problem.NotFound, "no_such_definition", "This tool has no such version.")
	}
	return &definitionTextJSON{definitionJSON: definitionOf(found[i]), Raw: string(found[i].Raw)}, nil
}

func (s *Server) listReaching(c echo.Context, who identity.Principal, _ everything) (registry.Page[grantJSON], error) {
	found, err := s.registry.GrantsReaching(c.Request().Context(), who, c.Param("id"))
	return whole(found, grantOf), err
}
