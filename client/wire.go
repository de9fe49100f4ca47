package client

import (
	"encoding/json"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// Paths of /v1 that a gateway calls. Those with an id are made by the methods of Client.
const (
	PathToken        = "/oauth/token" //nolint:gosec // a path, not a credential
	PathPolicy       = "/v1/policy"
	PathKeys         = "/v1/keys"
	PathStatus       = "/v1/gateways/self/status"
	PathLease        = "/v1/discoveries/lease"
	PathDiscoveries  = "/v1/discoveries/"
	PathObservations = "/v1/observations"
	PathApprovals    = "/v1/approvals"
	PathRedeem       = "/v1/confirmations/redeem"
	PathConfirmation = "/v1/confirmations/"
	PathCalls        = "/v1/calls"
)

// Headers of GET /v1/policy that HTTP does not know.
const (
	HeaderRevision  = "Policy-Revision"
	HeaderLease     = "Policy-Lease" // seconds; a response with it renews the lease
	HeaderSignature = "Policy-Signature"
)

// Media types of GET /v1/policy.
const (
	TypePolicy = "application/vnd.countersign.policy+json;v=1"
	TypeJOSE   = "application/jose+json"
)

// TokenReply answers POST /oauth/token (RFC 6749, client credentials).
type TokenReply struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"` // "Bearer"
	ExpiresIn   int    `json:"expires_in"` // seconds
}

// TokenError is the error of POST /oauth/token (RFC 6749 section 5.2).
type TokenError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// ProblemReply is every other error of /v1 (RFC 9457).
type ProblemReply struct {
	Type   string            `json:"type"` // "urn:countersign:problem:" + Code
	Title  string            `json:"title"`
	Status int               `json:"status"`
	Detail string            `json:"detail"`
	Code   string            `json:"code"`
	Fields map[string]string `json:"fields,omitempty"`
}

// Command is a stdio server that a gateway's own configuration lets it start. Only its name and the digest
// of its command line leave the gateway.
type Command struct {
	Name   string           `json:"name"`
	Digest canonical.Digest `json:"digest"`
}

// Status is the body of PUT /v1/gateways/self/status: what one instance of a gateway runs.
type Status struct {
	Instance         string     `json:"instance"`
	Version          string     `json:"version"`
	Epoch            int64      `json:"epoch"`
	ActiveRevision   int64      `json:"active_revision"`
	ReceivedRevision int64      `json:"received_revision"`
	Rejected         *Rejection `json:"rejected,omitempty"`
	Commands         []Command  `json:"commands,omitempty"`
}

// StatusReply answers a Status: who the control plane takes the caller for.
type StatusReply struct {
	GatewayID  string `json:"gateway_id"` // policy.Call.Gateway
	Name       string `json:"name"`
	AudienceID string `json:"audience_id"`
	Resource   string `json:"resource"` // what the control plane requires as audience of callers' tokens

	// SharedInstance says that another process reports under this instance's name.
	SharedInstance bool `json:"shared_instance,omitempty"`
}

// HeaderProcess tells processes apart that go by one name: a text that each makes up when it starts. It is optional.
const HeaderProcess = "Countersign-Process"

// Rejection says which revision an instance refused to run, and why.
type Rejection struct {
	Revision int64  `json:"revision"`
	Reason   string `json:"reason"`
}

// LeaseRequest is the body of POST /v1/discoveries/lease. The answer is 200 with a Job, or 204.
type LeaseRequest struct {
	Instance string    `json:"instance"`
	Commands []Command `json:"commands,omitempty"`
	Wait     int       `json:"wait"` // seconds to wait for a job
}

// Job is a discovery that a gateway leased: look at this endpoint and say what it offers.
type Job struct {
	ID           string          `json:"id"`
	ServerID     string          `json:"server_id"`
	Server       string          `json:"server"`
	Endpoint     policy.Endpoint `json:"endpoint"`
	Attempt      int             `json:"attempt"`
	LeaseSeconds int             `json:"lease_seconds"`
}

