package usage

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// What is kept unless a Config says otherwise, and what it may say.
const (
	DefaultKeepRecords = 90
	DefaultKeepUsage   = 400
	MaxKeep            = 3660
)

// Config is what a Ledger needs. Zero fields mean the defaults.
type Config struct {
	KeepRecords int // days for which single records are kept, and sums of hours
	KeepUsage   int // days for which sums of days are kept; not fewer
	Log         *slog.Logger
	Now         func() time.Time // for which span a reader means who names none
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.KeepRecords < 7 || c.KeepRecords > MaxKeep:
		return fmt.Errorf("call records can be kept for 7 to %d days, not %d", MaxKeep, c.KeepRecords)
	case c.KeepUsage < c.KeepRecords || c.KeepUsage > MaxKeep:
		return fmt.Errorf("sums of usage are kept for %d days (as call records) to %d days, not %d", c.KeepRecords, MaxKeep, c.KeepUsage)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.KeepRecords == 0 {
		c.KeepRecords = DefaultKeepRecords
	}
	if c.KeepUsage == 0 {
		c.KeepUsage = max(DefaultKeepUsage, c.KeepRecords)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Ledger is the door to call records and to all that is made of them. Its methods are safe for concurrent use; any number
// of replicas have one on the same database.
type Ledger struct {
	pool    *pgxpool.Pool
	hub     *postgres.Hub
	cfg     Config
	strange strange
}

// New makes a Ledger on a migrated database; see Run.
func New(pool *pgxpool.Pool, hub *postgres.Hub, cfg Config) *Ledger {
	return &Ledger{pool: pool, hub: hub, cfg: cfg.withDefaults(), strange: newStrange()}
}

// system is who acts when time does.
var system = identity.Principal{Kind: identity.System, Name: "Countersign"}

// one reads the only row of a query, and maps its absence to the problem.
func one[T any](rows pgx.Rows, fn pgx.RowToFunc[T], doing string, absent *problem.Error) (T, error) {
	row, err := pgx.CollectExactlyOneRow(rows, fn)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return row, absent
	case err != nil:
		return row, fmt.Errorf("%s: %w", doing, err)
	}
	return row, nil
}
