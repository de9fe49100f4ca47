package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// The codes of problems that a gateway acts on.
const (
	CodeRevoked  = "gateway_revoked"
	CodeMismatch = "call_digest_mismatch"
	CodeDenied   = "policy_denied"

	CodeNoEvidence  = "evidence_required" // a guardrail wants the caller's own token
	CodeBadEvidence = "evidence_refused"  // and this one is not good
	CodeRevealed    = "token_revealed"    // the person who called has been shown the confirmation token
)

// Error is an answer of the control plane that is not the one that was asked for.
type Error struct {
	Status     int
	Code       string        // the stable end of the problem type; "" when the answer was no problem document
	Detail     string        // a sentence for people
	RetryAfter time.Duration // 0: not said
}

// Error says status, code and sentence.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the control plane answered %d", e.Status)
	}
	return fmt.Sprintf("the control plane answered %d %s: %s", e.Status, e.Code, e.Detail)
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= 500 || e.Status == http.StatusUnauthorized
}

// IsCode reports whether err is an Error with that code.
func IsCode(err error, code string) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && e.Code == code
}

// IsStatus reports whether err is an Error with that HTTP status.
func IsStatus(err error, status int) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && e.Status == status
}

// Refused reports whether the control plane understood and said no, so that asking again changes nothing.
func Refused(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && !e.Temporary()
}

func readError(res *http.Response) error {
	body, err := readBounded(res.Body, 64<<10)
	if err != nil {
		body = nil
	}
	return newError(res, body)
}

func newError(res *http.Response, body []byte) *Error {
	e := &Error{Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"))}
	var p ProblemReply
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(body, &p) == nil {
		e.Code, e.Detail = p.Code, p.Detail
		return e
	}
	var t TokenError
	if json.Unmarshal(body, &t) == nil {
		e.Code, e.Detail = t.Error, t.Description
	}
	return e
}

// retryAfter reads the delta-seconds form, at most ten minutes.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(header))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 600)) * time.Second
}

// tokenError makes an *Error of what the token endpoint answered.
func tokenError(err error) error {
	if r := (*oauth2.RetrieveError)(nil); errors.As(err, &r) && r.Response != nil {
		return newError(r.Response, r.Body)
	}
	return fmt.Errorf("asking for an access token: %w", err)
}
