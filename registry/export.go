package registry

import (
	"context"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
	"countersign/identity"
)

// Export gives everything that has neither ended nor retired, by name and key, so that a plan of it is empty. A rule
// that was made in the console has its id as key. It needs identity.ReadRegistry and identity.ReadPolicy.
func (r *Registry) Export(ctx context.Context, who identity.Principal) (desired.Set, error) {
	if err := mayPlan(who); err != nil {
		return desired.Set{}, err
	}
	var now present
	err := pgx.BeginTxFunc(ctx, r.pool, ReadOnly, func(tx pgx.Tx) (err error) {
		now, err = readPresentTx(ctx, tx, nil)
		return err
	})
	return now.set(), err
}

// mayPlan is asked of whoever reads all of the registry at once.
func mayPlan(who identity.Principal) error {
	if err := who.Can(identity.ReadRegistry, ""); err != nil {
		return err
	}
	return who.Can(identity.ReadPolicy, "")
}
