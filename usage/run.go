package usage

import (
	"context"
	"log/slog"
	"time"

	"countersign/internal/postgres"
)

const (
	leaderLock  = 7253005 // who looks at rules and drops what is old
	lookEvery   = 10 * time.Second
	tidyEvery   = time.Hour
	tidyPatient = time.Minute // after a failure
)

// Run keeps house until ctx ends: one replica at a time looks at the alert rules each ten seconds, and each hour makes and
// drops partitions and drops sums that are too old.
func (l *Ledger) Run(ctx context.Context) error {
	return postgres.RunAsLeader(ctx, l.pool, leaderLock, l.cfg.Log, l.lead)
}

func (l *Ledger) lead(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var tidy time.Time
	for {
		if !time.Now().Before(tidy) {
			tidy = time.Now().Add(tidyEvery)
			if err := l.keep(ctx); err != nil && ctx.Err() == nil {
				tidy = time.Now().Add(tidyPatient)
				l.cfg.Log.WarnContext(ctx, "old call records could not be dropped", slog.Any("error", err))
			}
		}
		if err := l.Look(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.WarnContext(ctx, "alert rules could not be looked at", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}
