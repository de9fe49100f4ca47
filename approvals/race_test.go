package approvals

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

const redeemers = 32

// spendable is an approved call whose token is out.
type spendable struct {
	approval string
	token    Token
	call     policy.Call
}

// issue writes n approved requests with their tokens, as ask, vote and claim would, but in bulk.
func (w *world) issue(n int) []spendable {
	w.t.Helper()
	out := make([]spendable, n)
	batch := &pgx.Batch{}
	for i := range n {
		s := spendable{approval: fmt.Sprintf("apr_race%d", i), token: fresh(w.t), call: w.call(i)}
		asked := identified{call: s.call, digest: digestOf(w.t, s.call), principal: w.caller}
		if err := w.queue.sealAsk(&asked); err != nil {
			w.t.Fatal(err)
		}
		hash, err := parseToken(s.token)
		if err != nil {
			w.t.Fatal(err)
		}
		batch.Queue(`
			insert into approvals (id, epoch, gateway_id, server_id, server_name, tool_id, tool_name, definition_digest, call_digest, call, principal,
			    caller_issuer, caller_subject, evidence, team_ids, quorum, terms, generation, state, expires_at, decided_at, claim_by)
			values ($1, 1, $2, $3, 'com.example/orders', $4, 'delete_orders', $5, $6, $7, $8, $9, 'tomas', 'asserted', '{tem_orders}', 1,
			    '{"quorum": 1, "deny_quorum": 1, "teams": ["tem_orders"]}', 1, 'approved',
			    clock_timestamp() + interval '1 hour', clock_timestamp(), clock_timestamp() + interval '1 hour')`,
			s.approval, gateway, server, tool, s.call.Definition[:], asked.digest[:], asked.sealedCall, asked.sealedPrincipal, idp)
		batch.Queue(`
			insert into confirmations (approval_id, token_hash, gateway_id, call_digest, epoch, expires_at)
			values ($1, $2, $3, $4, 1, clock_timestamp() + interval '1 hour')`, s.approval, hash[:], gateway, asked.digest[:])
		out[i] = s
	}
	if err := w.owner.SendBatch(context.Background(), batch).Close(); err != nil {
		w.t.Fatalf("issuing tokens: %v", err)
	}
	return out
}

// gate holds a round of redeemers back until all of them have read the token, so that none can be too late to
// be dangerous. Who comes again in the same round passes.
type gate struct{ round atomic.Pointer[round] }

type round struct {
	missing atomic.Int64
	all     chan struct{}
}

func (g *gate) open(n int) {
	r := &round{all: make(chan struct{})}
	r.missing.Store(int64(n))
	g.round.Store(r)
}

func (g *gate) pass() {
	r := g.round.Load()
	if r.missing.Add(-1) == 0 {
		close(r.all)
	}
	<-r.all
}

