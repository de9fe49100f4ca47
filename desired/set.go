package desired

import (
	"strings"
	"time"

	"countersign/policy"
)

// Set is what should be there. What it does not name is not in it; whether that ends something is for the one who
// applies it to say.
type Set struct {
	Teams      []Team      `json:"teams,omitempty"`
	Servers    []Server    `json:"servers,omitempty"`
	Grants     []Grant     `json:"grants,omitempty"`
	Guardrails []Guardrail `json:"guardrails,omitempty"`
}

// Team is a team, known by its name. Its members by name are not in files: people come by signing in.
type Team struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"` // of the identity provider
}

// Server is a server, known by its name ignoring case. It has a URL, or a command with its digest; with neither it stays
// where it is.
type Server struct {
	Name        string   `json:"name"`
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Team        string   `json:"team"` // name of the owning team
	Labels      []string `json:"labels,omitempty"`

	// What it may ask of clients: elicitation, roots, sampling; or none alone. Left out, it stays as it is.
	ClientRequests []string `json:"client_requests,omitempty"`

	URL           string `json:"url,omitempty"`
	Command       string `json:"command,omitempty"`
	CommandDigest string `json:"command_digest,omitempty"`
	State         State  `json:"state,omitempty"`
}

// NoClientRequests alone is a server that may ask clients for nothing.
const NoClientRequests = "none"

// State is where a file wants a server. Left out, it stays as it is.
type State string

// The states that a file can ask for. A server that is proposed becomes active when its owner pins a tool.
const (
	Active    State = "active"    // resume it if it is suspended
	Suspended State = "suspended" // nothing of it may be called
	Retired   State = "retired"   // for ever
)

// Grant is a grant, known by its key.
type Grant struct {
	Key       string          `json:"key"`
	Name      string          `json:"name"`
	For       policy.Subject  `json:"for"`
	On        policy.Resource `json:"on"`
	Condition string          `json:"condition,omitempty"` // CEL
	From      *time.Time      `json:"from,omitempty"`
	Until     *time.Time      `json:"until,omitempty"`
	Reason    string          `json:"reason,omitempty"`
}

// Guardrail is a guardrail, known by its key. It has exactly one effect, the fields from Deny to MaxResponseBytes.
type Guardrail struct {
	Key              string          `json:"key"`
	Name             string          `json:"name"`
	For              policy.Subject  `json:"for"`
	Except           policy.Subject  `json:"except,omitzero"`
	On               policy.Resource `json:"on"`
	Condition        string          `json:"condition,omitempty"` // CEL
	Deny             bool            `json:"deny,omitempty"`
	Approval         *Approval       `json:"approval,omitempty"`
	MFA              bool            `json:"mfa,omitempty"`
	StepUp           *StepUp         `json:"step_up,omitempty"`
	RateLimit        *Rate           `json:"rate_limit,omitempty"`
	Require          string          `json:"require,omitempty"`      // CEL
	TokenBudget      *Budget         `json:"token_budget,omitempty"` // tokens in a time
	MaxResponseBytes int64           `json:"max_response_bytes,omitempty"`
	Tainted          *Tainted        `json:"tainted,omitempty"` // the effect holds only in such sessions
	Reason           string          `json:"reason,omitempty"`
}

// Path names the team, or a field of it.
func (t Team) Path(field string) string { return Path(Teams, strings.ToLower(t.Name), field) }

// Path names the server, or a field of it.
func (s Server) Path(field string) string { return Path(Servers, strings.ToLower(s.Name), field) }

// Path names the grant, or a field of it.
func (g Grant) Path(field string) string { return Path(Grants, g.Key, field) }

// Path names the guardrail, or a field of it.
func (g Guardrail) Path(field string) string { return Path(Guardrails, g.Key, field) }

// Effect is the effect of the guardrail, which names teams where the policy has their ids.
func (g Guardrail) Effect() policy.Effect {
	e := policy.Effect{
		Deny: g.Deny, Approval: g.Approval.policy(), MFA: g.MFA, StepUp: g.StepUp.policy(), Require: g.Require, MaxResponseBytes: g.MaxResponseBytes,
		Tainted: g.Tainted.policy(),
	}
	if g.RateLimit != nil {
		e.RateLimit = &policy.RateLimit{Calls: g.RateLimit.Calls, Seconds: g.RateLimit.Seconds}
	}
	if g.TokenBudget != nil {
		e.TokenBudget = &policy.TokenBudget{Tokens: g.TokenBudget.Tokens, Seconds: g.TokenBudget.Seconds}
	}
	return e
}

// SetEffect makes the effect of the guardrail that of e.
func (g *Guardrail) SetEffect(e policy.Effect) {
	g.Deny, g.MFA, g.Require, g.MaxResponseBytes = e.Deny, e.MFA, e.Require, e.MaxResponseBytes
	g.Approval, g.StepUp, g.RateLimit, g.TokenBudget = newApproval(e.Approval), newStepUp(e.StepUp), nil, nil
	g.Tainted = newTainted(e.Tainted)
	if l := e.RateLimit; l != nil {
		g.RateLimit = &Rate{l.Calls, l.Seconds}
	}
	if b := e.TokenBudget; b != nil {
		g.TokenBudget = &Budget{b.Tokens, b.Seconds}
	}
}
