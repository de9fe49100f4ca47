package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"

	"countersign/client"
)

// faults are what is wrong with an answer that arrived: the server can be reached, and cannot be used.
var faults = []error{
	errRedirect, errCredential, errCompressed, errNotMCP, errTooLong, errForeignSession, errManySessions, errUpstreamMessage, errForbiddenAddress, errNoOutbound,
}

// delays are what the server did not do in time.
var delays = []error{errNoConnection, errNoAnswer, errSilent, errTooSlow}

func oneOf(err error, known []error) error {
	if i := slices.IndexFunc(known, func(k error) bool { return errors.Is(err, k) }); i >= 0 {
		return known[i]
	}
	return nil
}

// judgeAnswer tells the breaker how the server did. err is what is wrong with its answer, status its status, if there is
// one. A caller who has gone says nothing of the server.
func (x *exchange) judgeAnswer(status int, err error) {
	switch {
	case err == nil:
	case x.r.Context().Err() != nil:
		err = errUncounted
	case errors.Is(err, errForbiddenAddress) || errors.Is(err, errNoOutbound):
		err = errUncounted
	case oneOf(err, faults) != nil && status < http.StatusInternalServerError:
		err = nil
	}
	x.judge(err)
}

// broken answers when the server did not, or not as it should.
func (x *exchange) broken(err error) {
	x.g.log.Warn("a server did not answer as it should", slog.String("server", x.name), slog.Any("error", err))
	text := "The server cannot be reached."
	switch fault, delay := oneOf(err, faults), oneOf(err, delays); {
	case fault != nil:
		text = "The server cannot be used: " + fault.Error() + "."
	case delay != nil:
		text = sentence(delay)
	case x.mayHaveRun():
		text = "The connection to the server broke before it answered."
	}
	_ = x.upstreamError(text)
}

// mayHaveRun reports whether the request may have reached the server.
func (x *exchange) mayHaveRun() bool {
	return x.log.sent || x.patience != nil && x.patience.sent.Load()
}

// What a caller is told of a call that got no answer, whose outcome is known or not.
const (
	notRun      = "NOT EXECUTED. "
	outcomeOpen = "OUTCOME NOT KNOWN. "
	beCareful   = " The call was sent and may have run: do not repeat it blindly, find out first whether it took effect."
)

// upstreamError answers that the server is the trouble. An id, if there is one, gets its answer.
func (x *exchange) upstreamError(text string) error {
	x.log.broken = true
	if x.message == nil || !x.message.request() {
		var id []byte
		if x.message != nil {
			id = x.message.id
		}
		writeRPCError(x.w, id, &rpcError{status: http.StatusBadGateway, code: codeUpstream, message: text})
		return nil
	}
	writeMessage(x.w, http.StatusOK, x.noAnswer(text)) // clients show the message of an answer, but not of a failed request
	return nil
}

// noAnswer is what a request gets in the place of its server's answer. Of a call it says whether it may have run.
func (x *exchange) noAnswer(text string) []byte {
	if x.message.method != "tools/call" {
		return errorMessage(x.message.id, &rpcError{code: codeUpstream, message: text})
	}
	d := decision{Decision: client.FailedCall, Reason: reasonNoAnswer, Executed: "no"}
	said := notRun + text
	if x.mayHaveRun() {
		d.Executed, said = "unknown", outcomeOpen+text+beCareful
	}
	return resultMessage(x.message.id, errorResult(said, map[string]any{metaDecision: d}))
}

// endedStream is a stream that does not end before the request has its answer. Where the server's stream breaks, or ends
// early, and cannot be resumed, its caller is told what became of the call. One that only listens, or can be resumed, ends
// in order wherever the server's breaks: between two events, with a word why.
type endedStream struct {
	*filteredStream

	x    *exchange
	last []byte
	told bool
}

// Read gives out whole events.
func (s *endedStream) Read(p []byte) (int, error) {
	if len(s.last) == 0 {
		n, err := s.filteredStream.Read(p)
		if err == nil || s.told {
			return n, err
		}
		switch {
		case s.owed():
			s.last = s.farewell(err)
		case s.broke(err):
			s.last = s.goodbye(err)
		default:
			return n, err
		}
		s.told = true
	}
	n := copy(p, s.last)
	if s.last = s.last[n:]; len(s.last) == 0 {
		s.err = io.EOF
	}
	return n, nil
}

// owed reports whether the caller still waits for an answer that will not come.
func (s *endedStream) owed() bool {
	x := s.x
	return x.message != nil && x.message.request() && !x.log.answered && !x.listens() && x.r.Context().Err() == nil &&
		(x.modern || !s.resumable)
}

// broke reports whether the stream has no end of its own, neither the server's nor ours.
func (s *endedStream) broke(err error) bool {
	return !errors.Is(err, io.EOF) && s.x.r.Context().Err() == nil && !s.x.ended.Load()
}

// How streams end that broke.
const (
	lineLost  = "retry: 1000\n: the connection to the server was lost, connect again\n\n"
	tokenOver = ": the token that this stream was opened with is over, connect again with another\n\n"
)

func (s *endedStream) goodbye(err error) []byte {
	x := s.x
	if !x.g.now().Before(x.caller.expires) {
		return []byte(tokenOver)
	}
	x.g.log.Info("a server's stream broke", slog.String("server", x.name), slog.Any("error", err))
	return []byte(lineLost)
}

func (s *endedStream) farewell(err error) []byte {
	x := s.x
	text := "The server ended its answer without a result."
	if !errors.Is(err, io.EOF) {
		text = "The connection to the server broke in the middle of its answer."
	}
	if delay := oneOf(context.Cause(x.patience.watched), delays); delay != nil {
		text = sentence(delay)
	}
	x.log.broken = true
	x.g.log.Warn("a server's stream ended without an answer", slog.String("server", x.name), slog.Any("error", err))
	return (&event{data: x.noAnswer(text), hasData: true}).append(nil)
}
