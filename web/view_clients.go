package web

import "time"

// Clients is the list of automation clients.
type Clients struct {
	Clients []ClientLine
	May     bool // make and revoke them
	Reason  string
	Errors  Errors // of a revocation that was not taken, beside what was typed
}

// ClientLine is one automation client.
type ClientLine struct {
	ID, Name, Team, By string
	Roles              []string
	CreatedAt          time.Time
	RevokedAt          *time.Time
	Asked              bool // its revocation is what was not taken
}

// NewClient is the form that makes a client.
type NewClient struct {
	Name   string
	Roles  []RoleOption
	Teams  []Option
	Errors Errors
}

// RoleOption is a role that a client may hold, and what it may then do.
type RoleOption struct {
	Option
	Means string
}

// IssuedClient shows a credential, this once.
type IssuedClient struct {
	ID, Name, Secret string
	Config           string // of the environment
}
