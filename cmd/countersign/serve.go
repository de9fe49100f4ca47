package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/seal"
	"countersign/migrations"
	"countersign/server"
	"countersign/usage"
)

type serveCmd struct {
	DatabaseURL      string            `name:"database-url" env:"DATABASE_URL" required:"" help:"PostgreSQL to use, as a role that can neither change nor delete audit events."`
	Listen           string            `env:"COUNTERSIGN_LISTEN" default:"127.0.0.1:8080" help:"Address to listen on."`
	PublicURL        string            `name:"public-url" env:"COUNTERSIGN_PUBLIC_URL" required:"" help:"The address people and gateways reach it at; https, or http on loopback."`
	KeyFile          string            `name:"key-file" env:"COUNTERSIGN_KEY_FILE" required:"" type:"path" help:"The key that seals signing keys and held arguments; the same file on every replica."`
	OIDCIssuer       string            `name:"oidc-issuer" env:"COUNTERSIGN_OIDC_ISSUER" required:"" help:"Issuer of the identity provider people sign in with."`
	OIDCClientID     string            `name:"oidc-client-id" env:"COUNTERSIGN_OIDC_CLIENT_ID" required:"" help:"Client id of the console at that provider."`
	OIDCClientSecret string            `name:"oidc-client-secret-file" env:"COUNTERSIGN_OIDC_CLIENT_SECRET_FILE" type:"path" help:"File with the client secret; none for a public client."`
	RoleGroups       map[string]string `name:"role" env:"COUNTERSIGN_ROLES" help:"Role to groups, as admin=platform-admins,admins;auditor=audit. Roles: viewer, auditor, approver, owner, admin."`
	CallerIssuers    []string          `name:"caller-issuer" env:"COUNTERSIGN_CALLER_ISSUERS" help:"Identity providers whose tokens prove who calls a tool, besides --oidc-issuer."`
	TrustedProxies   []string          `name:"trusted-proxy" env:"COUNTERSIGN_TRUSTED_PROXIES" help:"Networks of the balancers in front, as 10.0.0.0/8: their X-Forwarded-For is believed."`
	PublicRegistry   string            `name:"public-registry" env:"COUNTERSIGN_PUBLIC_REGISTRY" help:"Let anybody read the MCP registry API at /registry/ and this: 32 or more letters, digits, - and _ that nobody can guess."`
	MaxStale         int               `name:"max-stale-seconds" env:"COUNTERSIGN_MAX_STALE_SECONDS" default:"300" help:"How long a gateway that cannot reach us keeps enforcing what it holds."`
	KeepRecords      int               `name:"keep-call-records" env:"COUNTERSIGN_KEEP_CALL_RECORDS" default:"90" help:"Days for which single records of calls are kept."`
	KeepUsage        int               `name:"keep-usage" env:"COUNTERSIGN_KEEP_USAGE" default:"400" help:"Days for which what calls add up to is kept."`

	Notify notifyFlags `embed:""`
}

// Run serves until ctx ends. The schema must be current: countersign migrate brings it up to date.
func (cmd serveCmd) Run(ctx context.Context, c *console) error {
	key, err := seal.Load(cmd.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the key file: %w", err)
	}
	secret, err := readSecret(cmd.OIDCClientSecret)
	if err != nil {
		return err
	}
	roles, err := roleGroups(cmd.RoleGroups)
	if err != nil {
		return err
	}
	proxies, err := prefixes("--trusted-proxy", cmd.TrustedProxies)
	if err != nil {
		return err
	}
	cfg := server.Config{
		DatabaseURL: cmd.DatabaseURL, PublicURL: cmd.PublicURL, Key: key,
		OIDCIssuer: cmd.OIDCIssuer, OIDCClientID: cmd.OIDCClientID, OIDCClientSecret: secret,
		RoleGroups: roles, CallerIssuers: cmd.CallerIssuers, TrustedProxies: proxies, MaxStaleSeconds: cmd.MaxStale, PublicRegistry: cmd.PublicRegistry, Log: c.log,
		Usage: usage.Config{KeepRecords: cmd.KeepRecords, KeepUsage: cmd.KeepUsage},
	}
	if err := cmd.Notify.into(&cfg); err != nil {
		return err
	}
	srv, err := server.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer srv.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmd.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", cmd.Listen, err)
	}
	fmt.Fprintf(c.out, "Countersign serves %s on %s\n", cmd.PublicURL, listener.Addr())
	return srv.Run(ctx, listener)
}

func prefixes(flag string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s %s: write a network as 10.0.0.0/8", flag, text)
		}
		out = append(out, prefix)
	}
	return out, nil
}

type migrateCmd struct {
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" required:"" help:"PostgreSQL to use, as the owner of the database."`
}

// Run brings the schema up to date; it may run again at any time, and beside a running server.
func (cmd migrateCmd) Run(ctx context.Context, c *console) error {
	if err := postgres.Migrate(ctx, cmd.DatabaseURL, migrations.FS, c.log); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "The schema is up to date.")
	return nil
}

func readSecret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the client secret: %w", err)
	}
	return strings.TrimSpace(string(secret)), nil
}

func roleGroups(flags map[string]string) (map[identity.Role][]string, error) {
	known := map[string]identity.Role{
		"viewer": identity.Viewer, "auditor": identity.Auditor, "approver": identity.Approver, "owner": identity.Owner, "admin": identity.Admin,
	}
	roles := map[identity.Role][]string{}
	for name, groups := range flags {
		role, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("--role %s: there is no such role; the roles are viewer, auditor, approver, owner and admin", name)
		}
		for group := range strings.SplitSeq(groups, ",") {
			if group = strings.TrimSpace(group); group != "" {
				roles[role] = append(roles[role], group)
			}
		}
	}
	return roles, nil
}
