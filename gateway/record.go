package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"sync"
	"time"

	"countersign/client"
	"countersign/internal/room"
	"countersign/policy"
)

// callLog is what becomes of an exchange, for the record of the call. Each governed use gets one record, whatever way it
// ends: whoever decides says so with record, the first word counts, and conclude writes it when the exchange is over.
//
//	find ──not known──▶ denied
//	govern ──▶ denied | held | run ──▶ finish: allowed | failed
//	anything else ──▶ conclude says why it went no further
type callLog struct {
	use           use
	known         bool // the policy has that tool, prompt or resource
	began         time.Time
	requestBytes  int64
	responseBytes int64
	tokens        int // estimated, of all that passed back
	answered      bool
	toolError     bool // the answer is an error of the server's
	sent          bool // it may have reached the server
	finished      bool
	broken        bool          // the caller was told that the server is the trouble
	withheld      policy.Reason // why the caller did not get the answer
	filtered      int           // texts that the output filter changed
	upstream      time.Duration
	waited        time.Duration // for people to decide
	approval      string        // its id

	streams bool // a stream to the caller is open
	refused bool // the server asked for what it may not, and that was logged

	decision client.Decision
	reason   policy.Reason
	err      error // that serveMCP answered
}

// record says what became of a call. What was said first stays.
func (x *exchange) record(d client.Decision, reason policy.Reason) {
	if x.log.decision == "" {
		x.log.decision, x.log.reason = d, reason
	}
}

// conclude is the end of an exchange, also of one that panics: its record goes out, and is counted and traced.
func (x *exchange) conclude() {
	if x.attempt != nil {
		x.finish(x.log.sent) // if it did not come to that
	}
	if x.log.streams {
		x.g.metrics.streams.Dec()
	}
	if x.log.use.kind == "" {
		x.endSpan(nil)
		return
	}
	if x.log.decision == "" {
		x.record(x.unsaid())
	}
	r := x.callRecord()
	x.endSpan(&r)
	x.g.metrics.count(x, &r)
	if x.log.reason != policy.ReasonUnknownServer || x.g.strangers.admit(x.name, x.g.now()) {
		x.g.records.Record(r)
	}
}

// unsaid finds out what became of a use of which nobody said it.
func (x *exchange) unsaid() (client.Decision, policy.Reason) {
	switch e := (*rpcError)(nil); {
	case x.log.err == nil && x.log.broken:
		return client.FailedCall, reasonNoAnswer
	case x.log.err == nil: // it was passed on, and no answer is due
		return client.AllowedCall, policy.ReasonAllowed
	case x.g.ctx.Err() != nil:
		return client.DeniedCall, reasonStopped
	case x.r.Context().Err() != nil:
		return client.DeniedCall, reasonGone
	case errors.As(x.log.err, &e):
		return client.DeniedCall, reasonInvalid
	}
	return client.DeniedCall, reasonInternal
}

// unanswered is the reason for which a call that was let through has no answer.
func (x *exchange) unanswered() policy.Reason {
	switch {
	case x.g.ctx.Err() != nil:
		return reasonStopped
	case x.r.Context().Err() != nil:
		return reasonGone
	}
	return reasonNoAnswer
}

func (x *exchange) callRecord() client.CallRecord {
	p := &x.caller.principal
	r := client.CallRecord{
		CallID: newID("call"), At: x.log.began.UTC(), Server: clip(x.name, 256), Tool: clip(x.log.use.name, 256), Kind: x.log.use.kind,
		Decision: x.log.decision, Reason: string(x.log.reason), Instance: x.g.client.Instance(), Session: x.sessionDigest(),
		Subject: clip(p.Subject, 256), Agent: clip(p.Agent, 256), Model: clip(p.Model, 256), ModelAssurance: p.ModelAssurance,
		RequestBytes: x.log.requestBytes, ResponseBytes: x.log.responseBytes,
		RequestTokens: int64(room.Tokens(len(x.argumentsOf(x.log.use)))), ResponseTokens: int64(x.log.tokens),
		DurationUS: max(x.g.now().Sub(x.log.began)-x.log.waited, 0).Microseconds(), UpstreamUS: x.log.upstream.Microseconds(),
		ToolError: x.log.toolError, Filtered: x.log.filtered,
	}
	if sc := x.callerTrace(); sc.HasTraceID() {
		r.TraceID = sc.TraceID().String()
	}
	if x.snapshot != nil {
		r.Revision = x.snapshot.Revision
	}
	return r
}

// sessionDigest tells the sessions of this gateway apart, and nothing else: who has only records learns no session id from
// it and no name. The stateless protocol has no sessions; there it stands for the caller.
func (x *exchange) sessionDigest() string {
	session := x.session
	if x.modern {
		session = ""
	}
	return x.g.held.seal.sessionDigest(x.caller.key(), session)
}

func (s sealer) sessionDigest(caller, session string) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("countersign/session/v1\x00" + strconv.Itoa(len(caller)) + "\x00" + caller + session))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// strangers bounds the records of servers that nobody registered: a caller who tries names fills no tables with them.
type strangers struct {
	mu    sync.Mutex
	since time.Time
	names map[string]int
}

// Bounds of those records in a minute: names, and records of one name.
const (
	maxStrangers   = 30
	maxStrangeness = 60
)

func (s *strangers) admit(name string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.since); since < 0 || since >= time.Minute || s.names == nil {
		s.since, s.names = now, map[string]int{}
	}
	times, known := s.names[name]
	if !known && len(s.names) >= maxStrangers || times >= maxStrangeness {
		return false
	}
	s.names[name]++
	return true
}

// clip shortens text that others chose, by its escaped form if it is not printable.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	quoted := strconv.QuoteToASCII(s[:n])
	return quoted[1:min(len(quoted)-1, n)]
}
