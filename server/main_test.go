package server

import (
	"testing"

	"go.uber.org/goleak"

	"countersign/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.Goroutines()) }
