package server

import (
	"cmp"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

func (s *Server) signInPage(c echo.Context, _ identity.Principal) error {
	if _, err := s.auth.Session(c.Request().Context(), s.sessionValue(c)); err == nil {
		return c.Redirect(http.StatusSeeOther, "/")
	}
	return s.showSignIn(c, http.StatusOK, web.SignIn{})
}

// showSignIn shows the door.
func (s *Server) showSignIn(c echo.Context, status int, view web.SignIn) error {
	view.Provider, view.Login, view.Done = s.cfg.OIDCIssuer, "/auth/login", c.QueryParam("signed_out") != ""
	if u, err := url.Parse(s.cfg.OIDCIssuer); err == nil {
		view.Provider = u.Host
	}
	if back := c.QueryParam("return"); back != "" {
		view.Login, view.Linked = "/auth/login?return="+url.QueryEscape(back), true
	}
	return render(c, status, web.SignInPage(view))
}

// showRefusedSignIn shows the door with what went wrong. Who steps up and is refused is still signed in, and goes back to
// where they came from.
func (s *Server) showRefusedSignIn(c echo.Context, p *problem.Error, returnPath string) error {
	view := web.SignIn{Error: signInProblem(p)}
	if _, err := s.auth.Session(c.Request().Context(), s.sessionValue(c)); err == nil {
		view.Kept = cmp.Or(returnPath, "/")
	}
	return s.showSignIn(c, p.Kind.Status(), view)
}

func (s *Server) mePage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	sessions, err := s.auth.Sessions(ctx, who, "")
	if err != nil {
		return err
	}
	view := web.Me{Name: who.Name, Email: who.Email, Issuer: who.Issuer, Subject: who.Subject, Groups: who.Groups}
	if teams, err := s.registry.Teams(ctx, who); err == nil {
		for _, team := range teams {
			for _, id := range who.Teams {
				if id == team.ID {
					view.Teams = append(view.Teams, team.Name)
				}
			}
		}
	}
	for _, session := range sessions {
		view.Sessions = append(view.Sessions, web.Session{
			ID: session.ID, Browser: session.UserAgent, IP: session.IP, Began: session.CreatedAt, LastSeen: session.LastSeenAt,
			Current: session.ID == who.SessionID,
		})
	}
	return render(c, http.StatusOK, web.MePage(s.page(c, who, "You", "/me"), view))
}

func (s *Server) endSession(c echo.Context, who identity.Principal) error {
	if err := s.auth.EndSession(c.Request().Context(), who, c.Param("id")); err != nil {
		return err
	}
	return s.done(c, "/me", "That session is ended.")
}

// signInProblem is what the sign-in page says of a failure. What is a fault of ours or of the provider's is not
// shown in detail.
func signInProblem(p *problem.Error) string {
	if p.Kind == problem.Internal {
		return "The identity provider's answer could not be used. Try again, and tell an operator if it stays."
	}
	return p.Message
}
