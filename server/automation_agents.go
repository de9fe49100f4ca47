package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/registry"
)

// agentOperations say who answers for which agent.
func (s *Server) agentOperations() []operation {
	read, change := machine(identity.ReadRegistry), machine(identity.ChangeAgent)
	return []operation{
		{get, "/v1/agents", read, "List agents that have an owner, newest first.", lists(s.listAgents)},
		{post, "/v1/agents", change, "Give an agent an owner, who never approves its calls.", makes(s, s.makeAgent)},
		{get, "/v1/agents/:id", read, "An agent and its owner.", reads(s.readAgent)},
		{put, "/v1/agents/:id", change, "Make an agent what is said. Its client stays.", changes(s, s.changeAgent)},
		{post, "/v1/agents/:id/end", change, "Take an agent's owner away, for good. The client can be given an owner again.", changes(s, s.stopAgent)},
		{get, "/v1/agents/:id/keys", read, "The keys of an agent, newest first, also those that are over. A person makes them, in the console.", lists(s.listAgentKeys)},
		{post, "/v1/agents/:id/keys/:key/end", change, "End a key, for good. Gateways refuse it as soon as the policy has reached them.", acts(s, s.stopAgentKey)},
		{get, "/v1/unowned-agents", read, "Agents that called or asked for approvals of late, and that nobody owns.", lists(s.listSeenAgents)},
		{get, "/v1/agent-owners", change, "People who can own an agent: those who have signed in once.", lists(s.listOwners)},
	}
}

type agentJSON struct {
	ID        string     `json:"id"`
	Agent     string     `json:"agent" doc:"The OAuth client, as tokens name it: azp, else client_id."`
	Name      string     `json:"name"`
	Owner     string     `json:"owner" doc:"The id of a person."`
	OwnerName string     `json:"owner_name"`
	OwnerGone bool       `json:"owner_gone" doc:"The owner's account is switched off."`
	Note      string     `json:"note"`
	Models    []string   `json:"models" doc:"Exact names, sorted: gateways take them for attested."`
	Keys      int        `json:"keys" doc:"How many of its keys are open."`
	CreatedAt time.Time  `json:"created_at"`
	ChangedAt time.Time  `json:"changed_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Version   int64      `json:"version"`
}

func (a agentJSON) version() int64  { return a.Version }
func (a agentJSON) address() string { return "/v1/agents/" + a.ID }

func agentOf(a registry.Agent) agentJSON {
	return agentJSON{
		ID: a.ID, Agent: a.Agent, Name: a.Name, Owner: a.OwnerID, OwnerName: a.OwnerName, OwnerGone: a.OwnerGone, Note: a.Note,
		Models: a.Models, Keys: a.Keys, CreatedAt: a.CreatedAt, ChangedAt: a.ChangedAt, EndedAt: a.EndedAt, Version: a.Version,
	}
}

type newAgentJSON struct {
	Agent string `json:"agent,omitempty" doc:"The OAuth client, as tokens name it. It does not change: leave it out of a change, or say the same."`
	Name  string `json:"name,omitempty" doc:"For people; left out, it is that of the client."`
	Owner string `json:"owner" doc:"The id of a person, as GET /v1/agent-owners gives it."`
	Note  string `json:"note,omitempty"`

	Models []string `json:"models,omitempty" doc:"The exact names of the models that it runs with."`
}

func (n newAgentJSON) agent() registry.NewAgent {
	return registry.NewAgent{Agent: n.Agent, Name: n.Name, OwnerID: n.Owner, Note: n.Note, Models: n.Models}
}

type agentQuery struct {
	Query string `query:"query" doc:"Part of the name or of the client."`
	Owner string `query:"owner" doc:"The id of a person."`
	Ended string `query:"ended" enum:"only,all" doc:"Those whose owner was taken away, or all; otherwise those that have one."`
	paging
}

func (s *Server) listAgents(c echo.Context, who identity.Principal, q agentQuery) (registry.Page[agentJSON], error) {
	found, err := s.registry.Agents(c.Request().Context(), who, registry.AgentFilter{
		Query: q.Query, OwnerID: q.Owner, Ended: q.Ended, After: q.After, Limit: q.Limit,
	})
	return each(found, agentOf), err
}

func (s *Server) readAgent(c echo.Context, who identity.Principal) (*agentJSON, error) {
	return said(agentOf)(s.registry.Agent(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makeAgent(c echo.Context, who identity.Principal, in newAgentJSON) (*agentJSON, error) {
	return said(agentOf)(s.registry.RegisterAgent(c.Request().Context(), who, in.agent()))
}

func (s *Server) changeAgent(c echo.Context, who identity.Principal, version int64, in newAgentJSON) (*agentJSON, error) {
	return said(agentOf)(s.registry.ChangeAgent(c.Request().Context(), who, c.Param("id"), version, in.agent()))
}

func (s *Server) stopAgent(c echo.Context, who identity.Principal, version int64, in reasonJSON) (*agentJSON, error) {
	return said(agentOf)(s.registry.EndAgent(c.Request().Context(), who, c.Param("id"), version, in.Reason))
}

// seenAgentJSON is an agent that nobody owns.
type seenAgentJSON struct {
	Agent  string    `json:"agent"`
	Calls  int       `json:"calls" doc:"Among the newest calls of all agents."`
	Asked  int       `json:"asked" doc:"For approvals, in thirty days."`
	LastAt time.Time `json:"last_at"`
}

func (s *Server) listSeenAgents(c echo.Context, who identity.Principal, _ everything) (registry.Page[seenAgentJSON], error) {
	seen, err := s.registry.SeenAgents(c.Request().Context(), who)
	return whole(seen, func(a registry.SeenAgent) seenAgentJSON { return seenAgentJSON(a) }), err
}

type ownerJSON struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

func (s *Server) listOwners(c echo.Context, who identity.Principal, _ everything) (registry.Page[ownerJSON], error) {
	owners, err := s.registry.Owners(c.Request().Context(), who)
	return whole(owners, func(o registry.Owner) ownerJSON { return ownerJSON(o) }), err
}

// agentKeyJSON is a key of an agent; the key itself is nowhere.
type agentKeyJSON struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Shown     string     `json:"shown" doc:"Its last characters, to tell it by."`
	CreatedBy string     `json:"created_by"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

func agentKeyOf(k registry.AgentKey) agentKeyJSON {
	return agentKeyJSON{
		ID: k.ID, Name: k.Name, Shown: k.Shown, CreatedBy: k.CreatedByName, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, EndedAt: k.EndedAt,
	}
}

func (s *Server) listAgentKeys(c echo.Context, who identity.Principal, _ everything) (registry.Page[agentKeyJSON], error) {
	keys, err := s.registry.AgentKeys(c.Request().Context(), who, c.Param("id"))
	return whole(keys, agentKeyOf), err
}

func (s *Server) stopAgentKey(c echo.Context, who identity.Principal, in reasonJSON) (*agentKeyJSON, error) {
	return said(agentKeyOf)(s.registry.EndAgentKey(c.Request().Context(), who, c.Param("id"), c.Param("key"), in.Reason))
}
