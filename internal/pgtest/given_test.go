package pgtest

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"countersign/internal/postgres"
)

// Several test processes use the server that TEST_DATABASE_URL names, and start
// at the same time.
func TestGivenServerIsShared(t *testing.T) {
	t.Parallel()
	given := NewServer(t, false)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c, err := givenCluster(t.Context(), given.SuperuserDSN)
			if err == nil {
				err = c.makeTemplate(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := pgx.Connect(t.Context(), c.dsn(postgres.OwnerRole, c.template))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := conn.Exec(t.Context(), `select generation from registry_head`); err != nil {
				t.Error(err)
			}
			if err := conn.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestGivenServerMustBeAURL(t *testing.T) {
	t.Parallel()
	if _, err := givenCluster(t.Context(), "postgres://%zz"); err == nil {
		t.Error("accepted")
	}
}
