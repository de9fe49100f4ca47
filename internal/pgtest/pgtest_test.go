package pgtest_test

import (
	"testing"

	"countersign/internal/pgtest"
)

func TestNew(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var n int
	if err := db.Runtime.QueryRow(t.Context(), `select 1 from registry_head`).Scan(&n); err != nil {
		t.Fatal(err)
	}
}

func TestServerSurvivesKills(t *testing.T) {
	t.Parallel()
	s := pgtest.NewServer(t, true)
	for _, crash := range []func(testing.TB){s.Kill, s.StopImmediately, s.Stop} {
		crash(t)
		s.Start(t)
	}
}
