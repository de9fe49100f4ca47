package server

import (
	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

type serverQuery struct {
	Query string         `query:"query" doc:"Part of the name or the title."`
	Team  string         `query:"team" doc:"The id of a team."`
	State registry.State `query:"state"`
	Label string         `query:"label"`
	Held  bool           `query:"held" doc:"Only those with a held tool."`
	paging
}

func (s *Server) listServers(c echo.Context, who identity.Principal, q serverQuery) (registry.Page[serverJSON], error) {
	found, err := s.registry.Servers(c.Request().Context(), who, registry.ServerFilter{
		Query: q.Query, TeamID: q.Team, State: q.State, Label: q.Label, Held: q.Held, After: q.After, Limit: q.Limit,
	})
	return each(found, serverOf), err
}

func (s *Server) readServer(c echo.Context, who identity.Principal) (*serverJSON, error) {
	return said(serverOf)(s.registry.Server(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makeServer(c echo.Context, who identity.Principal, in newServerJSON) (*registeredJSON, error) {
	return registered(s.registry.Register(c.Request().Context(), who, registry.Registration{
		Name: in.Name, Title: in.Title, Description: in.Description, TeamID: in.Team, Labels: in.Labels, Requests: in.Requests,
		Location: in.location(),
	}))
}

func registered(server registry.Server, discovery registry.Discovery, err error) (*registeredJSON, error) {
	if err != nil {
		return nil, err
	}
	return &registeredJSON{Server: serverOf(server), Discovery: discoveryOf(discovery)}, nil
}

// editServerJSON is what changes of a server's entry; what is left out stays.
type editServerJSON struct {
	Title       *string                 `json:"title,omitempty"`
	Description *string                 `json:"description,omitempty"`
	Labels      *[]string               `json:"labels,omitempty"`
	Requests    *[]policy.ClientRequest `json:"client_requests,omitempty" doc:"What the server may ask of clients: elicitation, roots, sampling. More than before needs a person in a session."`
	Team        *string                 `json:"team,omitempty" doc:"The id of another team: a transfer of ownership, which needs a reason."`
	Reason      string                  `json:"reason,omitempty"`
}

func (s *Server) editServer(c echo.Context, who identity.Principal, version int64, in editServerJSON) (*serverJSON, error) {
	return said(serverOf)(s.registry.Edit(c.Request().Context(), who, c.Param("id"), version, registry.Edit{
		Title: in.Title, Description: in.Description, Labels: in.Labels, Requests: in.Requests, TeamID: in.Team,
	}, in.Reason))
}

func (s *Server) changeState(c echo.Context, who identity.Principal, version int64, in newStateJSON) (*serverJSON, error) {
	return said(serverOf)(s.registry.SetState(c.Request().Context(), who, c.Param("id"), version, in.State, in.Reason))
}

func (s *Server) moveServer(c echo.Context, who identity.Principal, version int64, in locationJSON) (*registeredJSON, error) {
	return registered(s.registry.Move(c.Request().Context(), who, c.Param("id"), version, in.location()))
}

func (s *Server) listEndpoints(c echo.Context, who identity.Principal, _ everything) (registry.Page[endpointJSON], error) {
	if _, err := s.registry.Server(c.Request().Context(), who, c.Param("id")); err != nil {
		return registry.Page[endpointJSON]{}, err
	}
	found, err := s.registry.Endpoints(c.Request().Context(), who, c.Param("id"))
	return whole(found, endpointOf), err
}

func (s *Server) listDiscoveries(c echo.Context, who identity.Principal, _ everything) (registry.Page[discoveryJSON], error) {
	if _, err := s.registry.Server(c.Request().Context(), who, c.Param("id")); err != nil {
		return registry.Page[discoveryJSON]{}, err
	}
	found, err := s.registry.Discoveries(c.Request().Context(), who, c.Param("id"))
	return whole(found, discoveryOf), err
}

func (s *Server) makeDiscovery(c echo.Context, who identity.Principal, _ none) (*discoveryJSON, error) {
	return said(discoveryOf)(s.registry.RequestDiscovery(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) readDiscovery(c echo.Context, who identity.Principal) (*discoveryJSON, error) {
	return said(discoveryOf)(s.registry.Discovery(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) stopDiscovery(c echo.Context, who identity.Principal, _ none) (*discoveryJSON, error) {
	return said(discoveryOf)(s.registry.CancelDiscovery(c.Request().Context(), who, c.Param("id")))
}

// said puts what the domain gave into words, unless it gave an error.
func said[From, To any](word func(From) To) func(From, error) (*To, error) {
	return func(thing From, err error) (*To, error) {
		if err != nil {
			return nil, err
		}
		out := word(thing)
		return &out, nil
	}
}
