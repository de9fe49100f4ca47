package server

import (
	"net/http"

	"countersign/identity"
)

// automationOperations are what automation clients use: all that the console can do, except what needs a person. Which
// team's things a client may change is decided by the domain, as it is for people.
func (s *Server) automationOperations() []operation {
	read, rules, gateways := machine(identity.ReadRegistry), machine(identity.ReadPolicy), machine(identity.ReadGateways)
	register, grant := machine(identity.RegisterServer), machine(identity.ChangeGrant)
	return []operation{
		{get, "/v1/servers", read, "List servers by name.", lists(s.listServers)},
		{post, "/v1/servers", register, "Register a server. Its first discovery is opened; nothing is callable before a person pins it.", makes(s, s.makeServer)},
		{post, "/v1/imports", register, "Propose the servers of a server.json or of a registry's listing.", exchanges(importLimit, s.postImport, http.StatusOK, http.StatusCreated)},
		{get, "/v1/servers/:id", read, "A server.", reads(s.readServer)},
		{patch, "/v1/servers/:id", read, "Change what a server is called, how it is labelled, and which team owns it.", changes(s, s.editServer)},
		{post, "/v1/servers/:id/state", read, "Suspend, resume or retire a server.", changes(s, s.changeState)},
		{post, "/v1/servers/:id/move", read, "Give a server another endpoint. Everything is unpinned by it.", changes(s, s.moveServer)},
		{get, "/v1/servers/:id/endpoints", read, "Where a server is and was, newest first.", lists(s.listEndpoints)},
		{get, "/v1/servers/:id/discoveries", read, "The last looks at a server, newest first.", lists(s.listDiscoveries)},
		{post, "/v1/servers/:id/discoveries", read, "Ask a gateway to look at a server.", makes(s, s.makeDiscovery)},
		{get, "/v1/discoveries/:id", read, "A look at a server, and how far it is.", reads(s.readDiscovery)},
		{post, "/v1/discoveries/:id/cancel", read, "Cancel a look at a server.", acts(s, s.stopDiscovery)},

		{get, "/v1/servers/:id/tools", read, "What a server offers or offered: tools, prompts and resources.", lists(s.listTools)},
		{get, "/v1/tools/:id", read, "A tool, with what is pinned and what is served.", reads(s.readTool)},
		{get, "/v1/tools/:id/definitions", read, "All versions of a tool, newest first.", lists(s.listDefinitions)},
		{get, "/v1/tools/:id/definitions/:definition", read, "A version of a tool, with its text as the server sent it.", reads(s.readDefinition)},
		{get, "/v1/tools/:id/grants", rules, "The grants that reach a tool: who is affected when it is held.", lists(s.listReaching)},
		{get, "/v1/drift", read, "What is held because it changed, the gravest first.", lists(s.listDrift)},
		{get, "/v1/drift/:id", read, "In what a tool differs from what is pinned.", reads(s.readDrift)},
		{get, "/v1/sprawl", read, "What is there and perhaps need not be, and what it costs.", reads(s.readSprawl)},
		{get, "/v1/sprawl/tools", read, "The tools of that report, the most expensive first.", lists(s.listSprawl)},
		{get, "/v1/risk-proposals", read, "Proposals to lower a risk, newest first. People make them and decide.", lists(s.listProposals)},

		{get, "/v1/teams", read, "List teams by name.", lists(s.listTeams)},
		{post, "/v1/teams", grant, "Make a team.", makes(s, s.makeTeam)},
		{get, "/v1/teams/:id", read, "A team, with its people.", reads(s.readTeam)},
		{put, "/v1/teams/:id", grant, "Make a team what is said: its name, groups and people.", acts(s, s.editTeam)},

		{get, "/v1/grants", rules, "List grants, newest first.", lists(s.listGrants)},
		{post, "/v1/grants", grant, "Make a grant.", makes(s, s.makeGrant)},
		{post, "/v1/grants/preview", rules, "What a resource reaches today. Changes nothing.", acts(s, s.preview)},
		{get, "/v1/grants/:id", rules, "A grant.", reads(s.readGrant)},
		{put, "/v1/grants/:id", grant, "Make a grant what is said. Its key stays.", changes(s, s.changeGrant)},
		{post, "/v1/grants/:id/end", grant, "End a grant, for good.", changes(s, s.stopGrant)},
		{get, "/v1/guardrails", rules, "List guardrails, newest first.", lists(s.listGuardrails)},
		{post, "/v1/guardrails", grant, "Make a guardrail.", makes(s, s.makeGuardrail)},
		{get, "/v1/guardrails/:id", rules, "A guardrail.", reads(s.readGuardrail)},
		{put, "/v1/guardrails/:id", grant, "Make a guardrail what is said. Its key stays, and only a person changes more than its name and reason.", changes(s, s.changeGuardrail)},
		{post, "/v1/guardrails/:id/end", grant, "End a guardrail. A person has to, in a session: always 403 interactive_only.", changes(s, s.stopGuardrail)},

		{get, "/v1/audit", machine(identity.ReadAudit), "The audit log, newest first.", lists(s.listAudit)},
		{get, "/v1/gateways", gateways, "List gateways, and what their instances run.", lists(s.listGateways)},
		{get, "/v1/gateways/:id", gateways, "A gateway.", reads(s.readGateway)},
		{get, "/v1/rollout", gateways, "Who runs the current policy.", reads(s.readRollout)},
	}
}
