package approvals

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/migrations"
)

// clock is that of a stock PostgreSQL whose wall clock a test moves, while that of this process is right.
type clock struct {
	t    *testing.T
	file string
}

// moveTo makes the database's clock wrong by d.
func (c clock) moveTo(d time.Duration) {
	c.t.Helper()
	f, err := os.OpenFile(c.file, os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()                                                                                       // WriteAt tells
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(d/time.Second)), 0); err != nil { // two's complement, as C reads it
		c.t.Fatal(err)
	}
}

// newWorldInTime is a world on a database with a clock of its own.
func newWorldInTime(t *testing.T) (*world, clock) {
	t.Helper()
	dir := pgtest.TempDir(t)
	c := clock{t: t, file: filepath.Join(dir, "shift")}
	writeFor(t, c.file, string(make([]byte, 8)), 0o644)
	library := filepath.Join(dir, "clock.so")
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	compile := exec.CommandContext(t.Context(), compiler, "-shared", "-fPIC", "-O1", "-o", library, "testdata/clock.c", "-ldl")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compiling the clock (see tools/setup cc): %v\n%s", err, out)
	}
	programs := filepath.Join(dir, "bin")
	if err := os.Mkdir(programs, 0o755); err != nil { // the account that runs PostgreSQL reads it
		t.Fatal(err)
	}
	stock := binaries(t)
	for _, name := range []string{"initdb", "postgres"} {
		writeFor(t, filepath.Join(programs, name), fmt.Sprintf("#!/bin/sh\nCLOCK_SHIFT=%s LD_PRELOAD=%s exec %s/%s \"$@\"\n", c.file, library, stock, name), 0o755)
	}
	server, err := postgres.Start(t.Context(), postgres.Config{
		DataDir: filepath.Join(dir, "data"), BinDir: programs, Volatile: true, Settings: map[string]string{"shared_buffers": "32MB"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	owner := server.DSN(postgres.OwnerRole)
	if err := postgres.Migrate(t.Context(), owner, migrations.FS, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	w := newWorldOn(t, openPool(t, owner), openPool(t, server.DSN(postgres.RuntimeRole)))
	populate(t, w.owner)
	return w, c
}

// binaries is the folder of the PostgreSQL that all tests run on.
func binaries(t *testing.T) string {
	t.Helper()
	if given := os.Getenv("COUNTERSIGN_PG_BIN"); given != "" {
		return given
	}
	var dir string
	pool := openPool(t, pgtest.New(t).SuperuserDSN)
	if err := pool.QueryRow(t.Context(), `select setting from pg_config where name = 'BINDIR'`).Scan(&dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFor(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// TestExpiryWithWrongClocks: the clock of the control plane and the database's are an hour apart, in both directions.
// Everything lasts as long as it was promised to, by the database's clock, and what is told to others are durations.
func TestExpiryWithWrongClocks(t *testing.T) { //nolint:tparallel // the cases share a clock
	t.Parallel()
	w, clock := newWorldInTime(t)
	for name, apart := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		clock.moveTo(apart)
		if got := read[time.Time](w, `select clock_timestamp()`); got.Sub(time.Now().Add(apart)).Abs() > 5*time.Minute {
			t.Fatalf("the database says %v: its clock was not moved", got)
		}
		t.Run(name, func(t *testing.T) {
			w.restore(t)
			w.lastsAsPromised(name)
			w.endsAsPromised(name)
		})
	}
	t.Run("it is put forward", func(t *testing.T) {
		w.restore(t)
		clock.moveTo(0)
		pending, approved := w.ask(w.call("forward 1")), w.vote(w.ada, w.ask(w.call("forward 2")), Approve)
		r, token := w.claimed(w.call("forward 3"))
		clock.moveTo(time.Hour)
		_, err := w.redeem(token, w.call("forward 3"), "red forward")
		wantProblem(t, err, problem.Gone, "confirmation_expired")
		w.sweep(3) // the token ends with its request
		w.wantState(pending, Expired)
		w.wantState(approved, Closed)
		w.wantState(r, Closed)
	})
	t.Run("it is put back", func(t *testing.T) {
		w.restore(t)
		clock.moveTo(time.Hour)
		_, token := w.claimed(w.call("back 1"))
		spent, used := w.claimed(w.call("back 2"))
		w.mustRedeem(used, w.call("back 2"), "red back 2")
		clock.moveTo(0)
		w.mustRedeem(token, w.call("back 1"), "red back 1") // it lives longer, and is used once all the same
		for _, again := range []string{"red back 3", "red back 4"} {
			_, err := w.redeem(token, w.call("back 1"), again)
			wantProblem(t, err, problem.Gone, "confirmation_used")
		}
		w.sweep(0)
		w.wantState(spent, Closed)
	})
}

// lastsAsPromised goes the straight way. Nothing is late or early, however wrong the clock.
func (w *world) lastsAsPromised(name string) {
	w.t.Helper()
	lasts := func(what string, got, want time.Duration) {
		w.t.Helper()
		if got > want || got < want-time.Minute/2 {
			w.t.Errorf("%s lasts %v, promised are %v", what, got, want)
		}
	}
	call := w.call(name)
	r := w.ask(call)
	lasts("the request", r.ExpiresIn, 15*time.Minute)
	w.sweep(0)
	r = w.vote(w.ada, r, Approve)
	lasts("the approval", r.ExpiresIn, 5*time.Minute)
	w.sweep(0)
	claimed, err := w.queue.Claim(w.t.Context(), w.gateway, r.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	lasts("the token", claimed.ExpiresIn, time.Minute)
	w.sweep(0)
	w.mustRedeem(claimed.Token, call, "red "+name)
	w.sweep(0)
	if err := w.queue.Outcome(w.t.Context(), w.gateway, "red "+name, Outcome{Status: Succeeded}); err != nil {
		w.t.Fatal(err)
	}
}

// endsAsPromised lets each time run out that a request and its token have.
func (w *world) endsAsPromised(name string) {
	w.t.Helper()
	long := w.queue.cfg
	defer func() { w.queue.cfg = long }()
	const short = 150 * time.Millisecond
	over := func(what string, r Request) {
		w.t.Helper()
		w.until(fmt.Sprintf(`select max(%s) from approvals a left join confirmations c on c.approval_id = a.id where a.id = '%s'`, what, r.ID))()
	}

	w.queue.cfg.PendingFor = short
	r := w.ask(w.call(name + " pending"))
	over("a.expires_at", r)
	_, err := w.queue.Vote(w.t.Context(), w.ada, r.ID, on(r, Approve))
	wantProblem(w.t, err, problem.Conflict, "not_pending")
	w.wantState(r, Expired)

	w.queue.cfg.PendingFor, w.queue.cfg.ClaimWithin = long.PendingFor, short
	r = w.vote(w.ada, w.ask(w.call(name+" approved")), Approve)
	over("a.claim_by", r)
	_, err = w.queue.Claim(w.t.Context(), w.gateway, r.ID)
	wantProblem(w.t, err, problem.Conflict, "not_approved")

	w.queue.cfg.ClaimWithin, w.queue.cfg.RedeemWithin = long.ClaimWithin, short
	r, token := w.claimed(w.call(name + " claimed"))
	over("c.expires_at", r)
	_, err = w.redeem(token, w.call(name+" claimed"), "red late "+name)
	wantProblem(w.t, err, problem.Gone, "confirmation_expired")

	w.queue.cfg.RedeemWithin, w.queue.cfg.OutcomeWithin = long.RedeemWithin, short
	r, token = w.claimed(w.call(name + " redeemed"))
	w.mustRedeem(token, w.call(name+" redeemed"), "red silent "+name)
	over("c.outcome_by", r)
	if _, err := w.queue.Sweep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if got := w.confirmation(r); got != Indeterminate {
		w.t.Errorf("a call without an outcome is %s", got)
	}
}
