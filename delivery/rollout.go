package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

// InstanceState says how far an instance of a gateway is with the policy that it should run.
type InstanceState string

// The states, from best to worst.
const (
	Synced   InstanceState = "SYNCED"   // runs the current revision
	Pending  InstanceState = "PENDING"  // alive, runs an earlier one
	Rejected InstanceState = "REJECTED" // refused the current revision, runs an earlier one
	Offline  InstanceState = "OFFLINE"  // silent, may still enforce what it has
	Stale    InstanceState = "STALE"    // silent for longer than its lease: denies
)

// offlineAfter is after how long without a word an instance counts as silent.
const offlineAfter = 60 * time.Second

// Gateway is an enrolled policy enforcement point and what its instances run.
type Gateway struct {
	ID            string
	Name          string
	Kind          string
	AudienceID    string
	AudienceName  string
	Servers       []string // of the audience
	ClientID      string
	Resource      string
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	RevokedAt     *time.Time
	RevokedBy     string
	RevokedByName string
	Epoch         int64         // wanted
	Revision      int64         // wanted; 0: none compiled yet
	State         InstanceState `db:"-"` // the worst of its live instances, Offline or Stale when all are silent
	Instances     []Instance    `db:"-"` // those seen in the last day, live ones first
	Now           time.Time     // the database's clock
}

// Instance is one process of a gateway. Its texts are made printable.
type Instance struct {
	GatewayID        string
	Instance         string
	Version          string
	Epoch            int64
	ActiveRevision   int64
	ReceivedRevision int64
	RejectedRevision int64
	RejectedReason   string
	Commands         []client.Command
	StartedAt        time.Time
	LastSeenAt       time.Time
	ActiveAt         *time.Time    // when it began to run ActiveRevision, as far as it is known
	State            InstanceState `db:"-"`
}

const selectGateways = `
	select g.id, g.name, g.kind, g.audience_id, a.name as audience_name, a.servers, g.client_id, g.resource,
	       g.created_by, coalesce(c.name, g.created_by) as created_by_name, g.created_at,
	       g.revoked_at, g.revoked_by, coalesce(e.name, g.revoked_by) as revoked_by_name,
	       h.epoch, a.revision, clock_timestamp() as now
	from gateways g
	join audiences a on a.id = g.audience_id
	cross join registry_head h
	left join people c on c.id = g.created_by
	left join people e on e.id = g.revoked_by `

// Gateways lists gateways by name, with the revoked ones if asked. It needs identity.ReadGateways.
func (d *Delivery) Gateways(ctx context.Context, who identity.Principal, revoked bool) ([]Gateway, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return nil, err
	}
	rows, _ := d.pool.Query(ctx, selectGateways+`
		where @revoked or g.revoked_at is null
		order by g.revoked_at is not null, lower(g.name), g.id
		limit 1000`, pgx.StrictNamedArgs{"revoked": revoked})
	gateways, err := pgx.CollectRows(rows, pgx.RowToStructByName[Gateway])
	if err != nil {
		return nil, fmt.Errorf("listing gateways: %w", err)
	}
	return gateways, d.attach(ctx, gateways)
}

// Gateway gives one gateway. It needs identity.ReadGateways. Problem: NotFound no_such_gateway.
func (d *Delivery) Gateway(ctx context.Context, who identity.Principal, id string) (Gateway, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return Gateway{}, err
	}
	rows, _ := d.pool.Query(ctx, selectGateways+`where g.id = @id`, pgx.StrictNamedArgs{"id": id})
	gateway, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Gateway])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Gateway{}, problem.New(problem.NotFound, "no_such_gateway", "There is no such gateway.")
	case err != nil:
		return Gateway{}, fmt.Errorf("reading gateway: %w", err)
	}
	one := []Gateway{gateway}
	err = d.attach(ctx, one)
	return one[0], err
}

