package server

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/desired"
	"countersign/identity"
	"countersign/registry"
)

// planLimit leaves room for the largest set.
const planLimit = 16 << 20

const yamlType = "application/yaml"

// planOperations keep the registry in files. An apply may be sent again without a key: it names the plan that it does,
// and once that is done there is another plan.
func (s *Server) planOperations() []operation {
	read := machine(identity.ReadPolicy)
	return []operation{
		{post, "/v1/plan", read, "Say what it takes to make the registry what files say. Changes nothing.", exchanges(planLimit, s.postPlan, http.StatusOK)},
		{post, "/v1/apply", read, "Do a plan that was seen, all of it or nothing. 412 plan_changed: it is no longer the plan.", exchanges(planLimit, s.postApply, http.StatusOK)},
		{get, "/v1/export", read, "Everything that has neither ended nor retired, as files say it: JSON, or YAML by Accept.", s.exports()},
	}
}

// planRequest is the body of POST /v1/plan.
type planRequest struct {
	Set   desired.Set `json:"set"`
	Prune bool        `json:"prune,omitempty" doc:"End what the set does not name. Without it, that stays."`
}

// applyRequest is the body of POST /v1/apply.
type applyRequest struct {
	planRequest
	Digest string `json:"digest" doc:"That of the plan that was seen."`
}

func (s *Server) postPlan(c echo.Context, who identity.Principal, in planRequest) (*registry.Plan, int, error) {
	plan, err := s.registry.Plan(c.Request().Context(), who, in.Set, registry.PlanOptions{Prune: in.Prune})
	return &plan, http.StatusOK, err
}

func (s *Server) postApply(c echo.Context, who identity.Principal, in applyRequest) (*registry.Plan, int, error) {
	plan, err := s.registry.Apply(c.Request().Context(), who, in.Set, registry.PlanOptions{Prune: in.Prune}, in.Digest)
	return &plan, http.StatusOK, err
}

// exports is the deed that gives the registry as a set.
func (s *Server) exports() deed {
	h := func(c echo.Context, who identity.Principal) error {
		if err := readQuery(c.QueryParams(), &everything{}); err != nil {
			return err
		}
		set, err := s.registry.Export(c.Request().Context(), who)
		if err != nil {
			return err
		}
		c.Response().Header().Set("Vary", "Accept")
		if !strings.Contains(c.Request().Header.Get("Accept"), yamlType) {
			return c.JSON(http.StatusOK, set)
		}
		text, err := desired.Write(set)
		if err != nil {
			return err
		}
		return c.Blob(http.StatusOK, yamlType, text)
	}
	return deed{handler: h, replies: []reply{{status: http.StatusOK, contents: []content{
		{echo.MIMEApplicationJSON, reflect.TypeFor[desired.Set]()}, {media: yamlType},
	}}}}
}
