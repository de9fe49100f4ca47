// Package problem holds the kinds of error that a caller can act on, and maps each to HTTP exactly once.
//
// A domain method returns an *Error for what the caller did or may expect; any other error is a fault of
// ours: it is logged at the edge and answered as 500 without detail. The wire form is RFC 9457
// (application/problem+json) with a type that stays stable: "urn:countersign:problem:<code>".
package problem

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Kind is a category of error.
type Kind int

// The kinds, each with one HTTP status.
const (
	Internal Kind = iota + 1
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	Conflict
	Gone
	Precondition
	TooLarge
	RateLimited
	Unavailable
	MethodNotAllowed
	UnsupportedMedia
	Unprocessable        // understood, and contradicts what was said before
	PreconditionRequired // a change has to say which version it is of
	NotAcceptable
)

var statuses = map[Kind]int{
	Internal:        http.StatusInternalServerError,
	Invalid:         http.StatusBadRequest,
	Unauthenticated: http.StatusUnauthorized,
	Forbidden:       http.StatusForbidden,
	NotFound:        http.StatusNotFound,
	Conflict:        http.StatusConflict,
	Gone:            http.StatusGone,
	Precondition:    http.StatusPreconditionFailed,
	TooLarge:        http.StatusRequestEntityTooLarge,
	RateLimited:     http.StatusTooManyRequests,
	Unavailable:     http.StatusServiceUnavailable,

	MethodNotAllowed:     http.StatusMethodNotAllowed,
	UnsupportedMedia:     http.StatusUnsupportedMediaType,
	Unprocessable:        http.StatusUnprocessableEntity,
	PreconditionRequired: http.StatusPreconditionRequired,
	NotAcceptable:        http.StatusNotAcceptable,
}

// Status is the HTTP status of k.
func (k Kind) Status() int {
	if s, ok := statuses[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Error is a problem the caller is told about. Message is a sentence for a person: what happened, what is
// still safe, the next step. It never carries a secret.
type Error struct {
	Kind       Kind
	Code       string            // stable, snake_case: the end of the problem type
	Message    string            // for the caller
	Fields     map[string]string // form field or JSON member → what is wrong with it
	RetryAfter time.Duration     // for RateLimited and Unavailable
	Err        error             // the cause, for the log only
}

// New makes a problem; format and args make the sentence for the caller.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Field adds what is wrong with one field and returns e.
func (e *Error) Field(name, message string) *Error {
	if e.Fields == nil {
		e.Fields = map[string]string{}
	}
	e.Fields[name] = message
	return e
}

// Because keeps the cause for the log and returns e.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// Error is for the log: code, message and cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return e.Code + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Type is the stable problem type URI.
func (e *Error) Type() string { return "urn:countersign:problem:" + e.Code }

// From finds the problem in err. What is no problem is Internal, with a message that tells nothing of it.
func From(err error) *Error {
	if p := (*Error)(nil); errors.As(err, &p) {
		return p
	}
	return &Error{Kind: Internal, Code: "internal", Message: "Something failed on our side. Nothing was changed; try again, and tell an operator if it stays.", Err: err}
}

// Is reports whether err is a problem of the kind.
func Is(err error, kind Kind) bool {
	p := (*Error)(nil)
	return errors.As(err, &p) && p.Kind == kind
}
