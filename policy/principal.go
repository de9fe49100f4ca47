package policy

import "time"

// Assurance says who vouches for the model of a principal.
type Assurance string

// The assurances. Anything but attested may be a lie of the caller.
const (
	Attested Assurance = "attested" // a claim of the token, or the agent's registration
	Declared Assurance = "declared" // a header or _meta of the call
	Unknown  Assurance = "unknown"
)

// Principal is who calls a tool: a user, through an agent, by a model. What is
// empty is not known.
type Principal struct {
	Issuer         string    `json:"issuer"`
	Subject        string    `json:"subject"`
	Name           string    `json:"name,omitempty"`  // for people to read; decides nothing
	Email          string    `json:"email,omitempty"` // for people to read; decides nothing
	Groups         []string  `json:"groups,omitzero"` // nil: not known; empty: none
	Agent          string    `json:"agent,omitempty"` // OAuth client
	Model          string    `json:"model,omitempty"`
	ModelAssurance Assurance `json:"model_assurance,omitempty"`
	AMR            []string  `json:"amr,omitempty"`
	ACR            string    `json:"acr,omitempty"` // the context class of the sign-in, as the token says
	AuthTime       time.Time `json:"auth_time,omitzero"`
	Taint          Taint     `json:"taint,omitzero"` // nil: not known; empty: none
}
