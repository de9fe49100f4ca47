package web

import "time"

// Gateways is the list of gateways and what they enforce.
type Gateways struct {
	Gateways []GatewayRow
	Ahead    []GatewayRow // those that run a later policy than the database knows: it was restored
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
