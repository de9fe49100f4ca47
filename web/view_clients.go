package web

import "time"

// Clients is the list of automation clients.
type Clients struct {
	Clients []ClientLine
	New     NewClient
	May     bool
	Revoke  string // id of the client whose form was sent and not taken
	Reason  string // typed there
	Errors  Errors // of that form
}

// ClientLine is one automation client.
type ClientLine struct {
	ID, Name, Team, By string
	Roles              []string
	CreatedAt          time.Time
	RevokedAt          *time.Time
}

// NewClient is the form that makes a client.
type NewClient struct {
	Name   string
	Roles  []Option
	Teams  []Option
	Errors Errors
}

// IssuedClient shows a credential, this once.
type IssuedClient struct {
	Name, ID, Secret, URL string
}
