package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/problem"
)

// signInCookie binds a sign-in under way to the browser that began it.
func (s *Server) signInCookie() string { return s.sessionCookie() + "-signin" }

// beginSignIn sends the browser to the identity provider. ?fresh=1 asks for a new authentication.
func (s *Server) beginSignIn(c echo.Context, _ identity.Principal) error {
	start, err := s.auth.BeginSignIn(c.Request().Context(), c.QueryParam("return"), c.QueryParam("fresh") == "1")
	if err != nil {
		p := s.toProblem(err)
		s.log.WarnContext(c.Request().Context(), "sign-in cannot begin", slog.Any("error", err), slog.String("request_id", requestID(c)))
		setRetryAfter(c, p)
		return s.showSignIn(c, p.Kind.Status(), signInProblem(p))
	}
	s.setCookie(c, s.signInCookie(), start.Cookie, 10*time.Minute)
	return c.Redirect(http.StatusSeeOther, start.URL)
}

// endSignIn is the provider's way back. Whatever went wrong, the sign-in page says it and offers to begin again.
func (s *Server) endSignIn(c echo.Context, _ identity.Principal) error {
	var flow string
	if cookie, err := c.Cookie(s.signInCookie()); err == nil {
		flow = cookie.Value
	}
	s.setCookie(c, s.signInCookie(), "", -1)
	held := s.sessionValue(c)
	done, err := s.auth.FinishSignIn(c.Request().Context(), flow, c.QueryParams(),
		auth.Browser{Session: held, IP: c.RealIP(), UserAgent: c.Request().UserAgent(), RequestID: requestID(c)})
	if err != nil {
		p := s.toProblem(err)
		if p.Kind == problem.Internal {
			s.log.ErrorContext(c.Request().Context(), "sign-in failed", slog.Any("error", err), slog.String("request_id", requestID(c)))
		}
		setRetryAfter(c, p)
		return s.showSignIn(c, p.Kind.Status(), signInProblem(p))
	}
	s.setCookie(c, s.sessionCookie(), done.Cookie, 0)
	return c.Redirect(http.StatusSeeOther, done.ReturnPath)
}

func (s *Server) signOut(c echo.Context, who identity.Principal) error {
	next, err := s.auth.SignOut(c.Request().Context(), who, s.cfg.PublicURL+signedOutPath)
	if err != nil {
		return err
	}
	s.setCookie(c, s.sessionCookie(), "", -1)
	return c.Redirect(http.StatusSeeOther, next)
}

// signedOutPath is where the provider sends people back to; it has to be registered there, exactly.
const signedOutPath = "/signin?signed_out=1"

func (s *Server) sessionValue(c echo.Context) string {
	cookie, err := c.Cookie(s.sessionCookie())
	if err != nil {
		return ""
	}
	return cookie.Value
}

// setCookie sets a cookie that scripts cannot read and other sites cannot send with a post. A session's
// lifetime is decided in the database; its cookie ends with the browser (lifetime 0).
func (s *Server) setCookie(c echo.Context, name, value string, lifetime time.Duration) {
	maxAge := int(lifetime / time.Second)
	if lifetime < 0 {
		maxAge = -1
	}
	c.SetCookie(&http.Cookie{ //nolint:gosec // Secure unless we are reached by plain http, which is for loopback only
		Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: s.secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
