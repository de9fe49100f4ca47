package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// DiscoveryState is how far a discovery is.
//
//	waiting ──Lease──▶ running ──Finish──▶ done
//	   ▲                  ├──Fail, or an offer that cannot be read──▶ failed
//	   └──lease ran out───┤ or Fail for a reason that may pass (after a while, three times at most, then failed)
//	                      └──Cancel (from waiting too)──▶ cancelled
type DiscoveryState string

// The states of a discovery.
const (
	Waiting   DiscoveryState = "waiting"
	Running   DiscoveryState = "running"
	Done      DiscoveryState = "done"
	Failed    DiscoveryState = "failed"
	Cancelled DiscoveryState = "cancelled"
)

// Open reports whether the discovery may still change.
func (s DiscoveryState) Open() bool { return s == Waiting || s == Running }

// Discovery is a job for a gateway: look what a server offers.
type Discovery struct {
	ID              string
	ServerID        string
	ServerName      string
	EndpointID      string
	State           DiscoveryState
	GatewayID       string // who leased it last
	GatewayName     string
	Instance        string
	Attempts        int
	Steps           []client.Step
	ServerInfo      ServerInfo
	Offered         int
	Error           string
	RequestedBy     string
	RequestedByName string
	CreatedAt       time.Time
	LeasedUntil     *time.Time
	NotBefore       time.Time
	FinishedAt      *time.Time
	InReach         int // gateways seen in the last minute that could do it
}

// ServerInfo is what a server calls itself, made visible.
type ServerInfo struct {
	Name    string `json:"name,omitempty"`
	Title   string `json:"title,omitempty"`
	Version string `json:"version,omitempty"`
}

// startable is true where the stdio command of endpoint e is among the commands c.
const startable = `(e.transport <> 'stdio' or %s @> jsonb_build_array(jsonb_build_object(
	'name', e.command, 'digest', 'sha256:' || encode(e.command_digest, 'hex'))))`

var selectDiscoveries = `
	select d.id, d.server_id, s.name as server_name, d.endpoint_id, d.state, coalesce(d.gateway_id, '') as gateway_id,
	       coalesce(g.name, '') as gateway_name, d.instance, d.attempts, d.steps, d.server_info, d.offered, d.error,
	       d.requested_by, coalesce(p.name, d.requested_by) as requested_by_name, d.created_at, d.leased_until,
	       d.not_before, d.finished_at,
	       (select count(distinct og.id)
	        from gateways og
	        join audiences oa on oa.id = og.audience_id
	        join gateway_instances i on i.gateway_id = og.id
	        where og.revoked_at is null
	          and i.last_seen_at > clock_timestamp() - interval '60 s'
	          and audience_sees(oa.servers, s.name)
	          and ` + fmt.Sprintf(startable, "i.commands") + `) as in_reach
	from discoveries d
	join servers s on s.id = d.server_id
	join endpoints e on e.id = d.endpoint_id
	left join gateways g on g.id = d.gateway_id
	left join people p on p.id = d.requested_by `

func noSuchDiscovery() *problem.Error {
	return problem.New(problem.NotFound, "no_such_discovery", "There is no such discovery.")
}

// Discovery gives one discovery. It needs identity.ReadRegistry. Problem: NotFound no_such_discovery.
func (r *Registry) Discovery(ctx context.Context, who identity.Principal, id string) (Discovery, error) {
	if err := mayRead(who); err != nil {
		return Discovery{}, err
	}
	rows, _ := r.pool.Query(ctx, selectDiscoveries+`where d.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[Discovery], "reading discovery", noSuchDiscovery())
}

// Discoveries gives the server's last 20 discoveries, newest first. It needs identity.ReadRegistry.
func (r *Registry) Discoveries(ctx context.Context, who identity.Principal, serverID string) ([]Discovery, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, selectDiscoveries+`where d.server_id = @server order by d.created_at desc, d.id limit 20`,
		pgx.StrictNamedArgs{"server": serverID})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Discovery])
	if err != nil {
		return nil, fmt.Errorf("listing discoveries: %w", err)
	}
	return found, nil
}

// RequestDiscovery opens a discovery of the server's current endpoint. It needs identity.ChangeServer for the
// server's team. Problems: NotFound no_such_server; Conflict no_endpoint, discovery_open, server_retired.
func (r *Registry) RequestDiscovery(ctx context.Context, who identity.Principal, serverID string) (Discovery, error) {
	var id string
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockServerTx(ctx, tx, who, identity.ChangeServer, serverID)
		if err != nil {
			return err
		}
		if server.State == Retired {
			return retired()
		}
		id, err = openDiscoveryTx(ctx, tx, who, server)
		return err
	})
	if postgres.Constraint(err) == "discoveries_open" {
		return Discovery{}, problem.New(problem.Conflict, "discovery_open", "A discovery of this server is under way already.")
	}
	if err != nil {
		return Discovery{}, err
	}
	r.hub.Wake(ctx, TopicDiscoveries)
	return r.Discovery(ctx, system, id)
}

func retired() *problem.Error {
	return problem.New(problem.Conflict, "server_retired", "The server is retired, and stays so. Register a new one.")
}

func openDiscoveryTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s lockedServer) (id string, err error) {
	if s.EndpointID == "" {
		return "", problem.New(problem.Conflict, "no_endpoint", "Nobody has said where this server is. Give it an address or a command first; gateways look there at once.")
	}
	err = tx.QueryRow(ctx, `
		insert into discoveries (server_id, endpoint_id, requested_by) values (@server, @endpoint, @by) returning id`,
		pgx.StrictNamedArgs{"server": s.ID, "endpoint": s.EndpointID, "by": who.ID}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("opening discovery: %w", err)
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "server.discovery_requested", Who: who, TargetKind: "server", TargetID: s.ID, TargetName: s.Name,
		Detail: map[string]any{"discovery_id": id},
	})
}

// CancelDiscovery ends an open discovery; the gateway that works on it hears of it with its next progress.
// It needs identity.ChangeServer for the server's team. Problems: NotFound no_such_discovery; Conflict discovery_over.
func (r *Registry) CancelDiscovery(ctx context.Context, who identity.Principal, id string) (Discovery, error) {
	d, err := r.Discovery(ctx, who, id)
	if err != nil {
		return Discovery{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockServerTx(ctx, tx, who, identity.ChangeServer, d.ServerID)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			update discoveries set state = 'cancelled', finished_at = clock_timestamp(), leased_until = null
			where id = @id and state in ('waiting', 'running')`, pgx.StrictNamedArgs{"id": id})
		if err != nil {
			return fmt.Errorf("cancelling discovery: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return problem.New(problem.Conflict, "discovery_over", "The discovery has ended already.")
		}
		return audit.Append(ctx, tx, audit.Event{
			Kind: "server.discovery_cancelled", Who: who, TargetKind: "server", TargetID: server.ID, TargetName: server.Name,
			Detail: map[string]any{"discovery_id": id},
		})
	})
	if err != nil {
		return Discovery{}, err
	}
	r.hub.Wake(ctx, TopicDiscoveries)
	return r.Discovery(ctx, system, id)
}

// cancelOpenTx ends the server's open discovery, if it has one, as part of another change of the server.
func cancelOpenTx(ctx context.Context, tx pgx.Tx, serverID string) error {
	_, err := tx.Exec(ctx, `
		update discoveries set state = 'cancelled', finished_at = clock_timestamp(), leased_until = null
		where server_id = @server and state in ('waiting', 'running')`, pgx.StrictNamedArgs{"server": serverID})
	if err != nil {
		return fmt.Errorf("cancelling open discovery: %w", err)
	}
	return nil
}
