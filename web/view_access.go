package web

import "time"

// Grants is the list of grants.
type Grants struct {
	Grants []GrantLine
	Ended  string
	Next   string
	May    bool
}

// GrantLine is one grant.
type GrantLine struct {
	ID, Name, Who, What, State, Reason, By string
	Version                                int64
	NotAfter                               *time.Time
	CreatedAt                              time.Time
}

// NewGrant is the form of a grant, and what it would reach.
type NewGrant struct {
	Name, Users, Groups, Agents, Models, Servers, Names, Until, Reason string
	Everyone, AllowDeclared                                            bool
	Risks, Kinds, Known                                                []Option // known: names of servers, to choose from
	Preview                                                            []Reached
	Previewed                                                          bool
	Errors                                                             Errors
}

// Reached is a tool that a grant would reach.
type Reached struct {
	Server, Name, Kind, Risk string
	Held                     bool
}

// Gateways is the list of gateways and what they enforce.
type Gateways struct {
	Gateways []GatewayRow
	May      bool
}

// GatewayRow is one instance of a gateway; a gateway without instances has one row with none.
type GatewayRow struct {
	ID, Name, Kind, Audience, Instance, Version, State, Why string
	Active, Wanted                                          int64
	SeenAt                                                  *time.Time
	Revoked                                                 bool
}

// NewGateway is the form that enrols a gateway.
type NewGateway struct {
	Name, Kind, Servers, Resource string
	Errors                        Errors
}

// Enrolled shows a credential, this once.
type Enrolled struct {
	ID, Name, ClientID, Secret, Config string
}

// Gateway is the page of one gateway.
type Gateway struct {
	GatewayRow
	ClientID, Resource, By string
	CreatedAt              time.Time
	Servers                []string
	Instances              []GatewayRow
	Commands               []KV
	Timeline               []Event
	May                    bool
}

// Policy shows the compiled document of one audience.
type Policy struct {
	Audiences                          []Option
	Audience                           string
	Revision, Epoch                    int64
	ETag, KeyID, Digest                string
	Bytes, Compressed                  int
	IssuedAt                           time.Time
	Document                           []byte // indented JSON
	Warnings                           []string
	Error                              string
	Servers, Tools, Grants, Guardrails int
}
