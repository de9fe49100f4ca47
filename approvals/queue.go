package approvals

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/internal/seal"
	"countersign/policy"
)

// Config is what the queue needs from above it, and its times. Zero times and caps mean the defaults.
type Config struct {
	// Issuer is the public URL of this control plane, which every call names.
	Issuer string
	// Evaluate decides a call under the policy of a gateway's audience, as of the current generation. It fails
	// rather than answer for an older one.
	Evaluate func(ctx context.Context, gatewayID string, r policy.Request) (Evaluation, error)
	// Evidence verifies a caller's own token and says who the caller is, named exactly as people are named
	// when they sign in, or a person could approve their own call.
	Evidence func(ctx context.Context, gateway identity.Principal, token string) (policy.Principal, error)
	// Announce tells people, in the transaction of what it tells about. nil tells nobody.
	Announce func(ctx context.Context, tx pgx.Tx, n Notice) error
	// Seal encrypts the calls and the callers.
	Seal *seal.Key

	PendingFor    time.Duration // a request waits for votes; default 15 minutes, a guardrail may say otherwise
	ClaimWithin   time.Duration // after approval; default 5 minutes
	RedeemWithin  time.Duration // after each claim; default 60 seconds
	OutcomeWithin time.Duration // after redemption, else indeterminate; default 10 minutes
	RevealFor     time.Duration // a token that its caller was shown is good for; default 5 minutes
	KeepFor       time.Duration // the arguments and the caller of a request are kept after it ended; default 90 days
	PendingCap    int           // pending requests of one agent for one person; default 20
	AskRate       int           // new requests of one agent for one person in a minute; default 30

	Location *time.Location // where the hours of work are told; default UTC

	Log *slog.Logger
}

// Evaluation is a verdict, the generation of the policy that it is about, and the document whose indexes it
// holds.
type Evaluation struct {
	Verdict    policy.Verdict
	Generation int64
	Document   *policy.Document
}

// Notice is something that people are to be told: ids and names, and nothing of what is asked for. Its topic is the kind
// of the audit event.
type Notice struct {
	Topic      string
	ApprovalID string
	TeamIDs    []string       // who is asked
	Urgent     bool           // never kept back for a digest
	Data       map[string]any // server, tool, risk, state, …: facts for people and programs
}

// Queue is the queue of approval requests. It holds no state: any number of them, in any number of processes,
// may work on one database.
type Queue struct {
	pool *pgxpool.Pool
	hub  *postgres.Hub
	cfg  Config

	lockTimeout string // of a redemption
}

// Topic is what the hub is woken with after each transition of a request or a confirmation.
const Topic = "approvals"

const (
	maxRotations = 3 // tokens that one approval may have after its first
	maxReason    = 2000
	policyTries  = 4 // evaluations, when the policy changes between each and its use
)

// New makes a queue.
func New(pool *pgxpool.Pool, hub *postgres.Hub, cfg Config) *Queue {
	cfg.PendingFor = cmp.Or(cfg.PendingFor, 15*time.Minute)
	cfg.ClaimWithin = cmp.Or(cfg.ClaimWithin, 5*time.Minute)
	cfg.RedeemWithin = cmp.Or(cfg.RedeemWithin, time.Minute)
	cfg.OutcomeWithin = cmp.Or(cfg.OutcomeWithin, 10*time.Minute)
	cfg.RevealFor = cmp.Or(cfg.RevealFor, 5*time.Minute)
	cfg.KeepFor = cmp.Or(cfg.KeepFor, 90*24*time.Hour)
	cfg.PendingCap = cmp.Or(cfg.PendingCap, 20)
	cfg.AskRate = cmp.Or(cfg.AskRate, 30)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Queue{pool: pool, hub: hub, cfg: cfg, lockTimeout: "250ms"}
}

// system is who acts when time or the policy does.
var system = identity.Principal{Kind: identity.System, Name: "Countersign"}

// errMoved says that the policy changed between its evaluation and the use of the result.
var errMoved = errors.New("the policy changed meanwhile")

// settled runs fn until the policy stands still between its evaluation and its use.
func settled(fn func() error) error {
	for range policyTries {
		if err := fn(); !errors.Is(err, errMoved) {
			return err
		}
	}
	return &problem.Error{
		Kind: problem.Unavailable, Code: "policy_changing", RetryAfter: time.Second,
		Message: "The policy is changing right now. Nothing was decided or used up; try again.",
	}
}

// inTx runs fn in a transaction and wakes those who wait when it changed something. A refusal that fn returns
// beside a nil error is the answer to the caller of a transaction that is committed nevertheless, since it
// found out, say, that a request has expired.
func (q *Queue) inTx(ctx context.Context, fn func(tx pgx.Tx) (refusal, err error)) error {
	var refusal error
	err := postgres.InTx(ctx, q.pool, func(tx pgx.Tx) (err error) {
		refusal, err = fn(tx)
		return err
	})
	switch {
	case postgres.IsLockTimeout(err), postgres.IsSerialization(err):
		return busy(err)
	case err != nil:
		return err
	}
	q.hub.Wake(ctx, Topic)
	return refusal
}

func busy(err error) error {
	return (&problem.Error{
		Kind: problem.Unavailable, Code: "busy", RetryAfter: time.Second,
		Message: "Somebody else is acting on this request right now. Nothing was used up; try again.",
	}).Because(err)
}

// refuse records a refusal that matters to an auditor and returns it; other errors it returns as they are.
func (q *Queue) refuse(ctx context.Context, e audit.Event, err error) error {
	if badText(e.TargetID) != "" {
		e.TargetID = ""
	}
	for _, kind := range []problem.Kind{problem.Forbidden, problem.Conflict, problem.Gone, problem.RateLimited, problem.NotFound} {
		if problem.Is(err, kind) {
			return audit.Refused(ctx, q.pool, e, err)
		}
	}
	return err
}

// asGateway lets only a gateway pass, and one that says which.
func asGateway(who identity.Principal) error {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return err
	}
	if who.GatewayID == "" {
		return problem.New(problem.Forbidden, "gateway_only", "Only a gateway's own credential may do this.")
	}
	return nil
}
