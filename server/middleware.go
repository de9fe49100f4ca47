package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
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
		began := time.Now()
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		s.log.DebugContext(c.Request().Context(), "request",
			slog.String("method", c.Request().Method), slog.String("route", c.Path()), slog.Int("status", c.Response().Status),
			slog.Duration("duration", time.Since(began)), slog.String("request_id", requestID(c)))
		return nil
	}
}

// withHeaders sets what every answer carries, before any handler can forget it.
func (s *Server) withHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	machine, page := http.Header{}, http.Header{}
	for _, h := range []http.Header{machine, page} {
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // until a handler knows better
		if s.secure() {
			h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		}
	}
	page.Set("Content-Security-Policy", s.contentSecurityPolicy())
	page.Set("X-Frame-Options", "DENY")
	page.Set("Referrer-Policy", "no-referrer")
	page.Set("Cross-Origin-Opener-Policy", "same-origin")
	page.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	return func(c echo.Context) error {
		if isMachinePath(c.Request().URL.Path) {
			maps.Copy(c.Response().Header(), machine)
		} else {
			maps.Copy(c.Response().Header(), page)
		}
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
func (s *Server) withRecover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			r := recover()
			if r == nil {
				return
			}
			if r == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
				panic(r) //nolint:forbidigo // net/http's own way to drop a connection
			}
			s.log.ErrorContext(c.Request().Context(), "a handler panicked",
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())), slog.String("request_id", requestID(c)))
			err = errPanic
		}()
		return next(c)
	}
}

var errPanic = errors.New("a handler panicked")

// onError is the one place where an error becomes an answer: problem+json for machines, a page for people.
func (s *Server) onError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := s.toProblem(err)
	if p.Kind == problem.Internal {
		s.log.ErrorContext(c.Request().Context(), "request failed",
			slog.String("method", c.Request().Method), slog.String("route", c.Path()), slog.Any("error", err), slog.String("request_id", requestID(c)))
	}
	setRetryAfter(c, p)
	var writeErr error
	switch {
	case isMachinePath(c.Request().URL.Path):
		writeErr = writeProblem(c, p)
	case isCatalogPath(c.Request().URL.Path):
		writeErr = writeCatalogError(c, p)
	case p.Kind == problem.Unauthenticated:
		writeErr = s.toSignIn(c)
	default:
		writeErr = s.errorPage(c, p)
	}
	if writeErr != nil {
		s.log.WarnContext(c.Request().Context(), "answer not written", slog.Any("error", writeErr), slog.String("request_id", requestID(c)))
	}
}

// setRetryAfter says in whole seconds when to come back, if that is known.
func setRetryAfter(c echo.Context, p *problem.Error) {
	if p.RetryAfter > 0 {
		c.Response().Header().Set("Retry-After", strconv.FormatInt(int64((p.RetryAfter+time.Second-1)/time.Second), 10))
	}
}

func (s *Server) toProblem(err error) *problem.Error {
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) {
		switch he.Code {
		case http.StatusNotFound:
			return problem.New(problem.NotFound, "no_such_page", "There is nothing at this address.")
		case http.StatusMethodNotAllowed:
			return problem.New(problem.MethodNotAllowed, methodNotAllowed, "This address does not take that method. Nothing was changed.")
		case http.StatusRequestEntityTooLarge:
			return problem.New(problem.TooLarge, "too_large", "The request is too large. Nothing was changed.")
		}
	}
	if p := (*problem.Error)(nil); errors.As(err, &p) { // said by who knows best, whatever the cause
		return p
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
	if isUnkeepable(err) {
		return problem.New(problem.Invalid, "invalid_text", "The request holds characters that are no text (NUL, or broken UTF-8). Nothing was changed.").Because(err)
	}
	return problem.From(err)
}

// isUnkeepable says whether PostgreSQL refused a text because it is none: the net beneath readInput, for JSON.
func isUnkeepable(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pgErr.Code == pgerrcode.CharacterNotInRepertoire || pgErr.Code == pgerrcode.UntranslatableCharacter)
}

// Codes of what only HTTP knows.
const (
	methodNotAllowed = "method_not_allowed"
	unsupportedMedia = "unsupported_media_type"
)

func isMachinePath(path string) bool {
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/oauth/") || path == "/healthz" || path == "/readyz"
}
