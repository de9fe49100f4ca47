package client

import (
	"errors"
	"fmt"
	"strings"
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
	ACR      class    `json:"acr"`
	AuthTime float64  `json:"auth_time"`
}

// maxTime is in the year 6325: a time beyond is nonsense, and beyond the year 9999 cannot be written as JSON.
const maxTime = 1 << 37

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

// class is the name of an authentication context class. What cannot be one proves nothing, and makes no token unreadable.
type class string

// UnmarshalJSON reads printable ASCII without a space, or nothing.
func (c *class) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil || len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		s = ""
	}
	*c = class(s)
	return nil
}

// ClaimNames names the claims of one issuer's tokens that say who calls. The zero value is the usual ones: sub, groups,
// azp or else client_id, and model. Where a claim is named, it is read and no other in its place.
type ClaimNames struct {
	Subject string
	Groups  string
	Agent   string
	Model   string
}

// PrincipalFromClaims says who calls, from the payload of a token whose signature, issuer, audience and
// times were verified already. Gateway and control plane both use it, so that they name the same principal.
//
// The agent is azp, else client_id. The claim "model" makes an attested model; without it the model is
// unknown, until a request declares one. How the user signed in is amr, acr and auth_time.
func PrincipalFromClaims(payload []byte) (policy.Principal, error) {
	return ClaimNames{}.Principal(payload)
}

// Principal is PrincipalFromClaims for tokens whose claims have these names.
func (n ClaimNames) Principal(payload []byte) (policy.Principal, error) {
	if err := canonical.Check(payload, canonical.Limits{MaxBytes: 64 << 10, MaxDepth: 32}); err != nil {
		return policy.Principal{}, fmt.Errorf("reading claims: %w", err)
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return policy.Principal{}, fmt.Errorf("reading claims: %w", err)
	}
	if err := n.read(payload, &c); err != nil {
		return policy.Principal{}, fmt.Errorf("reading claims: %w", err)
	}
	if c.Issuer == "" || c.Subject == "" {
		return policy.Principal{}, errors.New("reading claims: no issuer or no subject")
	}
	p := policy.Principal{
		Issuer: c.Issuer, Subject: c.Subject, Name: c.Name, Email: c.Email, Groups: c.Groups,
		Agent: c.Party, Model: c.Model, ModelAssurance: policy.Unknown, AMR: c.AMR, ACR: string(c.ACR),
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
	if c.AuthTime > 0 && c.AuthTime < maxTime {
		p.AuthTime = time.Unix(int64(c.AuthTime), 0).UTC()
	}
	return p, nil
}

// read puts the claims that n names in the place of the usual ones.
func (n ClaimNames) read(payload []byte, c *claims) error {
	if n == (ClaimNames{}) {
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(payload, &all); err != nil {
		return err
	}
	take := func(name string, into any) error {
		if raw, ok := all[name]; ok && string(raw) != "null" {
			return json.Unmarshal(raw, into)
		}
		return nil
	}
	if n.Subject != "" {
		c.Subject = ""
		if err := take(n.Subject, &c.Subject); err != nil {
			return err
		}
	}
	if n.Groups != "" {
		c.Groups = nil
		if err := take(n.Groups, &c.Groups); err != nil {
			return err
		}
	}
	if n.Agent != "" {
		c.Party, c.ClientID = "", ""
		if err := take(n.Agent, &c.Party); err != nil {
			return err
		}
	}
	if n.Model != "" {
		c.Model = ""
		return take(n.Model, &c.Model)
	}
	return nil
}
