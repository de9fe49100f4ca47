package server

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

// sections are the entries of the navigation and what one has to be allowed to see each.
var sections = map[string]identity.Action{
	"/": identity.ReadRegistry, "/approvals": identity.ReadApprovals, "/drift": identity.ReadRegistry, "/servers": identity.ReadRegistry, "/teams": identity.ReadRegistry, "/sprawl": identity.ReadRegistry,
	"/servers/new": identity.RegisterServer, "/grants": identity.ReadPolicy, "/guardrails": identity.ReadPolicy,
	"/gateways": identity.ReadGateways, "/clients": identity.ReadGateways, "/policy": identity.ReadPolicy, "/policy/revisions": identity.ReadPolicy, "/policy/explain": identity.ReadPolicy,
	"/policy/tests": identity.ReadPolicy, "/policy/access": identity.ReadPolicy, "/policy/suspensions": identity.ReadPolicy, "/policy/keys": identity.ReadGateways, "/policy/suspensions/new": identity.ChangeGrant, "/audit": identity.ReadAudit,
	"/channels": identity.ReadChannels, "/usage": identity.ReadUsage, "/usage/calls": identity.ReadCallers, "/usage/prices": identity.ReadUsage,
	"/unknown-servers": identity.ReadUsage, "/alerts": identity.ReadAlerts,
}

// page fills in what every page has. Counts that cannot be read are left out: they are no reason to fail.
func (s *Server) page(c echo.Context, who identity.Principal, title, section string) web.Page {
	p := web.Page{
		Title: title, Section: section, Now: s.cfg.Now(), CSRF: s.csrfToken(c), SignedIn: who.Kind == identity.Person,
		Person: web.Person{Name: who.Name, Roles: roleWords(who)}, Allowed: map[string]bool{},
	}
	p.Flash, p.FlashLink = flashOf(s.takeFlash(c))
	for address, action := range sections {
		p.Allowed[address] = who.Can(action, "") == nil
	}
	if counts, err := s.counts(c, who); err == nil {
		p.Waiting = counts.Waiting
	}
	if open, urgent, err := s.usage.OpenAlerts(c.Request().Context(), who); err == nil {
		p.Alerts, p.Urgent = open, urgent > 0
	}
	if held, err := s.registry.DriftCount(c.Request().Context(), who); err == nil {
		p.Held = held
	}
	return p
}

// counts says how many approvals wait, for the navigation and for what is on the page: they are counted once for it.
func (s *Server) counts(c echo.Context, who identity.Principal) (approvals.Counts, error) {
	const key = "approval counts"
	if counted, ok := c.Get(key).(approvals.Counts); ok {
		return counted, nil
	}
	counts, err := s.approvals.Counts(c.Request().Context(), who)
	if err == nil {
		c.Set(key, counts)
	}
	return counts, err
}

func roleWords(who identity.Principal) string {
	var words []string
	for _, r := range []struct {
		role identity.Role
		word string
	}{{identity.Admin, "Admin"}, {identity.Owner, "Owner"}, {identity.Approver, "Approver"}, {identity.Auditor, "Auditor"}, {identity.Viewer, "Viewer"}} {
		if who.Has(r.role) {
			words = append(words, r.word)
		}
	}
	if len(words) == 0 {
		return "No role"
	}
	return strings.Join(words, ", ")
}

// render writes a page. Pages are for one reader at one moment: nothing keeps them.
func render(c echo.Context, status int, page templ.Component) error {
	c.Response().Header().Set("Content-Type", "text/html; charset=utf-8")
	c.Response().WriteHeader(status)
	return page.Render(c.Request().Context(), c.Response())
}

// done answers a POST that succeeded: go and look, and say what was done.
func (s *Server) done(c echo.Context, to, flash string) error {
	if flash != "" {
		s.setCookie(c, s.flashCookie(), base64.RawURLEncoding.EncodeToString([]byte(flash)), time.Minute)
	}
	return c.Redirect(http.StatusSeeOther, to)
}

func (s *Server) flashCookie() string { return s.sessionCookie() + "-flash" }

// takeFlash gives what the last POST has to say, once.
func (s *Server) takeFlash(c echo.Context) string {
	cookie, err := c.Cookie(s.flashCookie())
	if err != nil || c.Response().Committed {
		return ""
	}
	s.setCookie(c, s.flashCookie(), "", -1)
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(text) > 300 {
		return ""
	}
	return string(text)
}

// formErrors gives the errors to show in a form when err is about what was typed; ok is false when it is not,
// and then err has its own page.
func formErrors(err error, rename map[string]string) (errs web.Errors, status int, ok bool) {
	p := problem.From(err)
	if p.Kind != problem.Invalid && p.Kind != problem.Conflict && p.Kind != problem.Forbidden || p.Code == "form_token" {
		return nil, 0, false
	}
	errs = web.Errors{}
	for field, message := range p.Fields {
		if other, renamed := rename[field]; renamed {
			field = other
		}
		errs[field] = message
	}
	if len(p.Fields) == 0 || p.Kind != problem.Invalid {
		errs[""] = p.Message
	}
	return errs, p.Kind.Status(), true
}

// lines gives the lines of a text field that are not empty.
func lines(text string) []string {
	var out []string
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' }) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// toSignIn sends somebody who is not signed in to the sign-in page, and afterwards back to where they were going.
func (s *Server) toSignIn(c echo.Context) error {
	to := "/signin"
	if c.Request().Method == http.MethodGet && c.Request().URL.Path != "/" && c.Request().URL.Path != "/events" {
		to += "?return=" + url.QueryEscape(c.Request().URL.RequestURI())
	}
	if c.Request().URL.Path == "/events" {
		return c.NoContent(http.StatusNoContent) // ends the stream; the page finds out by itself
	}
	return c.Redirect(http.StatusSeeOther, to)
}

// errorPage tells a person what happened, what is still safe, and what to do next.
func (s *Server) errorPage(c echo.Context, p *problem.Error) error {
	who := principal(c)
	view := web.Problem{Status: p.Kind.Status(), Title: problemTitle(p), Message: p.Message, Back: "/", BackTo: "Go to the overview", Request: requestID(c)}
	switch p.Kind {
	case problem.Unavailable:
		view.Safe = []string{"Nothing was changed.", "Gateways go on enforcing the policy they hold, until its lease ends."}
		view.Back, view.BackTo = "/", "Try again"
	case problem.Internal:
		view.Safe = []string{"What was not confirmed was not done.", "Gateways are not concerned."}
	case problem.Conflict, problem.Precondition:
		view.Safe = []string{"What the other person did stands; your change was not made."}
	default: // the message says it all
	}
	page := web.Page{Title: view.Title, Now: s.cfg.Now()}
	if who.Kind == identity.Person && p.Kind != problem.Unavailable {
		page = s.page(c, who, view.Title, "")
	}
	return render(c, p.Kind.Status(), web.ProblemPage(page, view))
}

func problemTitle(p *problem.Error) string {
	switch p.Kind {
	case problem.Invalid, problem.MethodNotAllowed, problem.UnsupportedMedia:
		return "This request cannot be understood"
	case problem.Forbidden:
		return "You may not do this"
	case problem.NotFound:
		return "There is nothing here"
	case problem.Conflict, problem.Precondition:
		return "Somebody was faster"
	case problem.Gone:
		return "This is over"
	case problem.TooLarge:
		return "That is too large"
	case problem.RateLimited:
		return "Too many requests"
	case problem.Unavailable:
		return "The control plane cannot answer right now"
	default:
		return "Something failed on our side"
	}
}