// race lets many redeem each token at once and counts how many of them win it. redeem gets the number of
// the token and of the redeemer, and passes the gate between reading and writing.
func race(t *testing.T, tokens int, g *gate, redeem func(token, redeemer int) (won bool, err error)) (wins []int) {
	t.Helper()
	wins = make([]int, tokens)
	for i := range tokens {
		var won atomic.Int64
		var wg sync.WaitGroup
		g.open(redeemers)
		for r := range redeemers {
			wg.Go(func() {
				ok, err := redeem(i, r)
				if err != nil {
					t.Errorf("token %d, redeemer %d: %v", i, r, err)
				}
				if ok {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		wins[i] = int(won.Load())
	}
	return wins
}

func doubles(wins []int) (n int) {
	for _, w := range wins {
		if w != 1 {
			n++
		}
	}
	return n
}

// TestRedeemRace lets two processes, with pools of their own, send sixteen redeemers each for every token at once. Each
// token is won by one, all others are told that it is used, and there is one audit event of each.
func TestRedeemRace(t *testing.T) { //nolint:tparallel // one batch after the other
	t.Parallel()
	const batch = 1000 // then a new database: what is refused is recorded, too, and nobody can delete it
	began := time.Now()
	for from := 0; from < soak.tokens; from += batch {
		if soak.over(began) {
			t.Logf("the time is over after %d tokens", from)
			break
		}
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			w := newWorldAlone(t)
			tokens := min(batch, soak.tokens-from)
			w.contend(w.issue(tokens))
			w.checkRace(tokens)
		})
		done := min(from+batch, soak.tokens) * redeemers
		t.Logf("%d redemptions, %.0f/s", done, float64(done)/time.Since(began).Seconds())
	}
}

func (w *world) checkRace(tokens int) {
	w.t.Helper()
	for what, want := range map[string]int{
		`select count(*) from audit_events where kind = 'confirmation.redeemed'`:                                 tokens,
		`select count(distinct target_id) from audit_events where kind = 'confirmation.redeemed'`:                tokens,
		`select count(*) from audit_events where kind = 'confirmation.refused' and detail ->> 'reason' = 'used'`: tokens * (redeemers - 1),
		`select count(*) from confirmations where state = 'redeemed' and redemption_id is not null`:              tokens,
		`select count(*) from approvals where state = 'closed' and state_reason = 'redeemed'`:                    tokens,
		`select count(*) from confirmations c join audit_events e on e.target_id = c.id and e.kind = 'confirmation.redeemed'
		 where e.detail ->> 'redemption' = c.redemption_id and e.detail ->> 'instance' = c.instance`: tokens,
	} {
		if got := read[int](w, what); got != want {
			w.t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
}

// verdict is a hold by the terms under which issue approves.
func (w *world) verdict() policy.Verdict {
	approval := w.law.approval
	return policy.Verdict{
		Outcome: policy.Hold, Reason: policy.ReasonApprovalRequired, Guardrails: []int{0}, Approval: &approval,
		Server: &policy.Server{ID: server, Name: "com.example/orders", Team: "tem_orders", Endpoint: policy.Endpoint{Digest: w.law.endpoint}},
		Tool:   &policy.Tool{ID: tool, Kind: policy.KindTool, Name: "delete_orders", Definition: w.law.pinned},
	}
}

// TestRedeemRaceCatchesNaiveRedeem runs the same race against a redemption that reads, decides and then
// writes, over a table without the walls of the schema. The race must find double wins, or it proves nothing.
func TestRedeemRaceCatchesNaiveRedeem(t *testing.T) {
	t.Parallel()
	const tokens = 20
	w := newWorldAlone(t)
	all := w.issue(tokens)
	w.makeNaive()
	pools := []*pgxpool.Pool{w.db.Runtime, w.db.NewPool(t)}
	var g gate
	wins := race(t, tokens, &g, func(i, r int) (bool, error) {
		return naiveRedeem(context.Background(), pools[r%2], &g, w.gateway, all[i], fmt.Sprintf("red_%d_%d", i, r))
	})
	twice := doubles(wins)
	t.Logf("%d of %d tokens were won more than once", twice, tokens)
	if twice == 0 {
		t.Error("the race does not catch a redemption that reads and then writes")
	}
	if events := read[int](w, `select count(*) from naive_events`); events <= tokens {
		t.Errorf("%d events of %d tokens", events, tokens)
	}
}

// makeNaive copies the tokens to where no wall of the schema stands.
func (w *world) makeNaive() {
	w.t.Helper()
	w.exec(`
		create table naive_confirmations as select id, approval_id, token_hash, gateway_id, call_digest, state, expires_at, redemption_id from confirmations;
		create index on naive_confirmations (token_hash);
		create table naive_events (target_id text not null);
		grant select, insert, update on naive_confirmations, naive_events to countersign_runtime`)
}

// naiveRedeem is what must never be: between its check and its act others pass the same check.
func naiveRedeem(ctx context.Context, pool *pgxpool.Pool, g *gate, who identity.Principal, s spendable, redemptionID string) (bool, error) {
	hash, err := parseToken(s.token)
	if err != nil {
		return false, err
	}
	var id string
	var redeemable bool
	err = pool.QueryRow(ctx, `
		select id, state = 'issued' and gateway_id = $2 and expires_at > clock_timestamp()
		from naive_confirmations where token_hash = $1`, hash[:], who.GatewayID).Scan(&id, &redeemable)
	g.pass()
	if err != nil || !redeemable {
		return false, err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update naive_confirmations set state = 'redeemed', redemption_id = $2 where id = $1`, id, redemptionID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `insert into naive_events values ($1)`, id)
		return err
	})
	return err == nil, err
}

// TestRedeemRaceSecondWall: even a redemption that goes round the code is stopped by the schema.
func TestRedeemRaceSecondWall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.issue(1)[0]
	w.mustRedeem(s.token, s.call, "red_1")
	for name, sql := range map[string]string{
		"back to issued":         `update confirmations set state = 'issued'`,
		"another redemption":     `update confirmations set redemption_id = 'red_2'`,
		"a second token":         `insert into confirmations (approval_id, token_hash, gateway_id, call_digest, epoch, expires_at) select approval_id, sha256('x'), gateway_id, call_digest, epoch, expires_at from confirmations`,
		"a second event":         `insert into audit_events (kind, actor_kind, target_id) select kind, actor_kind, target_id from audit_events where kind = 'confirmation.redeemed'`,
		"without its redemption": `update confirmations set redeemed_at = null`,
		"the request reopened":   `update approvals set state = 'approved'`,
		"the event removed":      `delete from audit_events`,
		"the event changed":      `update audit_events set kind = 'x.y'`,
	} {
		if _, err := w.owner.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: nothing stops it", name)
		}
	}
}

// TestRedeemRaceAgainstTheRest lets a redemption race with all that may end a token or its request. Whoever
// wins, what is left is one story: executed once, or ended unused.
func TestRedeemRaceAgainstTheRest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		other func(w *world, s spendable) error
	}{
		{"revoke", func(w *world, s spendable) error {
			_, err := w.queue.Revoke(context.Background(), w.ada, s.approval, "stop")
			return err
		}},
		{"cancel", func(w *world, s spendable) error {
			_, err := w.queue.Cancel(context.Background(), w.gateway, s.approval)
			return err
		}},
		{"claim again", func(w *world, s spendable) error {
			_, err := w.queue.Claim(context.Background(), w.gateway, s.approval)
			return err
		}},
		{"expire and sweep", func(w *world, s spendable) error {
			_, err := w.owner.Exec(context.Background(), `update confirmations set expires_at = clock_timestamp() where approval_id = $1`, s.approval)
			if err == nil {
				_, err = w.queue.Sweep(context.Background())
			}
			return err
		}},
		{"the policy denies", func(w *world, _ spendable) error {
			w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
			_, err := w.queue.Sweep(context.Background())
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for i, s := range w.issue(30) {
				w.change(func(l *law) { l.outcome, l.reason = policy.Hold, policy.ReasonApprovalRequired })
				var won atomic.Int64
				var wg sync.WaitGroup
				for r := range 3 {
					wg.Go(func() {
						_, err := w.redeem(s.token, s.call, fmt.Sprintf("red_%d_%d", i, r))
						if err == nil {
							won.Add(1)
						}
					})
				}
				wg.Go(func() {
					if err := test.other(w, s); err != nil && !problem.Is(err, problem.Conflict) && !problem.Is(err, problem.Unavailable) {
						t.Errorf("%s: %v", test.name, err)
					}
				})
				wg.Wait()
				w.wantOneStory(s, int(won.Load()))
			}
		})
	}
}

// wantOneStory compares what redeemers were told with the request, its tokens and the audit log.
func (w *world) wantOneStory(s spendable, wins int) {
	w.t.Helper()
	var story struct {
		State    State
		Redeemed int
		Live     int
		Events   int
	}
	err := w.owner.QueryRow(context.Background(), `
		select jsonb_build_object('State', a.state,
		    'Redeemed', (select count(*) from confirmations c where c.approval_id = a.id and c.redemption_id is not null),
		    'Live', (select count(*) from confirmations c where c.approval_id = a.id and c.state = 'issued'),
		    'Events', (select count(*) from audit_events e join confirmations c on c.id = e.target_id
		               where c.approval_id = a.id and e.kind = 'confirmation.redeemed'))
		from approvals a where a.id = $1`, s.approval).Scan(&story)
	if err != nil {
		w.t.Fatal(err)
	}
	shown, _ := json.Marshal(story)
	switch {
	case wins > 1, story.Redeemed != wins, story.Events != wins:
		w.t.Errorf("%d redeemers won, and it reads %s", wins, shown)
	case wins == 1 && (story.State != Closed || story.Live != 0):
		w.t.Errorf("executed, but %s", shown)
	case wins == 0 && story.State != Approved && story.Live != 0:
		w.t.Errorf("ended unused, but a token is out: %s", shown)
	}
}
