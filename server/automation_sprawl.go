package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

// sprawlJSON says what is there and perhaps need not be, and what it costs.
type sprawlJSON struct {
	Since   *time.Time         `json:"since,omitempty" doc:"Of the first call record: before it nobody knows of use."`
	Totals  sprawlTotalsJSON   `json:"totals"`
	Servers []sprawlServerJSON `json:"servers" doc:"The most expensive first, at most 200."`
}

type sprawlTotalsJSON struct {
	Servers     int `json:"servers"`
	NoOwner     int `json:"no_owner" doc:"Servers whose team has neither a group nor a member."`
	Tools       int `json:"tools"`
	Tokens      int `json:"tokens" doc:"An estimate of what all lists cost a model."`
	NeverCalled int `json:"never_called" doc:"Pinned tools."`
	Unused      int `json:"unused" doc:"Pinned tools that were not called for 90 days."`
	Duplicates  int `json:"duplicates" doc:"Tools whose very name another server offers."`
}

type sprawlServerJSON struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	TeamName    string     `json:"team_name"`
	State       string     `json:"state"`
	Owned       bool       `json:"owned"`
	Tools       int        `json:"tools"`
	Pinned      int        `json:"pinned"`
	Tokens      int        `json:"tokens" doc:"An estimate."`
	NeverCalled int        `json:"never_called"`
	Unused      int        `json:"unused"`
	Duplicates  int        `json:"duplicates"`
	LastCall    *time.Time `json:"last_call,omitempty"`
}

type sprawlToolJSON struct {
	Tool       string      `json:"tool" doc:"Its id."`
	Name       string      `json:"name" doc:"The server's text."`
	Kind       policy.Kind `json:"kind"`
	Server     string      `json:"server"`
	ServerName string      `json:"server_name"`
	TeamName   string      `json:"team_name"`
	Risk       string      `json:"risk" doc:"Empty before the first pin."`
	Pinned     bool        `json:"pinned"`
	Tokens     int         `json:"tokens" doc:"An estimate; 0: not counted yet."`
	Calls90    int         `json:"calls_90_days"`
	LastCall   *time.Time  `json:"last_call,omitempty"`
	Duplicates []string    `json:"duplicates" doc:"Servers that offer one of the same name."`
}

func (s *Server) readSprawl(c echo.Context, who identity.Principal) (*sprawlJSON, error) {
	found, err := s.delivery.Sprawl(c.Request().Context(), who, delivery.SprawlFilter{Limit: 1})
	if err != nil {
		return nil, err
	}
	t := found.Totals
	out := sprawlJSON{Since: found.Since, Servers: []sprawlServerJSON{}, Totals: sprawlTotalsJSON{
		Servers: t.Servers, NoOwner: t.NoOwner, Tools: t.Tools, Tokens: t.Tokens, NeverCalled: t.NeverCalled, Unused: t.Unused, Duplicates: t.Duplicates,
	}}
	for _, v := range found.Servers {
		out.Servers = append(out.Servers, sprawlServerJSON{
			ID: v.ID, Name: v.Name, TeamName: v.TeamName, State: v.State, Owned: v.Owned, Tools: v.Tools, Pinned: v.Pinned,
			Tokens: v.Tokens, NeverCalled: v.NeverCalled, Unused: v.Unused, Duplicates: v.Duplicates, LastCall: v.LastCall,
		})
	}
	return &out, nil
}

type sprawlQuery struct {
	Show  string `query:"show" enum:"no_owner,never_called,unused,duplicate"`
	Query string `query:"query" doc:"Part of the name of a server or a tool."`
	paging
}

func (s *Server) listSprawl(c echo.Context, who identity.Principal, q sprawlQuery) (registry.Page[sprawlToolJSON], error) {
	found, err := s.delivery.Sprawl(c.Request().Context(), who, delivery.SprawlFilter{
		Show: q.Show, Query: q.Query, After: q.After, Limit: q.Limit,
	})
	return each(found.Tools, func(t delivery.SprawlTool) sprawlToolJSON {
		return sprawlToolJSON{
			Tool: t.ToolID, Name: t.Name, Kind: t.Kind, Server: t.ServerID, ServerName: t.ServerName, TeamName: t.TeamName,
			Risk: string(t.Risk), Pinned: t.Pinned, Tokens: t.Tokens, Calls90: t.Calls90, LastCall: t.LastCall, Duplicates: orNone(t.Duplicates),
		}
	}), err
}
