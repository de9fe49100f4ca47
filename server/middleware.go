package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/web"
)

const requestIDKey = "request_id"

func requestID(c echo.Context) string {
	id, _ := c.Get(requestIDKey).(string)
	return id
}

// withRequestID names the request in the log, the audit events and the answer.
func withRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := rand.Text()
		c.Set(requestIDKey, id)
		c.Response().Header().Set("X-Request-Id", id)
		return next(c)
	}
}

// withLog writes one line for each request. Paths carry ids only; queries and bodies are never logged.
func (s *Server) withLog(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now() //nolint:forbidigo // the duration of a request is wall-clock by nature
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		s.log.DebugContext(c.Request().Context(), "request",
			"method", c.Request().Method, "route", c.Path(), "status", c.Response().Status,
			"duration", time.Since(began), "request_id", requestID(c))
		return nil
	}
}

// withHeaders sets what every answer carries, before any handler can forget it.
func (s *Server) withHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", s.contentSecurityPolicy())
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if s.secure() {
			h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		}
		c.Set(cookieNameKey, s.sessionCookie())
		return next(c)
	}
}

// contentSecurityPolicy lets the form that signs out lead to the identity provider: browsers apply form-action
// to the redirects that follow a post.
func (s *Server) contentSecurityPolicy() string {
	provider, err := url.Parse(s.cfg.OIDCIssuer)
	if err != nil {
		return web.ContentSecurityPolicy
	}
	return strings.Replace(web.ContentSecurityPolicy, "form-action 'self'", "form-action 'self' "+provider.Scheme+"://"+provider.Host, 1)
}

// withRecover turns a panic into a fault of ours, so that one bad request ends alone.
func withRecover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch r := recover().(type) {
			case nil:
			case error:
				if errors.Is(r, http.ErrAbortHandler) {
					panic(r) //nolint:forbidigo // net/http's own way to drop a connection
				}
				err = r
			default:
				err = errPanic{r}
			}
		}()
		return next(c)
	}
}

type errPanic struct{ value any }

func (errPanic) Error() string { return "a handler panicked" }

// onError is the one place where an error becomes an answer: problem+json for machines, a page for people.
func (s *Server) onError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := s.toProblem(err)
	if p.Kind == problem.Internal {
		s.log.ErrorContext(c.Request().Context(), "request failed",
			"method", c.Request().Method, "route", c.Path(), "error", err, "request_id", requestID(c))
	}
	var writeErr error
	switch {
	case isMachinePath(c.Request().URL.Path):
		writeErr = writeProblem(c, p)
	case p.Kind == problem.Unauthenticated:
		writeErr = s.toSignIn(c)
	default:
		writeErr = s.errorPage(c, p)
	}
	if writeErr != nil {
		s.log.WarnContext(c.Request().Context(), "answer not written", "error", writeErr, "request_id", requestID(c))
	}
}

func (s *Server) toProblem(err error) *problem.Error {
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) {
		switch he.Code {
		case http.StatusNotFound:
			return problem.New(problem.NotFound, "no_such_page", "There is nothing at this address.")
		case http.StatusMethodNotAllowed:
			return problem.New(problem.Invalid, "method_not_allowed", "This address does not take that method. Nothing was changed.")
		case http.StatusRequestEntityTooLarge:
			return problem.New(problem.TooLarge, "too_large", "The request is too large. Nothing was changed.")
		}
	}
	if errors.Is(err, context.Canceled) { // we are stopping, or the reader has gone and reads no answer
		return retry(problem.New(problem.Unavailable, "stopping", "This replica is stopping. Nothing was changed; ask again."))
	}
	if postgres.IsUnavailable(err) {
		p := problem.New(problem.Unavailable, "database_unavailable",
			"The database does not answer. Nothing was changed, and gateways keep enforcing the policy they hold. Try again in a moment.")
		p.RetryAfter = 5 * time.Second
		return p.Because(err)
	}
	return problem.From(err)
}

func isMachinePath(path string) bool {
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/oauth/") || path == "/healthz" || path == "/readyz"
}
