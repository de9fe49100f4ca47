package server

import (
	"time"

	"countersign/delivery"
	"countersign/policy"
	"countersign/registry"
)

type grantJSON struct {
	ID            string              `json:"id"`
	Key           string              `json:"key" doc:"The name by which files know it: its id, unless somebody chose one."`
	Name          string              `json:"name"`
	Subject       policy.Subject      `json:"subject"`
	Resource      policy.Resource     `json:"resource"`
	Condition     string              `json:"condition,omitempty" doc:"CEL; the grant counts where it is true."`
	NotBefore     *time.Time          `json:"not_before,omitempty"`
	NotAfter      *time.Time          `json:"not_after,omitempty"`
	Reason        string              `json:"reason"`
	State         registry.GrantState `json:"state"`
	Version       int64               `json:"version" doc:"As in the ETag."`
	CreatedBy     string              `json:"created_by"`
	CreatedByName string              `json:"created_by_name"`
	CreatedAt     time.Time           `json:"created_at"`
	EndedAt       *time.Time          `json:"ended_at,omitempty"`
	EndedBy       string              `json:"ended_by,omitempty"`
	EndedByName   string              `json:"ended_by_name,omitempty"`
}

func (g grantJSON) version() int64  { return g.Version }
func (g grantJSON) address() string { return "/v1/grants/" + g.ID }

func grantOf(g registry.Grant) grantJSON {
	return grantJSON{
		ID: g.ID, Key: g.Key, Name: g.Name, Subject: g.Subject, Resource: g.Resource, Condition: g.Condition,
		NotBefore: g.NotBefore, NotAfter: g.NotAfter, Reason: g.Reason, State: g.State, Version: g.Version, CreatedBy: g.CreatedBy, CreatedByName: g.CreatedByName,
		CreatedAt: g.CreatedAt, EndedAt: g.EndedAt, EndedBy: g.EndedBy, EndedByName: g.EndedByName,
	}
}

type newGrantJSON struct {
	Key       string          `json:"key,omitempty" doc:"The name by which files know it; its id unless given."`
	Name      string          `json:"name"`
	Subject   policy.Subject  `json:"subject"`
	Resource  policy.Resource `json:"resource"`
	Condition string          `json:"condition,omitempty" doc:"CEL over args, principal, tool, server and now; at most 4096 bytes."`
	NotBefore *time.Time      `json:"not_before,omitempty"`
	NotAfter  *time.Time      `json:"not_after,omitempty"`
	Reason    string          `json:"reason,omitempty"`
}

type previewJSON struct {
	Resource  policy.Resource `json:"resource"`
	Condition string          `json:"condition,omitempty" doc:"CEL, to compare with the input schemas of what is reached."`
}

// reachJSON is what a resource reaches today.
type reachJSON struct {
	Items    []reachedJSON `json:"items"`
	Findings []string      `json:"findings,omitempty" doc:"What the condition asks for that some of these tools do not take."`
}

type reachedJSON struct {
	Server     string      `json:"server"`
	ServerName string      `json:"server_name"`
	Suspended  bool        `json:"suspended"`
	Tool       string      `json:"tool"`
	Kind       policy.Kind `json:"kind"`
	Name       string      `json:"name"`
	Risk       policy.Risk `json:"risk"`
	Held       bool        `json:"held"`
}

func reachedOf(r registry.Reached) reachedJSON {
	return reachedJSON{
		Server: r.ServerID, ServerName: r.ServerName, Suspended: r.Suspended, Tool: r.ToolID, Kind: r.Kind, Name: r.Name,
		Risk: r.Risk, Held: r.Held,
	}
}

type guardrailJSON struct {
	ID            string          `json:"id"`
	Key           string          `json:"key" doc:"The name by which files know it: its id, unless somebody chose one."`
	Name          string          `json:"name"`
	Subject       policy.Subject  `json:"subject"`
	Except        policy.Subject  `json:"except,omitzero"`
	Resource      policy.Resource `json:"resource"`
	Condition     string          `json:"condition,omitempty" doc:"CEL; the guardrail holds where it is true or fails."`
	Effect        policy.Effect   `json:"effect"`
	Reason        string          `json:"reason"`
	Version       int64           `json:"version" doc:"As in the ETag."`
	CreatedBy     string          `json:"created_by"`
	CreatedByName string          `json:"created_by_name"`
	CreatedAt     time.Time       `json:"created_at"`
	EndedAt       *time.Time      `json:"ended_at,omitempty"`
	EndedBy       string          `json:"ended_by,omitempty"`
	EndedByName   string          `json:"ended_by_name,omitempty"`
}

