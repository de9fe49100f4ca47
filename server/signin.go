package server

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/problem"
)

// signInCookie binds a sign-in under way to the browser that began it.
func (s *Server) signInCookie() string { return s.sessionCookie() + "-signin" }

// beginSignIn sends the browser to the identity provider. A step-up asks for more than a name: ?fresh=1 for a new
// authentication, ?max_age= for one at most so many seconds old, ?acr_values= for one of these context classes, as the
// parameters of OpenID Connect. Anybody can write such an address, and gains nothing by it.
func (s *Server) beginSignIn(c echo.Context, _ identity.Principal) error {
	asked, err := signInOptions(c)
	var start auth.SignIn
	if err == nil {
		asked.Session = s.sessionValue(c)
		start, err = s.auth.BeginSignIn(c.Request().Context(), asked)
	}
	if err != nil {
		p := s.toProblem(err)
		s.log.WarnContext(c.Request().Context(), "sign-in cannot begin", slog.Any("error", err), slog.String("request_id", requestID(c)))
		setRetryAfter(c, p)
		return s.showRefusedSignIn(c, p, "")
	}
	s.setCookie(c, s.signInCookie(), start.Cookie, 10*time.Minute)
	return c.Redirect(http.StatusSeeOther, start.URL)
}

// signInOptions reads what a sign-in is to prove; auth knows the bounds.
func signInOptions(c echo.Context) (auth.SignInOptions, error) {
	o := auth.SignInOptions{
		ReturnPath: c.QueryParam("return"), Fresh: c.QueryParam("fresh") == "1",
	}
	if classes := c.QueryParam("acr_values"); classes != "" {
		o.ACRValues = strings.Split(classes, " ")
	}
	age := c.QueryParam("max_age")
	if age == "" {
		return o, nil
	}
	seconds, err := strconv.ParseUint(age, 10, 31)
	if err != nil {
		return o, problem.New(problem.Invalid, "invalid_max_age", "max_age is a number of seconds.")
	}
	o.MaxAge = time.Duration(seconds) * time.Second
	o.Fresh = o.Fresh || seconds == 0
	return o, nil
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
		return s.showRefusedSignIn(c, p, done.ReturnPath)
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
