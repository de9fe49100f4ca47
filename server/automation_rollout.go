package server

import (
	"cmp"
	"net/http"
	"reflect"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// rolloutOperations say how far a change of the policy has come, and stop a tool, an agent or a person at once.
func (s *Server) rolloutOperations() []operation {
	rules := machine(identity.ReadPolicy)
	return []operation{
		{get, "/v1/policy/rollout", machine(identity.ReadRollout), "Who enforces a generation of the policy, since when. A gateway sees itself.", asks(s.readReach)},
		{get, "/v1/suspensions", rules, "The tools, agents and people that are suspended, newest first.", lists(s.listSuspensions)},
		{post, "/v1/suspensions", machine(identity.ReadRegistry), "Suspend a tool, an agent or a person at once. To lift it a person ends the guardrail.", makes(s, s.makeSuspension)},
	}
}

// reachQuery is the query of GET /v1/policy/rollout.
type reachQuery struct {
	Revision int `query:"revision" max:"9007199254740991" doc:"The generation, as a change answers it in Policy-Revision. Without it, the present one."`
	Wait     int `query:"wait" max:"3600" doc:"Seconds to wait until every live gateway enforces it: at most 55, whatever is asked."`
}

type effectsJSON struct {
	Revision int64          `json:"revision" doc:"The generation."`
	Since    time.Time      `json:"since" doc:"When it was made."`
	Done     bool           `json:"done" doc:"Every gateway that is alive enforces it."`
	Counts   map[string]int `json:"counts" doc:"Gateways by state."`
	Gateways []effectJSON   `json:"gateways"`
}

type effectJSON struct {
	ID          string                 `json:"id"`
	Name        string                 `json:"name"`
	State       delivery.InstanceState `json:"state" doc:"Against the generation, whatever is current. The worst of its live instances."`
	Reason      string                 `json:"reason,omitempty" doc:"Why it is not SYNCED."`
	Carries     int64                  `json:"carries" doc:"The first revision of its policy that carries the generation; 0: none is published yet."`
	PublishedMS int64                  `json:"published_ms,omitempty" doc:"From the change to that revision."`
	TookMS      int64                  `json:"took_ms,omitempty" doc:"From the change until the last of its instances ran it. Only when SYNCED."`
	AtMost      bool                   `json:"at_most,omitempty" doc:"An instance runs a later revision by now: it took no longer than that."`
	Instances   []instanceJSON         `json:"instances" doc:"Those seen in the last day. Their state is against what is current."`
}

func effectsOf(e delivery.Effects) effectsJSON {
	out := effectsJSON{Revision: e.Generation, Since: e.Since, Done: e.Done(), Counts: map[string]int{}, Gateways: []effectJSON{}}
	for state, n := range e.Counts() {
		out.Counts[string(state)] = n
	}
	for _, g := range e.Gateways {
		out.Gateways = append(out.Gateways, effectJSON{
			ID: g.Gateway.ID, Name: g.Gateway.Name, State: g.State, Reason: g.Reason, Carries: g.Carries,
			PublishedMS: g.Published.Milliseconds(), TookMS: g.Took.Milliseconds(), AtMost: g.AtMost,
			Instances: gatewayOf(g.Gateway).Instances,
		})
	}
	return out
}

func (s *Server) readReach(c echo.Context, who identity.Principal, q reachQuery) (*effectsJSON, error) {
	ctx, cancel := s.parked(c.Request().Context())
	defer cancel()
	return said(effectsOf)(s.delivery.AwaitReach(ctx, who, int64(q.Revision), time.Duration(q.Wait)*time.Second))
}

// asks is a deed that gives one thing, selected by a query.
func asks[Q, T any](fn func(c echo.Context, who identity.Principal, q Q) (*T, error)) deed {
	h := func(c echo.Context, who identity.Principal) error {
		var q Q
		if err := readQuery(c.QueryParams(), &q); err != nil {
			return err
		}
		found, err := fn(c, who, q)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, found)
	}
	return deed{handler: h, query: reflect.TypeFor[Q](), replies: []reply{replyOf[T](http.StatusOK)}}
}

type suspensionJSON struct {
	Kind      registry.SuspendedKind `json:"kind"`
	Server    string                 `json:"server,omitempty" doc:"The tool's."`
	Name      string                 `json:"name" doc:"Of the tool, the agent, or the person as issuer|subject."`
	Revision  int64                  `json:"revision" doc:"The policy's generation that first said so, for GET /v1/policy/rollout."`
	Guardrail guardrailJSON          `json:"guardrail" doc:"What does it."`
}

func (s suspensionJSON) address() string { return s.Guardrail.address() }

func suspensionOf(from registry.Suspension) suspensionJSON {
	out := suspensionJSON{Revision: from.Generation, Guardrail: guardrailOf(from.Guardrail)}
	out.Kind, out.Server, out.Name = from.Suspended()
	return out
}

func (s *Server) listSuspensions(c echo.Context, who identity.Principal, _ everything) (registry.Page[suspensionJSON], error) {
	found, err := s.registry.Suspensions(c.Request().Context(), who)
	page := registry.Page[suspensionJSON]{}
	for _, f := range found {
		page.Items = append(page.Items, suspensionOf(f))
	}
	return page, err
}

// newSuspensionJSON names one of a tool, an agent and a person.
type newSuspensionJSON struct {
	Tool    string `json:"tool,omitempty" doc:"Its id. For its owning team and admins."`
	Agent   string `json:"agent,omitempty" doc:"The id of its OAuth client. For admins."`
	Issuer  string `json:"issuer,omitempty" doc:"Of a person: their identity provider. For admins."`
	Subject string `json:"subject,omitempty" doc:"Of a person: what the provider calls them."`
	Reason  string `json:"reason,omitempty"`
}

func (s *Server) makeSuspension(c echo.Context, who identity.Principal, in newSuspensionJSON) (*suspensionJSON, error) {
	ctx, person := c.Request().Context(), cmp.Or(in.Issuer, in.Subject) != ""
	var made registry.Suspension
	var err error
	switch {
	case in.Tool != "" && in.Agent == "" && !person:
		made.Guardrail, made.Generation, err = s.registry.SuspendTool(ctx, who, in.Tool, in.Reason)
	case in.Tool == "" && in.Agent != "" && !person:
		made.Guardrail, made.Generation, err = s.registry.SuspendAgent(ctx, who, in.Agent, in.Reason)
	case in.Tool == "" && in.Agent == "" && person:
		made.Guardrail, made.Generation, err = s.registry.SuspendPerson(ctx, who, in.Issuer, in.Subject, in.Reason)
	default:
		return nil, problem.New(problem.Invalid, "invalid_suspension", "Name one of a tool, an agent, and a person by issuer and subject. Nothing was suspended.")
	}
	return said(suspensionOf)(made, err)
}
