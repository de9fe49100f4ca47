package delivery

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/registry"
)

// The kinds of gateway.
const (
	Proxy    = "proxy"
	Embedded = "embedded" // an MCP server that asks and redeems by itself
)

// NewGateway is what Enrol needs.
type NewGateway struct {
	Name     string
	Kind     string   // "" is Proxy
	Audience string   // name of the audience to make or to join; "" is the gateway's own name
	Servers  []string // name globs of a new audience; when joining: none, or the same
	Resource string   // its own URL: the audience of the tokens that agents send it
}

// Enrolled is a new gateway and its credential. The secret is nowhere else.
type Enrolled struct {
	Gateway
	Secret string
}

// Enrol makes a gateway with a credential of its own, in a new audience or one that is there. It needs
// identity.EnrolGateway: an admin's session.
//
// Problems: Invalid invalid_gateway with fields name, kind, audience, servers, resource; Conflict gateway_exists,
// audience_differs.
func (d *Delivery) Enrol(ctx context.Context, who identity.Principal, n NewGateway) (Enrolled, error) {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return Enrolled{}, err
	}
	if err := n.clean(); err != nil {
		return Enrolled{}, err
	}
	var id, secret string
	err := postgres.InTx(ctx, d.pool, func(tx pgx.Tx) (err error) {
		id, secret, err = d.enrolTx(ctx, tx, who, n)
		return err
	})
	if postgres.Constraint(err) == "gateways_name" {
		return Enrolled{}, problem.New(problem.Conflict, "gateway_exists", "A gateway with this name is enrolled already.").
			Field("name", "A gateway with this name is enrolled already.")
	}
	if err != nil {
		return Enrolled{}, err
	}
	d.hub.Wake(ctx, topicClients)
	d.hub.Wake(ctx, registry.TopicPolicy)
	d.hub.Wake(ctx, TopicGateways)
	gateway, err := d.Gateway(ctx, compiler, id)
	return Enrolled{Gateway: gateway, Secret: secret}, err
}

func (d *Delivery) enrolTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n NewGateway) (id, secret string, err error) {
	audienceID, err := audienceTx(ctx, tx, n)
	if err != nil {
		return "", "", err
	}
	clientID, secret, err := d.cfg.CreateClient(ctx, tx, who, n.Name, "gateway")
	if err != nil {
		return "", "", fmt.Errorf("creating the gateway's credential: %w", err)
	}
	err = tx.QueryRow(ctx, `
		insert into gateways (name, kind, audience_id, client_id, resource, created_by)
		values (@name, @kind, @audience, @client, @resource, @by)
		returning id`,
		pgx.StrictNamedArgs{
			"name": n.Name, "kind": n.Kind, "audience": audienceID, "client": clientID, "resource": n.Resource, "by": who.ID,
		}).Scan(&id)
	if err != nil {
		return "", "", fmt.Errorf("inserting gateway: %w", err)
	}
	return id, secret, audit.Append(ctx, tx, audit.Event{
		Kind: "gateway.enrolled", Who: who, TargetKind: "gateway", TargetID: id, TargetName: n.Name,
		Detail: map[string]any{
			"kind": n.Kind, "audience_id": audienceID, "audience": n.Audience, "servers": n.Servers,
			"client_id": clientID, "resource": n.Resource,
		},
	})
}

// audienceTx makes the audience, or joins the one of that name.
func audienceTx(ctx context.Context, tx pgx.Tx, n NewGateway) (id string, err error) {
	if len(n.Servers) > 0 {
		_, err := tx.Exec(ctx, `insert into audiences (name, servers) values (@name, @servers) on conflict (name) do nothing`,
			pgx.StrictNamedArgs{"name": n.Audience, "servers": n.Servers})
		if err != nil {
			return "", fmt.Errorf("inserting audience: %w", err)
		}
	}
	type row struct {
		ID      string
		Servers []string
	}
	rows, _ := tx.Query(ctx, `select id, servers from audiences where name = @name`, pgx.StrictNamedArgs{"name": n.Audience})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	switch {
	case err != nil:
		return "", fmt.Errorf("reading audience: %w", err)
	case len(found) == 0:
		return "", problem.New(problem.Invalid, "invalid_gateway", "The gateway was not enrolled. Nothing was changed.").
			Field("servers", "Say which servers this new audience may see; say * if you mean all.")
	case len(n.Servers) > 0 && !slices.Equal(found[0].Servers, n.Servers):
		return "", problem.New(problem.Conflict, "audience_differs", "The audience %q sees other servers. Nothing was changed.", n.Audience).
			Field("servers", "This audience sees "+strings.Join(found[0].Servers, ", ")+". Leave the servers out to join it, or name another audience.")
	}
	return found[0].ID, nil
}

