package approvals

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// Get is a request as the gateway that asked sees it; others are NotFound. What its time brought is done first.
func (q *Queue) Get(ctx context.Context, who identity.Principal, id string) (Request, error) {
	if err := asGateway(who); err != nil {
		return Request{}, err
	}
	r, err := q.ofGateway(ctx, who, id)
	if err != nil {
		return Request{}, err
	}
	overdue := r.State == Pending && !r.ExpiresAt.After(r.Now) || r.toEscalate() ||
		r.State == Approved && r.ClaimBy != nil && !r.ClaimBy.After(r.Now)
	if overdue {
		err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
			if r, err = lock(ctx, tx, id); err != nil {
				return nil, err
			}
			_, err = q.lapseTx(ctx, tx, &r)
			return nil, err
		})
	}
	return r.view(), err
}

// Wait is Get once the request is no longer pending, or when wait is over, whichever is first.
func (q *Queue) Wait(ctx context.Context, who identity.Principal, id string, wait time.Duration) (Request, error) {
	woken, stop := q.hub.Subscribe(Topic)
	defer stop()
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		r, err := q.Get(ctx, who, id)
		if err != nil || r.State != Pending || wait <= 0 {
			return r, err
		}
		deadline := time.NewTimer(r.ExpiresIn + time.Millisecond)
		select {
		case <-woken:
		case <-deadline.C:
		case <-over.C:
			wait = 0
		case <-ctx.Done():
			deadline.Stop()
			return r, ctx.Err()
		}
		deadline.Stop()
	}
}
