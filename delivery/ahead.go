package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// Ahead is an instance of a gateway that runs a later policy than this database ever published: proof that the
// database was put back to an earlier state. The gateway is answered 503, goes on with what it holds to the end of its
// lease and then denies, until an operator moves the epoch.
type Ahead struct {
	GatewayID   string
	GatewayName string
	Instance    string
	Epoch       int64 // what it runs
	Revision    int64
	HeadEpoch   int64 // what this database is at
	Generation  int64
	SeenAt      time.Time
}

// Ahead lists the instances that are ahead of this database, at most 100, those seen last first. It needs
// identity.ReadGateways.
func (d *Delivery) Ahead(ctx context.Context, who identity.Principal) ([]Ahead, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return nil, err
	}
	rows, _ := d.pool.Query(ctx, `
		select g.id as gateway_id, g.name as gateway_name, i.instance, i.epoch, i.active_revision as revision,
		       h.epoch as head_epoch, h.generation, i.last_seen_at as seen_at
		from registry_head h
		join gateway_instances i on i.epoch > h.epoch or i.epoch = h.epoch and i.active_revision > h.generation
		join gateways g on g.id = i.gateway_id and g.revoked_at is null
		order by i.last_seen_at desc, g.id, i.instance
		limit 100`)
	ahead, err := pgx.CollectRows(rows, pgx.RowToStructByName[Ahead])
	if err != nil {
		return nil, fmt.Errorf("looking for gateways that are ahead: %w", err)
	}
	return ahead, nil
}
