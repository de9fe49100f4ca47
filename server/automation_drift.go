package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

// driftedJSON is a tool that waits for a person to look at a change.
type driftedJSON struct {
	toolJSON
	ServerName     string     `json:"server_name"`
	ServerTitle    string     `json:"server_title"`
	Team           string     `json:"team"`
	TeamName       string     `json:"team_name"`
	Severity       string     `json:"severity" doc:"low, medium, high or critical."`
	HeldNote       string     `json:"held_note,omitempty" doc:"Why a person keeps it held."`
	HeldNoteBy     string     `json:"held_note_by,omitempty"`
	HeldNoteByName string     `json:"held_note_by_name,omitempty"`
	HeldNoteAt     *time.Time `json:"held_note_at,omitempty"`
}

func driftedOf(d registry.Drifted) driftedJSON {
	return driftedJSON{
		toolJSON: toolOf(d.Tool), ServerName: d.ServerName, ServerTitle: d.ServerTitle, Team: d.TeamID, TeamName: d.TeamName,
		Severity: string(d.Severity), HeldNote: d.HeldNote, HeldNoteBy: d.HeldNoteBy, HeldNoteByName: d.HeldNoteByName, HeldNoteAt: d.HeldNoteAt,
	}
}

// differenceJSON is one difference between what is pinned and what is served.
type differenceJSON struct {
	Where   string `json:"where" doc:"A JSON Pointer into the definition."`
	Kind    string `json:"kind" doc:"wider, new_power, narrower, breaking, text_only, annotations or output."`
	Before  string `json:"before" doc:"The server's own text; empty: it was not there."`
	After   string `json:"after" doc:"The server's own text; empty: it is not there."`
	Meaning string `json:"meaning" doc:"What it means, in our words."`
}

type driftJSON struct {
	driftedJSON
	Differences []differenceJSON `json:"differences"`
}

type driftQuery struct {
	Server   string `query:"server" doc:"The id of a server."`
	Team     string `query:"team" doc:"The id of a team."`
	Severity string `query:"severity" enum:"low,medium,high,critical"`
	Query    string `query:"query" doc:"Part of the name of the tool or of the server."`
	paging
}

func (s *Server) listDrift(c echo.Context, who identity.Principal, q driftQuery) (registry.Page[driftedJSON], error) {
	found, err := s.registry.Drifts(c.Request().Context(), who, registry.DriftFilter{
		ServerID: q.Server, TeamID: q.Team, Severity: registry.Severity(q.Severity), Query: q.Query, After: q.After, Limit: q.Limit,
	})
	return each(found, driftedOf), err
}

func (s *Server) readDrift(c echo.Context, who identity.Principal) (*driftJSON, error) {
	drifted, differences, err := s.registry.Drift(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return nil, err
	}
	out := driftJSON{driftedJSON: driftedOf(drifted), Differences: []differenceJSON{}}
	for _, d := range differences {
		out.Differences = append(out.Differences, differenceJSON{
			Where: d.Where, Kind: string(d.Kind), Before: d.Before, After: d.After, Meaning: d.Meaning,
		})
	}
	return &out, nil
}

// proposalJSON is one person's wish that a tool counts as less risky.
type proposalJSON struct {
	ID             string      `json:"id"`
	Tool           string      `json:"tool"`
	ToolName       string      `json:"tool_name"`
	Server         string      `json:"server"`
	ServerName     string      `json:"server_name"`
	Team           string      `json:"team"`
	Definition     string      `json:"definition" doc:"What the proposer had read."`
	From           policy.Risk `json:"from"`
	To             policy.Risk `json:"to"`
	Reason         string      `json:"reason"`
	ProposedBy     string      `json:"proposed_by"`
	ProposedByName string      `json:"proposed_by_name"`
	State          string      `json:"state" doc:"open, approved, declined, withdrawn or superseded."`
	CreatedAt      time.Time   `json:"created_at"`
	DecidedBy      string      `json:"decided_by,omitempty"`
	DecidedByName  string      `json:"decided_by_name,omitempty"`
	DecidedAt      *time.Time  `json:"decided_at,omitempty"`
	DecisionReason string      `json:"decision_reason,omitempty"`
}

func proposalOf(p registry.RiskProposal) proposalJSON {
	return proposalJSON{
		ID: p.ID, Tool: p.ToolID, ToolName: p.ToolName, Server: p.ServerID, ServerName: p.ServerName, Team: p.TeamID,
		Definition: p.DefinitionID, From: p.From, To: p.To, Reason: p.Reason, ProposedBy: p.ProposedBy, ProposedByName: p.ProposedByName,
		State: p.State, CreatedAt: p.CreatedAt, DecidedBy: p.DecidedBy, DecidedByName: p.DecidedByName, DecidedAt: p.DecidedAt,
		DecisionReason: p.DecisionReason,
	}
}

type proposalQuery struct {
	Open   bool   `query:"open" doc:"Only those that nobody has decided."`
	Server string `query:"server" doc:"The id of a server."`
}

func (s *Server) listProposals(c echo.Context, who identity.Principal, q proposalQuery) (registry.Page[proposalJSON], error) {
	found, err := s.registry.RiskProposals(c.Request().Context(), who, q.Open, q.Server)
	return whole(found, proposalOf), err
}
