package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"countersign/canonical"
	"countersign/policy"
)

// claims are the members of a caller's token that say who calls. They are read with the JSON of go-jose,
// which tells letter cases apart.
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Name     string   `json:"name"`
	Username string   `json:"preferred_username"`
	Email    string   `json:"email"`
	Groups   oneOrAll `json:"groups"`
	Party    string   `json:"azp"`
	ClientID string   `json:"client_id"`
	Model    string   `json:"model"`
	AMR      oneOrAll `json:"amr"`
	AuthTime float64  `json:"auth_time"`
}

// oneOrAll reads a claim that is a list of strings or, as some providers write a list of one, a string.
type oneOrAll []string

// UnmarshalJSON reads either form.
func (o *oneOrAll) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrAll{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// PrincipalFromClaims says who calls, from the payload of a token whose signature, issuer, audience and
// times were verified already. Gateway and control plane both use it, so that they name the same principal.
//
// The agent is azp, else client_id. The claim "model" makes an attested model; without it the model is
// unknown, until a request declares one.
func PrincipalFromClaims(payload []byte) (policy.Principal, error) {
	if err := canonical.Check(payload, canonical.Limits{MaxBytes: 64 << 10, MaxDepth: 32}); err != nil {
		return policy.Principal{}, fmt.Errorf("reading claims: %w", err)
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return policy.Principal{}, fmt.Errorf("reading claims: %w", err)
	}
	if c.Issuer == "" || c.Subject == "" {
		return policy.Principal{}, errors.New("reading claims: no issuer or no subject")
	}
	p := policy.Principal{
		Issuer: c.Issuer, Subject: c.Subject, Name: c.Name, Email: c.Email, Groups: c.Groups,
		Agent: c.Party, Model: c.Model, ModelAssurance: policy.Unknown, AMR: c.AMR,
	}
	if p.Name == "" {
		p.Name = c.Username
	}
	if p.Agent == "" {
		p.Agent = c.ClientID
	}
	if p.Model != "" {
		p.ModelAssurance = policy.Attested
	}
	if c.AuthTime > 0 {
		p.AuthTime = time.Unix(int64(c.AuthTime), 0).UTC()
	}
	return p, nil
}
