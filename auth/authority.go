package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/seal"
)

// CallbackPath is where the identity provider sends a browser back to. The redirect URI to register is
// Config.PublicURL followed by it.
const CallbackPath = "/auth/callback"

// Config says whom to trust and for how long. Issuer, ClientID and PublicURL are needed.
type Config struct {
	Issuer       string // the identity provider, exactly as its tokens name it
	ClientID     string
	ClientSecret string // "" for a public client, which PKCE protects
	PublicURL    string // the console's own origin; also issuer and audience of access tokens

	// StableClaim names the claim that identifies a person for good: "sub" unless said otherwise,
	// "oid" where sub differs from client to client.
	StableClaim string
	GroupsClaim string   // "groups" unless said otherwise
	Scopes      []string // openid, profile, email and groups unless said otherwise

	// RoleGroups lists, for each role, the groups that hold it. The group "*" is everyone who can
	// sign in.
	RoleGroups map[identity.Role][]string

	SessionIdle   time.Duration // 30 minutes unless said otherwise
	SessionMax    time.Duration // 12 hours; also the oldest authentication taken at sign-in
	FreshFor      time.Duration // 5 minutes: how long a sign-in is good for sharp actions
	TokenLifetime time.Duration // 10 minutes
	PolicyLease   time.Duration // 24 hours: at least how long a gateway may go by a policy without contact

	// EvidenceIssuers vouch for callers of tools, besides Issuer.
	EvidenceIssuers []string
	// InsecureIssuers allows issuers by plain http beyond loopback, for a closed test network.
	InsecureIssuers bool

	HTTPClient *http.Client     // to reach issuers; nil is one with a timeout
	Now        func() time.Time // nil is time.Now; sessions go by the database's clock
}

// Authority authenticates people, machines and evidence. It is safe for concurrent use.
type Authority struct {
	pool *pgxpool.Pool
	hub  *postgres.Hub
	seal *seal.Key
	log  *slog.Logger
	cfg  Config
	now  func() time.Time

	console  *issuer            // where people sign in
	evidence map[string]*issuer // who vouches for callers, by URL

	keys     *Keyring
	clients  *roster
	verified *tokenCache
}

// topicClients wakes those who hold the set of clients or of keys.
const topicClients = "clients"

// The rhythm of Run.
const (
	pollInterval  = 5 * time.Second
	purgeInterval = time.Minute
	pollTimeout   = 3 * time.Second
)

// New prepares an Authority on a migrated database: it makes the signing keys when there are none and
// reads the set of clients. The identity provider may be down; it is looked up at the first sign-in.
func New(ctx context.Context, pool *pgxpool.Pool, hub *postgres.Hub, key *seal.Key, cfg Config, log *slog.Logger) (*Authority, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring sign-in: %w", err)
	}
	a := &Authority{
		pool: pool, hub: hub, seal: key, log: log, cfg: cfg, now: cfg.Now,
		console:  newIssuer(cfg.Issuer, cfg),
		evidence: map[string]*issuer{},
		keys:     newKeyring(pool, hub, key, cfg),
		verified: newTokenCache(),
	}
	a.clients = newRoster(a.readCredentials, cfg.Now)
	a.evidence[cfg.Issuer] = a.console
	for _, other := range cfg.EvidenceIssuers {
		if a.evidence[other] == nil {
			a.evidence[other] = newIssuer(other, cfg)
		}
	}
	if err := a.keys.create(ctx); err != nil {
		return nil, err
	}
	if err := a.Refresh(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Run keeps the sets of clients and keys current and clears away sign-ins that were never finished. It
// returns nil when ctx ends.
func (a *Authority) Run(ctx context.Context) error {
	woken, stop := a.hub.Subscribe(topicClients)
	defer stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	purge := time.NewTicker(purgeInterval)
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
			a.attempt(ctx, "reading the set of clients", a.Refresh)
		case <-poll.C:
			a.attempt(ctx, "moving signing keys on", a.keys.advance)
			a.attempt(ctx, "reading the set of clients", a.Refresh)
		case <-purge.C:
			a.attempt(ctx, "clearing sign-ins that were never finished", a.purgeSignIns)
		}
	}
}

func (a *Authority) attempt(ctx context.Context, what string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if err := do(ctx); err != nil && !errors.Is(err, context.Canceled) {
		a.log.WarnContext(ctx, "background work interrupted", slog.String("work", what), slog.Any("error", err))
	}
}

// Refresh reads the sets of clients and of keys now. What was committed before the call is heeded by
// this replica after it.
func (a *Authority) Refresh(ctx context.Context) error {
	if err := a.keys.load(ctx); err != nil {
		return err
	}
	return a.clients.refresh(ctx)
}

func (c Config) withDefaults() Config {
	if c.StableClaim == "" {
		c.StableClaim = "sub"
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "profile", "email", "groups"}
	}
	durations := []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&c.SessionIdle, 30 * time.Minute},
		{&c.SessionMax, 12 * time.Hour},
		{&c.FreshFor, 5 * time.Minute},
		{&c.TokenLifetime, 10 * time.Minute},
		{&c.PolicyLease, 24 * time.Hour},
	}
	for _, d := range durations {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{
			Timeout: 10 * time.Second,
			// What an issuer says is believed because of where it was fetched.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	if c.ClientID == "" {
		return errors.New("there is no client ID")
	}
	if !slices.Contains(c.Scopes, "openid") {
		return errors.New("the scopes lack openid")
	}
	public, err := secureURL(c.PublicURL, false)
	if err != nil {
		return fmt.Errorf("public URL: %w", err)
	}
	if c.PublicURL != public.Scheme+"://"+public.Host {
		return fmt.Errorf("public URL %q must be an origin, without a path or a trailing slash", c.PublicURL)
	}
	for _, issuer := range append([]string{c.Issuer}, c.EvidenceIssuers...) {
		if _, err := secureURL(issuer, c.InsecureIssuers); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
	}
	return nil
}

// secureURL parses an absolute URL that nobody between can read: https, or http on loopback.
func secureURL(raw string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not a plain absolute URL", raw)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && (loopback || insecure) {
		return u, nil
	}
	return nil, fmt.Errorf("%q must be https: plain http is for loopback only", raw)
}
