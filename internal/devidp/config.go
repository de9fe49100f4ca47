package devidp

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"
)

// Config describes a provider. Only Issuer is needed; without People there is nobody to sign
// in, see [DemoPeople].
type Config struct {
	// Issuer is the provider's own origin, such as http://127.0.0.1:8081. It must be on
	// loopback and have no path.
	Issuer  string
	People  []Person
	Clients []Client

	// Key signs everything. When it is nil the key in KeyFile is used, which is created
	// (mode 0600) when it does not exist; when that is empty too, a key is made which
	// lives as long as the process.
	Key     ed25519.PrivateKey
	KeyFile string

	// GroupsOnlyInUserInfo leaves the groups claim out of ID tokens, as many providers do.
	GroupsOnlyInUserInfo bool

	Log *slog.Logger     // where refusals are written; nil discards them
	Now func() time.Time // nil is time.Now
}

// Person is somebody who can sign in by being chosen from a list.
type Person struct {
	Subject string // stable, and what an assertion names
	Name    string
	Email   string
	Groups  []string
	Purpose string // one line for the login page: what this person is for
}

// Client is an application that may ask for tokens. A client without a Secret is public and
// is protected by PKCE alone; only one with a Secret may use client credentials.
type Client struct {
	ID           string
	Name         string // shown on the login page
	Secret       string
	RedirectURIs []string // compared exactly

	PostLogoutRedirectURIs []string // compared exactly

	// AssertionKey is the public key of an agent that may ask for a token on behalf of any
	// demo person with a signed assertion (RFC 7523). Nil means it may not.
	AssertionKey crypto.PublicKey

	// Model is put in the client's access tokens as the claim `model`.
	Model string
}

// DemoPeople returns the people of a development installation.
func DemoPeople() []Person {
	return []Person{
		{
			Subject: "ada", Name: "Ada Admin", Email: "ada@example.com", Groups: []string{"platform-admins"},
			Purpose: "Platform admin: registers servers, gives grants, enrols gateways",
		},
		{
			Subject: "priya", Name: "Priya Nair", Email: "priya@example.com", Groups: []string{"commerce", "approvers"},
			Purpose: "Owner and approver in Commerce: reviews tools, decides on held calls",
		},
		{
			Subject: "tomas", Name: "Tomas Lind", Email: "tomas@example.com", Groups: []string{"developers"},
			Purpose: "Agent developer: calls tools, asks for access",
		},
		{
			Subject: "jonas", Name: "Jonas Weber", Email: "jonas@example.com", Groups: []string{"commerce", "approvers"},
			Purpose: "The second approver in Commerce",
		},
		{
			Subject: "audra", Name: "Audra Kim", Email: "audra@example.com", Groups: []string{"auditors"},
			Purpose: "Auditor: reads everything, changes nothing",
		},
	}
}

// DemoAgent is the client ID of the agent that `countersign call` speaks as.
const DemoAgent = "demo-agent"

func (c Config) validate() error {
	issuer, err := loopbackURL(c.Issuer)
	if err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if c.Issuer != issuer.Scheme+"://"+issuer.Host {
		return fmt.Errorf("issuer %q must be an origin, without a path or a trailing slash", c.Issuer)
	}
	for i, p := range c.People {
		if p.Subject == "" {
			return fmt.Errorf("person %d has no subject", i)
		}
		if slices.ContainsFunc(c.People[:i], func(q Person) bool { return q.Subject == p.Subject }) {
			return fmt.Errorf("person %q is listed twice", p.Subject)
		}
	}
	for i, client := range c.Clients {
		if slices.ContainsFunc(c.Clients[:i], func(d Client) bool { return d.ID == client.ID }) {
			return fmt.Errorf("client %q is listed twice", client.ID)
		}
		if err := client.validate(); err != nil {
			return fmt.Errorf("client %q: %w", client.ID, err)
		}
	}
	return nil
}

func (c Client) validate() error {
	if c.ID == "" {
		return errors.New("it has no ID")
	}
	for _, uri := range slices.Concat(c.RedirectURIs, c.PostLogoutRedirectURIs) {
		if _, err := loopbackURL(uri); err != nil {
			return fmt.Errorf("redirect URI: %w", err)
		}
	}
	switch c.AssertionKey.(type) {
	case nil, ed25519.PublicKey:
		return nil
	default:
		return fmt.Errorf("its assertion key is a %T, want an Ed25519 public key", c.AssertionKey)
	}
}

// name is what the login page calls the client.
func (c Client) name() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// loopbackURL parses an absolute http or https URL whose host is on loopback.
func loopbackURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL", raw)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.RawFragment != "" {
		return nil, fmt.Errorf("%q is not a plain http or https URL", raw)
	}
	if !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("%q: %w", raw, ErrNotLoopback)
	}
	return u, nil
}