func (g guardrailJSON) version() int64  { return g.Version }
func (g guardrailJSON) address() string { return "/v1/guardrails/" + g.ID }

func guardrailOf(g registry.Guardrail) guardrailJSON {
	return guardrailJSON{
		ID: g.ID, Key: g.Key, Name: g.Name, Subject: g.Subject, Except: g.Except, Resource: g.Resource, Condition: g.Condition,
		Effect: g.Effect, Reason: g.Reason, Version: g.Version, CreatedBy: g.CreatedBy, CreatedByName: g.CreatedByName, CreatedAt: g.CreatedAt,
		EndedAt: g.EndedAt, EndedBy: g.EndedBy, EndedByName: g.EndedByName,
	}
}

type newGuardrailJSON struct {
	Key       string          `json:"key,omitempty" doc:"The name by which files know it; its id unless given."`
	Name      string          `json:"name"`
	Subject   policy.Subject  `json:"subject"`
	Except    policy.Subject  `json:"except,omitzero"`
	Resource  policy.Resource `json:"resource"`
	Condition string          `json:"condition,omitempty" doc:"CEL over args, principal, tool, server and now; at most 4096 bytes."`
	Effect    policy.Effect   `json:"effect"`
	Reason    string          `json:"reason,omitempty"`
}

type gatewayJSON struct {
	ID           string                 `json:"id"`
	Name         string                 `json:"name"`
	Audience     string                 `json:"audience"`
	AudienceName string                 `json:"audience_name"`
	Servers      []string               `json:"servers" doc:"Patterns of the names of servers that it may see."`
	Resource     string                 `json:"resource" doc:"Its own URL: the audience of callers' tokens."`
	State        delivery.InstanceState `json:"state" doc:"The worst of its live instances."`
	Epoch        int64                  `json:"epoch"`
	Revision     int64                  `json:"revision" doc:"Of the policy that it should run; 0: none yet."`
	Instances    []instanceJSON         `json:"instances" doc:"Those seen in the last day."`
	CreatedAt    time.Time              `json:"created_at"`
	RevokedAt    *time.Time             `json:"revoked_at,omitempty"`
}

type instanceJSON struct {
	Instance         string                 `json:"instance"`
	Version          string                 `json:"version"`
	State            delivery.InstanceState `json:"state"`
	Epoch            int64                  `json:"epoch"`
	ActiveRevision   int64                  `json:"active_revision"`
	RejectedRevision int64                  `json:"rejected_revision,omitempty"`
	RejectedReason   string                 `json:"rejected_reason,omitempty"`
	LastSeenAt       time.Time              `json:"last_seen_at"`
}

func gatewayOf(g delivery.Gateway) gatewayJSON {
	out := gatewayJSON{
		ID: g.ID, Name: g.Name, Audience: g.AudienceID, AudienceName: g.AudienceName, Servers: orNone(g.Servers), Resource: g.Resource,
		State: g.State, Epoch: g.Epoch, Revision: g.Revision, Instances: []instanceJSON{}, CreatedAt: g.CreatedAt, RevokedAt: g.RevokedAt,
	}
	for _, i := range g.Instances {
		out.Instances = append(out.Instances, instanceJSON{
			Instance: i.Instance, Version: i.Version, State: i.State, Epoch: i.Epoch, ActiveRevision: i.ActiveRevision,
			RejectedRevision: i.RejectedRevision, RejectedReason: i.RejectedReason, LastSeenAt: i.LastSeenAt,
		})
	}
	return out
}

// rolloutJSON sums up who runs the current revisions.
type rolloutJSON struct {
	Done   bool           `json:"done" doc:"Every gateway that is alive runs what it should."`
	Counts map[string]int `json:"counts" doc:"Gateways by state."`
}
