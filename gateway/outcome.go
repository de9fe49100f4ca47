package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"countersign/client"
	"countersign/policy"
)

// attempt is one execution of an approved call: the one that redeemed the confirmation.
type attempt struct {
	g          *Gateway
	redemption string
	began      time.Time
	reached    bool // the server has had a part of the call before: see turn
	once       sync.Once
}

// Bounds of reporting an outcome: the first report holds the answer back for a moment, the rest go on behind it.
const (
	outcomeFirst = 2 * time.Second
	outcomeTries = 6
)

// ended reports how the attempt ended. It tries once before the answer goes on, so that an identical call which
// follows it finds the approval closed, and then in the background. An outcome that never arrives becomes
// indeterminate in the control plane by itself.
func (a *attempt) ended(x *exchange, status client.OutcomeStatus, why string) {
	a.once.Do(func() {
		o := client.Outcome{
			Status: status, Error: why, ResponseBytes: x.log.responseBytes, DurationMS: a.g.now().Sub(a.began).Milliseconds(),
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), outcomeFirst)
		defer cancel()
		if err := a.g.client.ReportOutcome(ctx, a.redemption, o); err == nil || client.Refused(err) {
			a.note(err)
			return
		}
		a.g.drain.owe()
		if !a.g.background.run(func() {
			defer a.g.drain.leave(sessionKey{})
			a.keepReporting(o)
		}) {
			a.g.drain.leave(sessionKey{})
		}
	})
}

func (a *attempt) keepReporting(o client.Outcome) {
	for try := range outcomeTries {
		select {
		case <-time.After(time.Second << try):
		case <-a.g.ctx.Done():
			return
		}
		err := a.g.client.ReportOutcome(a.g.ctx, a.redemption, o)
		if err == nil || client.Refused(err) {
			a.note(err)
			return
		}
	}
	a.g.log.Error("an outcome could not be reported", slog.String("redemption", a.redemption), slog.String("status", string(o.Status)))
}

func (a *attempt) note(err error) {
	if err != nil {
		a.g.log.Error("an outcome was refused", slog.String("redemption", a.redemption), slog.Any("error", err))
	}
}

// answered notes that the server answered the request.
func (x *exchange) answered(failed bool, size int) {
	if !x.noteAnswer(failed, size) || x.attempt == nil {
		return
	}
	status := client.Succeeded
	if failed {
		status = client.Failed
	}
	x.attempt.ended(x, status, "")
}

// noteAnswer keeps what the answer was for the record of the call. It reports whether it is the first.
func (x *exchange) noteAnswer(failed bool, size int) bool {
	if x.message == nil || !x.message.request() || x.log.answered {
		return false
	}
	x.log.answered, x.log.toolError, x.log.responseBytes = true, failed, int64(size)
	return true
}

// finish is the end of an exchange that was forwarded. sent says whether any of it may have reached the server.
func (x *exchange) finish(sent bool) {
	if x.log.finished {
		return
	}
	x.log.finished, x.log.sent = true, sent
	if x.message == nil || !x.message.request() {
		return
	}
	if x.attempt != nil && !x.log.answered {
		if sent || x.attempt.reached {
			x.attempt.ended(x, client.Indeterminate, "the server was sent the call and gave no answer")
		} else {
			x.attempt.ended(x, client.Failed, "the server was not reached")
		}
	}
	d, reason := client.AllowedCall, policy.ReasonAllowed
	switch {
	case !x.log.answered:
		d, reason = client.FailedCall, x.unanswered()
	case x.log.withheld != "":
		reason = x.log.withheld
	case x.attempt != nil:
		reason = reasonApproved
	}
	x.record(d, reason)
}
