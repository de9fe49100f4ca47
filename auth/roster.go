package auth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// rosterLimit is how old the set of clients may be before tokens are refused rather than believed.
const rosterLimit = 15 * time.Second

// credential is what a token's client is and may see. It is comparable.
type credential struct {
	ClientID   string
	Kind       ClientKind
	Name       string
	Revoked    bool
	Roles      string // of an automation client, separated by commas
	TeamID     string
	GatewayID  string // of a gateway's client that is enrolled
	AudienceID string
	Resource   string // the gateway's own URL: the audience of the tokens that agents send it
}

// usable says whether anybody can speak with the credential: a gateway's is one only once it is enrolled.
func (c credential) usable() bool { return c.Kind != GatewayClient || c.GatewayID != "" }

// principal is who speaks with the credential.
func (c credential) principal() identity.Principal {
	if c.Kind == GatewayClient {
		return identity.Principal{Kind: identity.Gateway, ID: c.GatewayID, Name: c.Name, GatewayID: c.GatewayID, AudienceID: c.AudienceID}
	}
	who := identity.Principal{Kind: identity.Client, ID: c.ClientID, Name: c.Name}
	for role := range strings.SplitSeq(c.Roles, ",") {
		if slices.Contains(clientRoles, identity.Role(role)) {
			who.Roles = append(who.Roles, identity.Role(role))
		}
	}
	if c.TeamID != "" {
		who.Teams = []string{c.TeamID}
	}
	return who
}

// key is the id that a principal of this credential carries.
func (c credential) key() string {
	if c.GatewayID != "" {
		return c.GatewayID
	}
	return c.ClientID
}

// roster is the set of all clients in memory, which lets Bearer do without a query.
type roster struct {
	read   func(context.Context) ([]credential, error)
	now    func() time.Time
	turn   chan struct{} // held while reading: a later read never loses to an earlier one
	latest atomic.Pointer[snapshot]
}

// snapshot is the set at one moment. It is immutable.
type snapshot struct {
	byClient    map[string]credential
	byPrincipal map[string]credential
	readAt      time.Time     // before the query began
	changed     chan struct{} // closed when a set with other content took its place
}

func newRoster(read func(context.Context) ([]credential, error), now func() time.Time) *roster {
	r := &roster{read: read, now: now, turn: make(chan struct{}, 1)}
	r.latest.Store(&snapshot{changed: make(chan struct{})})
	return r
}

// refresh reads the set. What was committed before the call is in it afterwards.
func (r *roster) refresh(ctx context.Context) error {
	asked := r.now()
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("reading the set of clients: %w", ctx.Err())
	}
	defer func() { <-r.turn }()
	before := r.latest.Load()
	if before.readAt.After(asked) {
		return nil // another call began to read after this one was made
	}
	next := &snapshot{byClient: map[string]credential{}, byPrincipal: map[string]credential{}, readAt: r.now(), changed: before.changed}
	credentials, err := r.read(ctx)
	if err != nil {
		return fmt.Errorf("reading the set of clients: %w", err)
	}
	for _, c := range credentials {
		next.byClient[c.ClientID] = c
		next.byPrincipal[c.key()] = c
	}
	if maps.Equal(before.byClient, next.byClient) {
		r.latest.Store(next)
		return nil
	}
	next.changed = make(chan struct{})
	r.latest.Store(next)
	close(before.changed)
	return nil
}

// current returns a set that is not too old, reading it if it must, or a problem of kind Unavailable.
func (r *roster) current(ctx context.Context) (*snapshot, error) {
	if s := r.latest.Load(); r.now().Sub(s.readAt) <= rosterLimit {
		return s, nil
	}
	return r.renewed(ctx)
}

// renewed reads the set now.
func (r *roster) renewed(ctx context.Context) (*snapshot, error) {
	if err := r.refresh(ctx); err != nil {
		p := problem.New(problem.Unavailable, "clients_unknown",
			"This replica has lost sight of the database and cannot tell which credentials still hold. Try again.").Because(err)
		p.RetryAfter = 2 * time.Second
		return nil, p
	}
	return r.latest.Load(), nil
}

// credential finds a client that may speak, reading the set once more for one that is not in it: it may
// be new.
func (r *roster) credential(ctx context.Context, clientID string) (credential, bool, error) {
	set, err := r.current(ctx)
	if err != nil {
		return credential{}, false, err
	}
	if c, found := set.byClient[clientID]; found && c.usable() {
		return c, true, nil
	}
	if set, err = r.renewed(ctx); err != nil {
		return credential{}, false, err
	}
	c, found := set.byClient[clientID]
	return c, found && c.usable(), nil
}

func (a *Authority) readCredentials(ctx context.Context) ([]credential, error) {
	rows, _ := a.pool.Query(ctx, `
		select c.id as client_id, c.kind, coalesce(g.name, c.name) as name,
		       c.revoked_at is not null or g.revoked_at is not null as revoked,
		       array_to_string(c.roles, ',') as roles, coalesce(c.team_id, '') as team_id,
		       coalesce(g.id, '') as gateway_id, coalesce(g.audience_id, '') as audience_id, coalesce(g.resource, '') as resource
		  from api_clients c left join gateways g on g.client_id = c.id`)
	return pgx.CollectRows(rows, pgx.RowToStructByName[credential])
}

// Revoked says whether the gateway or client of that id had its credential revoked, as far as this replica
// knows; see Changed. Somebody who is not in the set counts as revoked.
func (a *Authority) Revoked(id string) bool {
	c, found := a.clients.latest.Load().byPrincipal[id]
	return !found || c.Revoked
}

// Changed returns a channel that is closed when the set of clients is next read with a change: a
// request that is parked waits on it, and then asks Revoked. Take the channel before asking.
func (a *Authority) Changed() <-chan struct{} { return a.clients.latest.Load().changed }
