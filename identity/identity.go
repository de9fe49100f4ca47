// Package identity says who is acting on the control plane and what they may do there.
//
// Do not confuse it with policy.Principal, which is who calls a tool through a gateway. An identity.Principal
// is a signed-in person, a gateway or an automation client on the console or on /v1, or the system itself.
//
// Permission is a table ([rules]): an action is allowed to roles, and, where it concerns something a team
// owns, to the members of that team. What is not in the table is refused. Domain methods ask on their first
// line:
//
//	if err := who.Can(identity.PinDefinition, server.TeamID); err != nil {
package identity

import (
	"slices"
	"time"

	"countersign/internal/problem"
)

// Role is what an identity provider's groups map to.
type Role string

// The roles of the console. Owner is not mapped from a group: it is held by the members of a server's team.
const (
	Viewer   Role = "viewer"
	Auditor  Role = "auditor"
	Approver Role = "approver"
	Owner    Role = "owner"
	Admin    Role = "admin"
)

// Kind tells what sort of principal is acting.
type Kind string

// The kinds of principal; they are the actor kinds of an audit event.
const (
	Anonymous Kind = "anonymous"
	Person    Kind = "person"
	Gateway   Kind = "gateway"
	Client    Kind = "client"
	System    Kind = "system"
)

// Principal is who is acting: the result of authentication, read from the database for this very request.
// The zero value is anonymous and may do nothing.
type Principal struct {
	Kind    Kind
	ID      string // people.id, gateways.id or api_clients.id
	Name    string // for display; never for a decision
	Email   string
	Issuer  string // people only: who vouches for Subject
	Subject string
	Groups  []string
	Roles   []Role
	Teams   []string // ids of the teams it is a member of: a person by group or by name, a client by its record

	SessionID string // people only: an interactive session
	AuthTime  time.Time
	AMR       []string
	ACR       string // the authentication context class that the provider named

	GatewayID  string // gateways only
	AudienceID string

	IP        string // for the audit log
	RequestID string
}

// Action names something that needs permission.
type Action string

// The actions of the control plane.
const (
	ReadRegistry    Action = "registry.read"
	RegisterServer  Action = "server.register"
	ChangeServer    Action = "server.change"
	PinDefinition   Action = "definition.pin"
	ChangeGrant     Action = "grant.change"
	ReadPolicy      Action = "policy.read"
	EnrolGateway    Action = "gateway.enrol"
	ReadGateways    Action = "gateway.read"
	ReadRollout     Action = "rollout.read" // a gateway reads about itself
	ReadApprovals   Action = "approval.read"
	Vote            Action = "approval.vote"
	ReadChannels    Action = "channel.read"
	ChangeChannel   Action = "channel.change" // where people are told: it creates secrets
	TestChannel     Action = "channel.test"
	ChangeAgent     Action = "agent.change" // who owns an agent, what models it runs with, and the end of its keys
	IssueKey        Action = "agent.key"    // a new key for an agent: it creates a secret
	ReadAudit       Action = "audit.read"
	ReadUsage       Action = "usage.read"    // what calls add up to, and no names of callers
	ReadCallers     Action = "usage.callers" // who called, and single records of calls
	ChangePrice     Action = "price.change"  // what models cost
	ReadAlerts      Action = "alert.read"
	HandleAlert     Action = "alert.handle" // acknowledge and close
	ChangeAlertRule Action = "alert_rule.change"
	Enforce         Action = "policy.enforce" // pull, discover, observe, ask, claim, redeem, report
)

type rule struct {
	roles       []Role
	owningTeam  bool // members of the team in question may, whatever their role
	interactive bool // needs a person's session; machine tokens never do it, whatever their roles
	gateways    bool // gateways may as well
	kind        Kind // only this kind, when set
}

var everybody = []Role{Viewer, Auditor, Approver, Owner, Admin}

