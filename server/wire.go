package server

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/approvals"
	"countersign/auth"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/egress"
	"countersign/notify"
	"countersign/policy"
	"countersign/registry"
	"countersign/usage"
)

// wire makes the parts and hands the lower ones what they need from the higher: functions, not interfaces.
func (s *Server) wire(ctx context.Context) error {
	var err error
	s.registry = registry.New(s.pool, s.hub, s.log)
	if err := s.registry.CheckLineage(ctx); err != nil {
		return err
	}
	s.auth, err = auth.New(ctx, s.pool, s.hub, s.cfg.Key, auth.Config{
		Issuer: s.cfg.OIDCIssuer, ClientID: s.cfg.OIDCClientID, ClientSecret: s.cfg.OIDCClientSecret,
		PublicURL: s.cfg.PublicURL, RoleGroups: s.cfg.RoleGroups, EvidenceIssuers: s.cfg.CallerIssuers, Now: s.cfg.Now,
		PolicyLease: time.Duration(s.cfg.MaxStaleSeconds) * time.Second,
	}, s.log)
	if err != nil {
		return fmt.Errorf("preparing sign-in: %w", err)
	}
	s.registry.DisablePerson, s.registry.Fresh = s.auth.DisablePersonTx, s.auth.Fresh
	s.delivery = delivery.New(s.pool, s.hub, s.registry, delivery.Config{
		Issuer: s.cfg.PublicURL, MaxStaleSeconds: s.cfg.MaxStaleSeconds, Log: s.log, Now: s.cfg.Now,
		CreateClient: func(ctx context.Context, tx pgx.Tx, who identity.Principal, name, kind string) (string, string, error) {
			created, err := s.auth.CreateClientTx(ctx, tx, who, auth.NewClient{Name: name, Kind: auth.ClientKind(kind)})
			return created.ID, created.Secret, err
		},
		RevokeClient: s.auth.RevokeClientTx,
		PolicyKey: func(context.Context) (string, ed25519.PrivateKey, error) {
			kid, key := s.auth.PolicyKey()
			return kid, key, nil
		},
	})
	s.approvals = approvals.New(s.pool, s.hub, approvals.Config{
		Issuer: s.cfg.PublicURL, Evaluate: s.evaluate, Evidence: s.auth.Evidence, Seal: s.cfg.Key, Log: s.log,
		Announce: func(ctx context.Context, tx pgx.Tx, n approvals.Notice) error {
			return notify.Append(ctx, tx, notify.Notice(n))
		},
	})
	s.notify = notify.New(s.pool, s.hub, notify.Config{
		PublicURL: s.cfg.PublicURL, Seal: s.cfg.Key, Guard: egress.Guard{Allow: s.cfg.AllowPrivate}, Mail: s.cfg.Mail,
		Wake: []string{approvals.Topic}, Log: s.log,
	})
	kept := s.cfg.Usage
	kept.Log, kept.Now = s.log, s.cfg.Now
	s.usage = usage.New(s.pool, s.hub, kept)
	return nil
}

// evaluate lets the approval queue ask the policy in force, at the generation that it then requires.
func (s *Server) evaluate(ctx context.Context, gatewayID string, r policy.Request) (approvals.Evaluation, error) {
	verdict, generation, snap, err := s.delivery.Evaluate(ctx, gatewayID, r)
	if err != nil {
		return approvals.Evaluation{}, err
	}
	return approvals.Evaluation{Verdict: verdict, Generation: generation, Document: snap.Index.Document()}, nil
}

// installer acts for countersign up, which sets up a fresh installation on one's own machine.
var installer = identity.Principal{Kind: identity.System, Name: "countersign up"}

// EnsureTeam makes a team unless one of that name is there.
func (s *Server) EnsureTeam(ctx context.Context, name string, groups []string) error {
	teams, err := s.registry.Teams(ctx, installer)
	if err != nil {
		return err
	}
	for _, team := range teams {
		if team.Name == name {
			return nil
		}
	}
	_, err = s.registry.CreateTeam(ctx, installer, registry.NewTeam{Name: name, IDPGroups: groups})
	return err
}

// EnrolLocalGateway enrols the gateway that runs beside us and gives its credential. One of that name that is
// enrolled already, whose credential was lost or whose address has changed, is revoked first.
func (s *Server) EnrolLocalGateway(ctx context.Context, name, resource string) (clientID, secret string, err error) {
	known, err := s.delivery.Gateways(ctx, installer, false)
	if err != nil {
		return "", "", err
	}
	fresh := delivery.NewGateway{Name: name, Audience: "local", Servers: []string{"*"}, Resource: resource}
	for _, g := range known {
		if g.Name == name {
			if _, err := s.delivery.Revoke(ctx, installer, g.ID, "enrolled anew"); err != nil {
				return "", "", err
			}
		}
	}
	enrolled, err := s.delivery.Enrol(ctx, installer, fresh)
	if err != nil {
		return "", "", err
	}
	return enrolled.ClientID, enrolled.Secret, s.auth.Refresh(ctx)
}