var serverGlob = regexp.MustCompile(`^[A-Za-z0-9._*/-]{1,200}$`)

const maxGlobs = 200

// clean trims n and says everything that is wrong with it.
func (n *NewGateway) clean() error {
	invalid := problem.New(problem.Invalid, "invalid_gateway", "The gateway was not enrolled. Nothing was changed.")
	n.Name, n.Audience, n.Resource = strings.TrimSpace(n.Name), strings.TrimSpace(n.Audience), strings.TrimSpace(n.Resource)
	if n.Kind == "" {
		n.Kind = Proxy
	}
	if n.Audience == "" {
		n.Audience = n.Name
	}
	if !plain(n.Name, 100) {
		invalid.Field("name", "Give it a name of 1 to 100 visible characters.")
	}
	if n.Kind != Proxy && n.Kind != Embedded {
		invalid.Field("kind", "A gateway is a proxy, or embedded in a server.")
	}
	if !plain(n.Audience, 100) && len(invalid.Fields) == 0 {
		invalid.Field("audience", "An audience has a name of 1 to 100 visible characters.")
	}
	for i := range n.Servers {
		n.Servers[i] = strings.TrimSpace(n.Servers[i])
	}
	slices.Sort(n.Servers)
	n.Servers = slices.Compact(n.Servers)
	if len(n.Servers) > maxGlobs || slices.ContainsFunc(n.Servers, func(g string) bool { return !serverGlob.MatchString(g) }) {
		invalid.Field("servers", "Servers are names like com.acme/orders, or patterns like com.acme/*.")
	}
	if !resourceURL(n.Resource) {
		invalid.Field("resource", "This is the gateway's own address, like https://gateway.example.com.")
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// plain reports whether s is a line of visible characters.
func plain(s string, most int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// resourceURL reports whether s is an absolute URL without secrets; an embedded gateway needs none.
func resourceURL(s string) bool {
	if s == "" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && plain(s, 500) && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

// Revoke ends a gateway and its credential, for good: it is told to deny everything and forget its policy. It needs
// identity.EnrolGateway. Problems: NotFound no_such_gateway; Conflict gateway_revoked.
func (d *Delivery) Revoke(ctx context.Context, who identity.Principal, id, reason string) (Gateway, error) {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return Gateway{}, err
	}
	gateway, err := d.Gateway(ctx, compiler, id)
	if err != nil {
		return Gateway{}, err
	}
	reason = strings.TrimSpace(reason)
	if reason != "" && !plain(strings.Join(strings.Fields(reason), " "), 1000) {
		return Gateway{}, problem.New(problem.Invalid, "invalid_reason", "The reason cannot be kept as it is. Nothing was changed.").
			Field("reason", "It is too long, or holds characters that are not visible.")
	}
	err = postgres.InTx(ctx, d.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update gateways set revoked_at = clock_timestamp(), revoked_by = @by where id = @id and revoked_at is null`,
			pgx.StrictNamedArgs{"id": id, "by": who.ID})
		if err != nil {
			return fmt.Errorf("revoking gateway: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return problem.New(problem.Conflict, "gateway_revoked", "This gateway is revoked already.")
		}
		if err := d.cfg.RevokeClient(ctx, tx, who, gateway.ClientID); err != nil {
			return fmt.Errorf("revoking the gateway's credential: %w", err)
		}
		return audit.Append(ctx, tx, audit.Event{
			Kind: "gateway.revoked", Who: who, TargetKind: "gateway", TargetID: id, TargetName: gateway.Name,
			Detail: map[string]any{"client_id": gateway.ClientID, "reason": reason},
		})
	})
	if err != nil {
		return Gateway{}, err
	}
	d.hub.Wake(ctx, topicClients)
	d.hub.Wake(ctx, TopicGateways)
	return d.Gateway(ctx, compiler, id)
}