var rules = map[Action]rule{
	ReadRegistry:    {roles: everybody},
	ReadPolicy:      {roles: everybody},
	ReadGateways:    {roles: everybody},
	ReadRollout:     {roles: everybody, gateways: true},
	ReadApprovals:   {roles: everybody},
	RegisterServer:  {roles: []Role{Owner, Admin}},
	ChangeServer:    {roles: []Role{Admin}, owningTeam: true},
	PinDefinition:   {roles: []Role{Admin}, owningTeam: true, interactive: true},
	ChangeGrant:     {roles: []Role{Admin}},
	EnrolGateway:    {roles: []Role{Admin}, interactive: true},
	Vote:            {roles: []Role{Approver, Owner, Admin}, interactive: true},
	ReadChannels:    {roles: []Role{Auditor, Admin}},
	ChangeChannel:   {roles: []Role{Admin}, interactive: true},
	TestChannel:     {roles: []Role{Admin}},
	ChangeAgent:     {roles: []Role{Admin}},
	IssueKey:        {roles: []Role{Admin}, interactive: true},
	ReadAudit:       {roles: []Role{Auditor, Admin}},
	ReadUsage:       {roles: everybody},
	ReadCallers:     {roles: []Role{Auditor, Admin}, owningTeam: true},
	ChangePrice:     {roles: []Role{Admin}},
	ReadAlerts:      {roles: []Role{Auditor, Owner, Admin}},
	HandleAlert:     {roles: []Role{Owner, Admin}},
	ChangeAlertRule: {roles: []Role{Admin}},
	Enforce:         {kind: Gateway},
}

// Can says whether p may do a to something that team owns ("" when no team owns it).
// It returns nil, or a *problem.Error of kind Unauthenticated or Forbidden that says who may.
func (p Principal) Can(a Action, team string) error {
	r, known := rules[a]
	switch {
	case p.Kind == System:
		return nil
	case p.Kind == Anonymous || p.Kind == "":
		return problem.New(problem.Unauthenticated, "sign_in_required", "Sign in first.")
	case !known:
		return problem.New(problem.Forbidden, "unknown_action", "This action is not in the permission table.")
	case r.kind != "":
		if p.Kind != r.kind {
			return problem.New(problem.Forbidden, "gateway_only", "Only a gateway's own credential may do this.")
		}
		return nil
	case r.interactive && (p.Kind != Person || p.SessionID == ""):
		return problem.New(problem.Forbidden, "interactive_only", "A person has to do this in a signed-in session.")
	case p.Kind == Gateway && r.gateways:
		return nil
	case p.Kind == Gateway:
		return problem.New(problem.Forbidden, "not_for_gateways", "A gateway's credential cannot do this. Use that of a person or of an automation client.")
	case r.owningTeam && team != "" && slices.Contains(p.Teams, team):
		return nil
	case slices.ContainsFunc(r.roles, p.Has):
		return nil
	}
	return problem.New(problem.Forbidden, "not_allowed", "%s", r.whoMay(p.Kind))
}

// Has says whether p holds the role; the members of any team hold Owner.
func (p Principal) Has(role Role) bool {
	if role == Owner && len(p.Teams) > 0 {
		return true
	}
	return slices.Contains(p.Roles, role)
}

func (r rule) whoMay(asking Kind) string {
	switch {
	case asking == Client:
		return "This client's roles and team do not allow this. Ask an admin for a client that may."
	case r.owningTeam && slices.Contains(r.roles, Auditor):
		return "This is for the owning team, auditors and admins. Ask one of them."
	case r.owningTeam:
		return "This is for the owning team and for admins. Ask one of them."
	case len(r.roles) == len(everybody):
		return "Your groups give you no role here. Ask an admin to map one of them."
	case slices.Contains(r.roles, Approver):
		return "This is for approvers. Ask an admin for the role."
	case slices.Contains(r.roles, Auditor) && slices.Contains(r.roles, Owner):
		return "This is for auditors, members of a team and admins. Ask an admin."
	case slices.Contains(r.roles, Auditor):
		return "This is for auditors and admins. Ask an admin."
	case slices.Contains(r.roles, Owner):
		return "This is for members of a team and for admins. Ask an admin."
	}
	return "This is for admins. Ask one of them."
}