// attach adds the instances and judges them.
func (d *Delivery) attach(ctx context.Context, gateways []Gateway) error {
	ids := make([]string, len(gateways))
	byID := make(map[string]*Gateway, len(gateways))
	for i := range gateways {
		ids[i], byID[gateways[i].ID] = gateways[i].ID, &gateways[i]
	}
	rows, _ := d.pool.Query(ctx, `
		select gateway_id, instance, version, epoch, active_revision, received_revision, rejected_revision,
		       rejected_reason, commands, started_at, last_seen_at, active_at
		from gateway_instances
		where gateway_id = any (@ids) and last_seen_at > clock_timestamp() - interval '1 day'
		order by gateway_id, last_seen_at < clock_timestamp() - interval '60 s', instance`, pgx.StrictNamedArgs{"ids": ids})
	instances, err := pgx.CollectRows(rows, pgx.RowToStructByName[Instance])
	if err != nil {
		return fmt.Errorf("reading instances: %w", err)
	}
	stale := time.Duration(d.cfg.MaxStaleSeconds) * time.Second
	for _, i := range instances {
		g := byID[i.GatewayID]
		i.State = i.judge(g, stale)
		g.Instances = append(g.Instances, i)
	}
	for i := range gateways {
		gateways[i].State = gateways[i].judge()
	}
	return nil
}

// judge says how far the instance is with the revision that its gateway should run.
func (i Instance) judge(g *Gateway, stale time.Duration) InstanceState {
	silent := g.Now.Sub(i.LastSeenAt)
	switch {
	case silent > max(stale, offlineAfter):
		return Stale
	case silent > offlineAfter:
		return Offline
	case i.Epoch == g.Epoch && i.ActiveRevision == g.Revision && g.Revision > 0:
		return Synced
	case i.RejectedRevision == g.Revision && g.Revision > 0:
		return Rejected
	}
	return Pending
}

// judge is the worst of the live instances; those that are silent count only when none is alive.
func (g Gateway) judge() InstanceState {
	worst := map[InstanceState]int{Synced: 1, Pending: 2, Rejected: 3}
	state, silent := InstanceState(""), Offline
	for _, i := range g.Instances {
		if worst[i.State] > worst[state] {
			state = i.State
		}
		if i.State == Stale {
			silent = Stale
		}
	}
	if state == "" {
		return silent
	}
	return state
}

// Rollout sums up who runs the current revisions.
type Rollout struct {
	Gateways []Gateway
	Counts   map[InstanceState]int // of gateways
}

// Done reports whether every gateway that is alive runs what it should.
func (r Rollout) Done() bool { return r.Counts[Pending]+r.Counts[Rejected] == 0 }

// Rollout gives the enrolled gateways and how far they are. It needs identity.ReadGateways.
func (d *Delivery) Rollout(ctx context.Context, who identity.Principal) (Rollout, error) {
	gateways, err := d.Gateways(ctx, who, false)
	if err != nil {
		return Rollout{}, err
	}
	r := Rollout{Gateways: gateways, Counts: map[InstanceState]int{}}
	for _, g := range gateways {
		r.Counts[g.State]++
	}
	return r, nil
}

// OfferedCommand is a stdio server that live gateways say they can start.
type OfferedCommand struct {
	Name     string
	Digest   string   // as registry.Location.CommandDigest wants it
	Gateways []string // names
	Servers  []string // name globs of these gateways' audiences: the server's name has to match one
}

// OfferedCommands lists the stdio servers that gateways seen in the last minute can start. It needs
// identity.ReadGateways.
func (d *Delivery) OfferedCommands(ctx context.Context, who identity.Principal) ([]OfferedCommand, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return nil, err
	}
	rows, _ := d.pool.Query(ctx, `
		select c.name, c.digest, array_agg(distinct g.name order by g.name) as gateways,
		       array_agg(distinct glob order by glob) as servers
		from gateway_instances i
		join gateways g on g.id = i.gateway_id
		join audiences a on a.id = g.audience_id
		cross join unnest(a.servers) as glob
		cross join jsonb_to_recordset(i.commands) as c (name text, digest text)
		where g.revoked_at is null and i.last_seen_at > clock_timestamp() - interval '60 s'
		group by c.name, c.digest
		order by c.name, c.digest
		limit 500`)
	commands, err := pgx.CollectRows(rows, pgx.RowToStructByName[OfferedCommand])
	if err != nil {
		return nil, fmt.Errorf("listing offered commands: %w", err)
	}
	return commands, nil
}
