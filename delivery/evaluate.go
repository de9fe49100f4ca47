package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/problem"
	"countersign/policy"
)

// evaluateWait is how long Evaluate waits for the policy to be compiled up to the head.
const evaluateWait = 2 * time.Second

// Evaluate decides on a call of a gateway by the policy of its audience, as of the present generation of the
// registry, which it reads from the database. The generation it returns is that of the snapshot: whoever acts on the
// verdict requires in its own statement that the head has not moved since.
//
// Problems: Forbidden gateway_revoked; Unavailable policy_compiling when the policy does not get there within 2 s.
func (d *Delivery) Evaluate(ctx context.Context, gatewayID string, r policy.Request) (policy.Verdict, int64, *Snapshot, error) {
	var audienceID string
	var epoch, generation int64
	err := d.pool.QueryRow(ctx, `
		select g.audience_id, h.epoch, h.generation
		from registry_head h
		cross join gateways g
		where g.id = @gateway and g.revoked_at is null`, pgx.StrictNamedArgs{"gateway": gatewayID}).
		Scan(&audienceID, &epoch, &generation)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return policy.Verdict{}, 0, nil, problem.New(problem.Forbidden, "gateway_revoked", "This gateway is not enrolled any more.")
	case err != nil:
		return policy.Verdict{}, 0, nil, fmt.Errorf("reading the head: %w", err)
	}
	snapshot, err := d.await(ctx, audienceID, epoch, generation)
	if err != nil {
		return policy.Verdict{}, 0, nil, err
	}
	if r.Principal != nil { // as gateways do, by the same registrations
		p := *r.Principal
		snapshot.Index.Attest(&p)
		r.Principal = &p
	}
	return snapshot.Index.Decide(r), snapshot.CompiledGeneration, snapshot, nil
}

// await waits until the audience's snapshot speaks up to the generation.
func (d *Delivery) await(ctx context.Context, audienceID string, epoch, generation int64) (*Snapshot, error) {
	patience := time.NewTimer(evaluateWait)
	defer patience.Stop()
	again := time.NewTicker(evaluateWait / 8)
	defer again.Stop()
	for {
		moved := d.anyMoved()
		s := d.Current(audienceID)
		if s != nil && s.Epoch == epoch && s.CompiledGeneration >= generation {
			return s, nil
		}
		select {
		case d.look <- struct{}{}: // this replica may have missed the wake-up
		default:
		}
		select {
		case <-moved:
		case <-again.C:
		case <-patience.C:
			p := problem.New(problem.Unavailable, "policy_compiling", "The policy is being compiled. Nothing was decided; ask again.")
			p.RetryAfter = time.Second
			return nil, p
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
