package server

import (
	"context"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/registry"
)

func (s *Server) listTeams(c echo.Context, who identity.Principal, _ everything) (registry.Page[teamJSON], error) {
	found, err := s.registry.Teams(c.Request().Context(), who)
	return whole(found, teamOf), err
}

func (s *Server) readTeam(c echo.Context, who identity.Principal) (*staffedTeamJSON, error) {
	team, err := s.registry.Team(c.Request().Context(), who, c.Param("id"))
	return s.staffed(c.Request().Context(), who, team, err)
}

func (s *Server) makeTeam(c echo.Context, who identity.Principal, in newTeamJSON) (*staffedTeamJSON, error) {
	team, err := s.registry.CreateTeam(c.Request().Context(), who, in.team())
	return s.staffed(c.Request().Context(), who, team, err)
}

func (s *Server) editTeam(c echo.Context, who identity.Principal, in newTeamJSON) (*staffedTeamJSON, error) {
	team, err := s.registry.EditTeam(c.Request().Context(), who, c.Param("id"), in.team())
	return s.staffed(c.Request().Context(), who, team, err)
}

func (n newTeamJSON) team() registry.NewTeam {
	return registry.NewTeam{Name: n.Name, IDPGroups: n.Groups, PersonIDs: n.People}
}

// staffed adds the people of the team.
func (s *Server) staffed(ctx context.Context, who identity.Principal, team registry.Team, err error) (*staffedTeamJSON, error) {
	if err != nil {
		return nil, err
	}
	members, err := s.registry.TeamMembers(ctx, who, team.ID)
	if err != nil {
		return nil, err
	}
	out := staffedTeamJSON{teamJSON: teamOf(team), People: []memberJSON{}}
	for _, m := range members {
		out.People = append(out.People, memberJSON{ID: m.ID, Name: m.Name})
	}
	return &out, nil
}

type grantQuery struct {
	Ended string `query:"ended" enum:"only,all" doc:"only: those that ended; all: also those."`
	Query string `query:"query" doc:"Part of the name."`
	paging
}

func (s *Server) listGrants(c echo.Context, who identity.Principal, q grantQuery) (registry.Page[grantJSON], error) {
	found, err := s.registry.Grants(c.Request().Context(), who, registry.GrantFilter{
		Ended: q.Ended, Query: q.Query, After: q.After, Limit: q.Limit,
	})
	return each(found, grantOf), err
}

func (s *Server) readGrant(c echo.Context, who identity.Principal) (*grantJSON, error) {
	return said(grantOf)(s.registry.Grant(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makeGrant(c echo.Context, who identity.Principal, in newGrantJSON) (*grantJSON, error) {
	return said(grantOf)(s.registry.CreateGrant(c.Request().Context(), who, registry.NewGrant(in)))
}

func (s *Server) changeGrant(c echo.Context, who identity.Principal, version int64, in newGrantJSON) (*grantJSON, error) {
	return said(grantOf)(s.registry.ChangeGrant(c.Request().Context(), who, c.Param("id"), version, registry.NewGrant(in)))
}

func (s *Server) stopGrant(c echo.Context, who identity.Principal, version int64, in reasonJSON) (*grantJSON, error) {
	return said(grantOf)(s.registry.EndGrant(c.Request().Context(), who, c.Param("id"), version, in.Reason))
}

func (s *Server) preview(c echo.Context, who identity.Principal, in previewJSON) (*reachJSON, error) {
	found, err := s.registry.Preview(c.Request().Context(), who, in.Resource)
	if err != nil {
		return nil, err
	}
	out := reachJSON{Items: whole(found, reachedOf).Items}
	if in.Condition != "" {
		if out.Findings, err = s.registry.ConditionFindings(c.Request().Context(), who, in.Condition, in.Resource); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

type endedQuery struct {
	Ended bool `query:"ended" doc:"Also those that ended."`
}

func (s *Server) listGuardrails(c echo.Context, who identity.Principal, q endedQuery) (registry.Page[guardrailJSON], error) {
	found, err := s.registry.Guardrails(c.Request().Context(), who, q.Ended)
	return whole(found, guardrailOf), err
}

func (s *Server) readGuardrail(c echo.Context, who identity.Principal) (*guardrailJSON, error) {
	return said(guardrailOf)(s.registry.Guardrail(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makeGuardrail(c echo.Context, who identity.Principal, in newGuardrailJSON) (*guardrailJSON, error) {
	return said(guardrailOf)(s.registry.CreateGuardrail(c.Request().Context(), who, registry.NewGuardrail(in)))
}

func (s *Server) changeGuardrail(c echo.Context, who identity.Principal, version int64, in newGuardrailJSON) (*guardrailJSON, error) {
	return said(guardrailOf)(s.registry.ChangeGuardrail(c.Request().Context(), who, c.Param("id"), version, registry.NewGuardrail(in)))
}

// stopGuardrail is for those who look for it: a person has to do this, and the domain says so.
func (s *Server) stopGuardrail(c echo.Context, who identity.Principal, version int64, in reasonJSON) (*guardrailJSON, error) {
	return said(guardrailOf)(s.registry.EndGuardrail(c.Request().Context(), who, c.Param("id"), version, in.Reason))
}

type gatewayQuery struct {
	Revoked bool `query:"revoked" doc:"Also those that were revoked."`
}

func (s *Server) listGateways(c echo.Context, who identity.Principal, q gatewayQuery) (registry.Page[gatewayJSON], error) {
	found, err := s.delivery.Gateways(c.Request().Context(), who, q.Revoked)
	return whole(found, gatewayOf), err
}

func (s *Server) readGateway(c echo.Context, who identity.Principal) (*gatewayJSON, error) {
	return said(gatewayOf)(s.delivery.Gateway(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) readRollout(c echo.Context, who identity.Principal) (*rolloutJSON, error) {
	return said(func(r delivery.Rollout) rolloutJSON {
		out := rolloutJSON{Done: r.Done(), Counts: map[string]int{}}
		for state, n := range r.Counts {
			out.Counts[string(state)] = n
		}
		return out
	})(s.delivery.Rollout(c.Request().Context(), who))
}
