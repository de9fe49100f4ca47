package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

const (
	maxReachWait = 55 * time.Second
	reachPause   = 100 * time.Millisecond // between two looks: a fleet that reports is looked at in one
	reachAgain   = 2 * time.Second        // a gateway falls silent without a word
)

// Reach gives the enrolled gateways, by name, and how far each is with the policy of a generation: who runs a revision
// that carries it, and how long that took from the change. Generation 0 is the present one. It needs
// identity.ReadRollout; a gateway sees itself. Problem: NotFound no_such_generation.
func (d *Delivery) Reach(ctx context.Context, who identity.Principal, generation int64) (Effects, error) {
	gateways, err := d.reachable(ctx, who)
	if err != nil {
		return Effects{}, err
	}
	effects, err := d.movedAt(ctx, generation)
	if err != nil {
		return Effects{}, err
	}
	carriers, err := d.carriers(ctx, effects.Generation, "")
	if err != nil {
		return Effects{}, err
	}
	stale := time.Duration(d.cfg.MaxStaleSeconds) * time.Second
	for _, g := range gateways {
		effects.Gateways = append(effects.Gateways, effect(g, carriers[g.AudienceID], effects.Since, stale))
	}
	return effects, nil
}

// reachable are the gateways that who may ask about.
func (d *Delivery) reachable(ctx context.Context, who identity.Principal) ([]Gateway, error) {
	if err := who.Can(identity.ReadRollout, ""); err != nil {
		return nil, err
	}
	if who.Kind != identity.Gateway {
		return d.Gateways(ctx, who, false)
	}
	rows, _ := d.pool.Query(ctx, selectGateways+`where g.id = @id and g.revoked_at is null`, pgx.StrictNamedArgs{"id": who.GatewayID})
	itself, err := pgx.CollectRows(rows, pgx.RowToStructByName[Gateway])
	if err != nil {
		return nil, fmt.Errorf("reading gateway: %w", err)
	}
	return itself, d.attach(ctx, itself)
}

// movedAt gives a generation, the present one for 0, and when it was made.
func (d *Delivery) movedAt(ctx context.Context, generation int64) (e Effects, err error) {
	err = d.pool.QueryRow(ctx, `
		select n.generation, n.at from registry_head h
		join generations n on n.generation = coalesce(nullif(@generation::bigint, 0), h.generation)`,
		pgx.StrictNamedArgs{"generation": generation}).Scan(&e.Generation, &e.Since)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return e, problem.New(problem.NotFound, "no_such_generation", "Nothing is known of such a generation of the policy.")
	case err != nil:
		return e, fmt.Errorf("reading when the policy moved: %w", err)
	}
	return e, nil
}

// AwaitReach is Reach, once every gateway that is alive enforces the generation, or after wait, at most 55 s.
func (d *Delivery) AwaitReach(ctx context.Context, who identity.Principal, generation int64, wait time.Duration) (Effects, error) {
	gateways, stopGateways := d.hub.Subscribe(TopicGateways)
	defer stopGateways()
	revisions, stopRevisions := d.hub.Subscribe(TopicRevisions)
	defer stopRevisions()
	again := time.NewTicker(reachAgain)
	defer again.Stop()
	over := time.NewTimer(min(wait, maxReachWait))
	defer over.Stop()
	for {
		effects, err := d.Reach(ctx, who, generation)
		if err != nil || effects.Done() || wait <= 0 {
			return effects, err
		}
		generation = effects.Generation
		select {
		case <-gateways:
		case <-revisions:
		case <-again.C:
		case <-over.C:
			return effects, nil
		case <-ctx.Done():
			return Effects{}, ctx.Err()
		}
		select {
		case <-time.After(reachPause):
		case <-ctx.Done():
			return Effects{}, ctx.Err()
		}
	}
}
