package approvals

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/pgtest"
	"countersign/policy"
)

// benchWorld is a durable server with n tokens and a pool of 16 connections.
func benchWorld(b *testing.B, n int) (*world, []spendable) {
	b.Helper()
	db := pgtest.NewServer(b, true)
	w := newWorldOn(b, openPool(b, db.OwnerDSN), openPool(b, db.RuntimeDSN+"&pool_max_conns=16"))
	populate(b, w.owner)
	standing := Evaluation{Verdict: w.verdict(), Generation: 1, Document: w.law.document}
	w.queue.cfg.Evaluate = func(context.Context, string, policy.Request) (Evaluation, error) { return standing, nil }
	return w, w.issue(n)
}

// BenchmarkRedeem is to be compared with BenchmarkRedeemStatement: the same statement by pgx alone.
func BenchmarkRedeem(b *testing.B) {
	w, all := benchWorld(b, b.N)
	spendAll(b, all, func(i int) error {
		_, err := w.redeem(all[i].token, all[i].call, redemption(i))
		return err
	})
}

func BenchmarkRedeemStatement(b *testing.B) {
	w, all := benchWorld(b, b.N)
	spendAll(b, all, func(i int) error { return bareRedeem(b, w.queue.pool, all[i], redemption(i)) })
}

func bareRedeem(b *testing.B, pool *pgxpool.Pool, s spendable, id string) error {
	b.Helper()
	hash, err := parseToken(s.token)
	if err != nil {
		return err
	}
	digest := digestOf(b, s.call)
	var event int64
	return pool.QueryRow(context.Background(), redeemSQL, pgx.StrictNamedArgs{
		"hash": hash[:], "gateway": gateway, "digest": digest[:], "digest_text": digest.String(), "redemption": id, "instance": "i",
		"outcome_within": "10 minutes", "epoch": 1, "generation": 1,
		"actor_kind": "gateway", "actor_id": gateway, "actor_name": "edge", "ip": "", "request_id": "",
	}).Scan(&event)
}

func spendAll(b *testing.B, all []spendable, redeem func(i int) error) {
	b.Helper()
	var next atomic.Int64
	b.SetParallelism(8) // × 2 or more processors: all connections are busy
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if i := int(next.Add(1)) - 1; i < len(all) {
				if err := redeem(i); err != nil {
					b.Error(err)
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "redeemed/s")
}

// BenchmarkListWaiting is the first page of a queue of 10,000.
func BenchmarkListWaiting(b *testing.B) {
	db := pgtest.NewServer(b, true)
	w := newWorldOn(b, openPool(b, db.OwnerDSN), openPool(b, db.RuntimeDSN))
	populate(b, w.owner)
	w.issue(10_000)
	w.exec(`delete from confirmations`)
	w.exec(`update approvals set state = 'pending', decided_at = null, claim_by = null`)
	w.exec(`analyze`)
	for name, filter := range map[string]Filter{"all": {Waiting: true}, "mine": {Waiting: true, MayDecide: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				page, err := w.queue.List(b.Context(), w.ada, filter)
				if err != nil || len(page.Items) != 50 {
					b.Fatal(fmt.Errorf("%d items: %w", len(page.Items), err))
				}
			}
		})
	}
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.queue.Counts(b.Context(), w.ada); err != nil {
				b.Fatal(err)
			}
		}
	})
}
