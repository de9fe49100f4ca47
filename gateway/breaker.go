package gateway

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"countersign/policy"
)

// breakers keep callers from waiting for servers that do not work. There is one for the calls to each endpoint, and one
// for our own looks at it. An endpoint that is a command has one for the calls of each caller, as each has processes of
// their own: who makes theirs hang keeps nobody else from a server.
//
//	closed ──five failures in a row──▶ open ──ten seconds──▶ half-open ──one that works──▶ closed
//	                                    ▲                        └──one that fails──┐
//	                                    └───────────────────────────────────────────┘
//
// Failures are those of reaching the server: no connection, no answer in time, an HTTP status of 500 and above that is no
// message of MCP, a process that does not start, hangs or dies. What a tool says is none of them, and what policy denies
// never comes here. An endpoint that changes begins anew.
type breakers struct {
	log  *slog.Logger
	rest time.Duration // how long one stays open

	mu  sync.Mutex
	all map[breakerKey]*gobreaker.TwoStepCircuitBreaker[struct{}]
}

type breakerKey struct {
	endpointKey
	purpose breakerPurpose
	caller  string // of a process; "": it is for all callers
}

type breakerPurpose string

const (
	forCalls breakerPurpose = "calls"
	forLooks breakerPurpose = "looks" // at what the server offers
)

// Bounds of breaking.
const (
	breakAfter = 5 // failures in a row
	breakFor   = 10 * time.Second
)

var (
	errBroken = errors.New("the server failed several times in a row, so the gateway does not try it for some seconds")
	// errUncounted is for what says nothing of the server, such as a caller who has gone.
	errUncounted = errors.New("this says nothing of the server")
)

func newBreakers(log *slog.Logger) *breakers {
	return &breakers{log: log, rest: breakFor, all: map[breakerKey]*gobreaker.TwoStepCircuitBreaker[struct{}]{}}
}

// allow asks whether the server may be tried now. done is told once what came of it: nil, errUncounted or a failure.
func (b *breakers) allow(s *policy.Server, purpose breakerPurpose, caller string) (done func(error), err error) {
	key := breakerKey{keyOf(s), purpose, caller}
	b.mu.Lock()
	one := b.all[key]
	if one == nil {
		one = b.make(s.Name, purpose)
		b.all[key] = one
	}
	b.mu.Unlock()
	if done, err = one.Allow(); err != nil {
		return nil, errBroken
	}
	return done, nil
}

// open reports whether a breaker is open now.
func (b *breakers) open(s *policy.Server, purpose breakerPurpose, caller string) bool {
	b.mu.Lock()
	one := b.all[breakerKey{keyOf(s), purpose, caller}]
	b.mu.Unlock()
	return one != nil && one.State() == gobreaker.StateOpen
}

func (b *breakers) make(server string, purpose breakerPurpose) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: server, MaxRequests: 1, Timeout: b.rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, errUncounted) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			b.log.Warn("a circuit breaker changed", slog.String("server", server), slog.String("purpose", string(purpose)),
				slog.String("from", from.String()), slog.String("to", to.String()))
		},
	})
}

// keep drops the breakers of endpoints that the policy does not have any more, and those of callers who have nothing to
// complain of.
func (b *breakers) keep(servers []policy.Server) {
	current := map[endpointKey]bool{}
	for i := range servers {
		current[keyOf(&servers[i])] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, one := range b.all {
		if !current[key.endpointKey] || key.caller != "" && one.State() == gobreaker.StateClosed && one.Counts().ConsecutiveFailures == 0 {
			delete(b.all, key)
		}
	}
}

// state is that of the breaker of an endpoint; where each caller has one, that of the worst of them.
func (b *breakers) state(s *policy.Server, purpose breakerPurpose) gobreaker.State {
	endpoint := keyOf(s)
	worst := gobreaker.StateClosed
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, one := range b.all {
		if key.endpointKey == endpoint && key.purpose == purpose {
			worst = max(worst, one.State()) // they are in that order: closed, half-open, open
		}
	}
	return worst
}