// The steps of a discovery, in order.
const (
	StepResolve       = "resolve"
	StepConnect       = "connect"
	StepInitialize    = "initialize"
	StepListTools     = "list tools"
	StepListPrompts   = "list prompts"
	StepListResources = "list resources"
)

// StepState is how far a step of a discovery is.
type StepState string

// The states of a step.
const (
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepSkipped StepState = "skipped"
)

// Step is one line of a discovery's live progress. Detail is written by the gateway, never by the upstream.
type Step struct {
	Name   string    `json:"name"`
	State  StepState `json:"state"`
	MS     int64     `json:"ms"`
	Detail string    `json:"detail,omitempty"`
}

// Progress is the body of POST /v1/discoveries/{id}/progress; it also renews the lease of the job.
type Progress struct {
	Steps []Step `json:"steps"`
}

// ProgressReply tells the gateway whether to go on.
type ProgressReply struct {
	Cancelled bool `json:"cancelled"`
}

// Offer is what a server offers, each definition as the server sent it (space between tokens aside). It is
// the body of POST /v1/discoveries/{id}/result.
type Offer struct {
	ServerInfo        json.RawMessage   `json:"server_info,omitempty"`
	Tools             []json.RawMessage `json:"tools"`
	Prompts           []json.RawMessage `json:"prompts"`
	Resources         []json.RawMessage `json:"resources"`
	ResourceTemplates []json.RawMessage `json:"resource_templates"`
}

// Failure is the body of POST /v1/discoveries/{id}/failure. Retry says that the reason may pass by itself: the job is
// then offered again after a while, three times in all.
type Failure struct {
	Error string `json:"error"`
	Steps []Step `json:"steps"`
	Retry bool   `json:"retry,omitempty"`
}

// Observation is the body of POST /v1/observations: what a gateway saw an endpoint serve.
// Partial means that what is not in it was not looked at; otherwise it is not offered any more.
type Observation struct {
	ServerID          string            `json:"server_id"`
	EndpointDigest    canonical.Digest  `json:"endpoint_digest"`
	Tools             []json.RawMessage `json:"tools"`
	Prompts           []json.RawMessage `json:"prompts"`
	Resources         []json.RawMessage `json:"resources"`
	ResourceTemplates []json.RawMessage `json:"resource_templates"`
	Partial           bool              `json:"partial,omitempty"`
}

// ObservationReply names what the control plane holds since.
type ObservationReply struct {
	Held []HeldTool `json:"held"`
}

// HeldTool is a tool, prompt or resource that may not be used until a person has looked at it.
type HeldTool struct {
	Kind policy.Kind `json:"kind"`
	Name string      `json:"name"`
}

// Ask is the body of POST /v1/approvals: the whole call, and the caller's own token as evidence of who calls.
type Ask struct {
	Call       policy.Call      `json:"call"`
	CallDigest canonical.Digest `json:"call_digest"`
	Evidence   string           `json:"evidence,omitempty"`
	Principal  policy.Principal `json:"principal"`
}

// ApprovalState is the state of an approval request as a gateway sees it.
type ApprovalState string

// The states of an approval request. NotRequired answers an Ask whose call the policy allows by now.
const (
	ApprovalPending     ApprovalState = "pending"
	ApprovalApproved    ApprovalState = "approved"
	ApprovalDenied      ApprovalState = "denied"
	ApprovalExpired     ApprovalState = "expired"
	ApprovalCancelled   ApprovalState = "cancelled"
	ApprovalSuperseded  ApprovalState = "superseded"
	ApprovalRevoked     ApprovalState = "revoked"
	ApprovalClosed      ApprovalState = "closed"
	ApprovalNotRequired ApprovalState = "not_required"
)

// Approval answers POST /v1/approvals (201 created, 200 joined) and GET /v1/approvals/{id}?wait=45.
type Approval struct {
	ID         string           `json:"id"`
	State      ApprovalState    `json:"state"`
	URL        string           `json:"url"` // where people decide; needs a sign-in, carries only the id
	CallDigest canonical.Digest `json:"call_digest"`
	ExpiresIn  int              `json:"expires_in"` // seconds
	Reason     string           `json:"reason,omitempty"`
}

