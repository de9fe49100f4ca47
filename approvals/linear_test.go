package approvals

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/go-cmp/cmp"
)

// act is what somebody did to one call, its requests and its tokens, and answered what came of it.
type act struct {
	what       string
	request    string   // id
	who        string   // who votes
	decision   Decision // of the vote
	token      Token    // that is redeemed
	redemption string
	denied     bool // the policy from now on
}

type answered struct {
	granted bool
	code    string // of the refusal
	request string
	token   Token // that was claimed
	state   State
	last    ConfirmationState
	spent   int
}

func (a act) String() string { return fmt.Sprint(a.what, " ", a.who, a.decision, a.redemption) }

func (a answered) String() string { return fmt.Sprint(a.granted, " ", a.code, a.state) }

// spec is the reference machine of the model test beside the names of what it is about: the request that is open or was
// open last, its newest token, and who redeemed it.
type spec struct {
	model
	request    string
	newest     Token
	redemption string
}

func (s spec) copied() spec {
	s.voted = maps.Clone(s.voted)
	return s
}

// step says whether the machine, doing one thing at a time, could have answered so.
func (s spec) step(a act, got answered) (bool, spec) {
	if got.code == "busy" || got.code == "policy_changing" || got.code == "version_changed" {
		return true, s // told to do it again; nothing happened
	}
	next := s.copied()
	fits := next.do(a, got)
	next.lapse()
	return fits, next
}

// before says whether the act is about a request, or a token, that is not the newest, and what comes of that: what ended
// stays ended, and everything is in vain but to look at it.
func (s *spec) before(a act, got answered) (is, fits bool) {
	switch {
	case a.what == "redeem" && a.token != s.newest:
		return true, !got.granted
	case a.request == s.request:
		return false, false
	case a.what == "look":
		return true, !got.state.Open()
	case a.what == "repeat": // who redeemed it is told so again
		return true, got.granted
	case a.what == "cancel", passing[a.what] != "": // what was cancelled may be cancelled again
		return true, true
	}
	return true, !got.granted
}

func (s *spec) do(a act, got answered) bool {
	switch a.what {
	case "ask":
		return s.asked(got)
	case "policy":
		s.denied = a.denied
		return true
	case "sweep":
		s.sweep()
		return true
	}
	if is, fits := s.before(a, got); is {
		return fits
	}
	switch a.what {
	case "vote":
		return s.vote(a.who, a.decision) == got.granted
	case "claim":
		if got.granted {
			s.newest = got.token
		}
		return s.claim() == got.granted
	case "redeem":
		granted := s.redeem()
		if granted {
			s.redemption = a.redemption
		}
		return granted == got.granted
	case "repeat":
		return (s.token == Redeemed && s.redemption == a.redemption) == got.granted
	case "cancel":
		return !s.state.Open() || s.cancel() == got.granted
	case "revoke":
		return s.revoke() == got.granted
	case "look":
		return s.state == got.state
	case "inspect":
		return s.state == got.state && s.token == got.last && s.spent == got.spent
	}
	s.pass(a.what)
	return true
}

// asked: who asks joins the open request, or opens the only other one.
func (s *spec) asked(got answered) bool {
	open := s.state.Open()
	granted := s.ask()
	if !granted || !got.granted {
		return granted == got.granted
	}
	joined := got.request == s.request
	s.request = got.request
	return open == joined
}

// pass is time.
func (s *spec) pass(what string) {
	switch {
	case what == "the time to vote" && s.state == Pending:
		s.state = Expired
	case what == "the time to claim" && s.state == Approved:
		s.late = true
	case what == "the time to redeem" && s.token == TokenIssued:
		s.stale = true
	}
}

// linearizable reports whether what several people and programs saw at once could have happened one after the other.
func linearizable(t *testing.T, initial spec, history []porcupine.Operation) bool {
	t.Helper()
	result := porcupine.CheckOperationsTimeout(porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, output any) (bool, any) {
			return state.(spec).step(input.(act), output.(answered))
		},
		Equal: func(a, b any) bool { return cmp.Equal(a, b, cmp.AllowUnexported(spec{}, model{})) },
	}, history, time.Minute)
	if result == porcupine.Unknown {
		t.Fatal("the history is too long to be checked")
	}
	return result == porcupine.Ok
}
