package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/registry"
)

type epochCmd struct {
	Bump epochBumpCmd `cmd:"" help:"Say that the database is not the one it was, after a restore that Countersign cannot see."`
}

type epochBumpCmd struct {
	onDatabase
	Reason string `required:"" help:"Why, for the audit log."`
}

// Run moves the epoch: gateways take the policy of this database again, whatever they held, and confirmations that
// were issued before are void.
func (cmd epochBumpCmd) Run(ctx context.Context, c *console) error {
	return cmd.with(ctx, c, func(pool *pgxpool.Pool) error {
		epoch, err := registry.BumpEpoch(ctx, pool, operator, cmd.Reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "This is epoch %d now. What was issued before is void.\n", epoch)
		return nil
	})
}