// Claim answers POST /v1/approvals/{id}/token: the confirmation token, shown once.
type Claim struct {
	Token     string `json:"token"`
	ExpiresIn int    `json:"expires_in"` // seconds
}

// Redeem is the body of POST /v1/confirmations/redeem. RedemptionID is chosen by the gateway, new for each
// attempt to execute.
type Redeem struct {
	Token        string      `json:"token"`
	Call         policy.Call `json:"call"`
	RedemptionID string      `json:"redemption_id"`
	Instance     string      `json:"instance"`
}

// Redemption answers a Redeem with 200: the call may be executed, once. Replayed means that this very
// redemption id was answered before; only the attempt that holds it in memory may then go on.
type Redemption struct {
	Replayed   bool   `json:"replayed"`
	ApprovalID string `json:"approval_id"`
}

// OutcomeStatus is how an approved call ended.
type OutcomeStatus string

// The outcomes. Indeterminate: it was sent and nobody knows whether it was executed.
const (
	Succeeded     OutcomeStatus = "succeeded"
	Failed        OutcomeStatus = "failed"
	Indeterminate OutcomeStatus = "indeterminate"
)

// Outcome is the body of POST /v1/confirmations/{redemption_id}/outcome.
type Outcome struct {
	Status        OutcomeStatus `json:"status"`
	Error         string        `json:"error,omitempty"`
	ResponseBytes int64         `json:"response_bytes"`
	DurationMS    int64         `json:"duration_ms"`
}

// Decision is what became of a call, as a call record says it.
type Decision string

// The decisions. FailedCall was allowed and then got no answer from the upstream.
const (
	AllowedCall Decision = "allowed"
	DeniedCall  Decision = "denied"
	HeldCall    Decision = "held"
	FailedCall  Decision = "failed"
)

// CallRecord is telemetry of one call. It carries sizes, never arguments.
type CallRecord struct {
	CallID         string           `json:"call_id"`
	At             time.Time        `json:"at"`
	Server         string           `json:"server"`
	Tool           string           `json:"tool"`
	Kind           policy.Kind      `json:"kind"`
	Decision       Decision         `json:"decision"`
	Reason         string           `json:"reason,omitempty"`
	Subject        string           `json:"subject,omitempty"`
	Agent          string           `json:"agent,omitempty"`
	Model          string           `json:"model,omitempty"`
	ModelAssurance policy.Assurance `json:"model_assurance,omitempty"`
	Session        string           `json:"session,omitempty"`  // a keyed digest: it tells sessions apart and nothing else
	TraceID        string           `json:"trace_id,omitempty"` // W3C Trace Context, of the caller's trace
	Instance       string           `json:"instance,omitempty"` // of the gateway
	Revision       int64            `json:"revision"`
	RequestBytes   int64            `json:"request_bytes"`
	ResponseBytes  int64            `json:"response_bytes"`
	RequestTokens  int64            `json:"request_tokens,omitempty"`  // estimated, of the arguments
	ResponseTokens int64            `json:"response_tokens,omitempty"` // estimated, of what came back
	DurationUS     int64            `json:"duration_us"`               // without the time in which people decided
	UpstreamUS     int64            `json:"upstream_us,omitempty"`     // how much of it the server took; the rest is what the gateway added
	ToolError      bool             `json:"tool_error,omitempty"`      // the server answered with an error
	Filtered       int              `json:"filtered,omitempty"`        // texts of the result that the output filter changed
}

// CallBatch is the body of POST /v1/calls. A record that was sent before is ignored (by call_id).
type CallBatch struct {
	Calls []CallRecord `json:"calls"`
}

// CallsReply says what became of a batch.
type CallsReply struct {
	Stored  int `json:"stored"`  // that are new
	Known   int `json:"known"`   // that were sent before
	Expired int `json:"expired"` // that are older than records are kept
}
