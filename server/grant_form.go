package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// moment is how a browser writes a time; ours are in UTC. momentExact is the same where seconds matter.
const (
	momentLayout = "2006-01-02T15:04"
	momentExact  = "2006-01-02T15:04:05"
)

// grantForm is the form of a grant as it was sent.
type grantForm struct{ ruleForm }

// grant is what the form says, at a time from which "for a day" counts. was is the grant that it changes, if any: a
// time that was not touched stays exactly as it is.
func (f grantForm) grant(now time.Time, was *registry.Grant) (registry.NewGrant, error) {
	n := registry.NewGrant{Name: f.Get("name"), Subject: f.subject(""), Resource: f.resource(), Condition: f.condition(), Reason: f.Get("reason")}
	n.Subject.Everyone, n.Subject.AllowDeclared = f.Get("everyone") != "", f.Get("allow_declared") != ""
	invalid := problem.New(problem.Invalid, "invalid_grant", "Nothing was changed.")
	var begin, end *time.Time
	if was != nil {
		begin, end = was.NotBefore, was.NotAfter
	}
	var err error
	if n.NotBefore, err = typedMoment(f.Get("not_before"), begin); err != nil {
		invalid.Field("not_before", "Write a day and a time, as 2026-12-24T18:00.")
	}
	switch until := f.Get("until"); until {
	case "at":
		if n.NotAfter, err = typedMoment(f.Get("not_after"), end); err != nil || n.NotAfter == nil {
			invalid.Field("not_after", "Write a day and a time, as 2026-12-24T18:00.")
		}
	case "never", "":
	default:
		length, err := time.ParseDuration(until)
		if err != nil || length <= 0 || length > 10*365*24*time.Hour {
			invalid.Field("until", "Choose one of these.")
		}
		later := now.Add(length) // what a person chose from a list, "for a day"
		n.NotAfter = &later
	}
	if len(invalid.Fields) > 0 {
		return n, invalid
	}
	return n, nil
}

// typedMoment reads a time as a browser sends it; nil when there is none. was is kept where the text is of it.
func typedMoment(text string, was *time.Time) (*time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil //nolint:nilnil // no time is no error
	}
	if was != nil && text == momentText(was) {
		return was, nil
	}
	at, err := time.Parse(momentLayout, text)
	if err != nil {
		at, err = time.Parse(momentExact, text)
	}
	if err != nil {
		return nil, err
	}
	return &at, nil
}

// momentText is a time as the field of a form takes it.
func momentText(t *time.Time) string {
	switch {
	case t == nil:
		return ""
	case t.UTC().Second() == 0:
		return t.UTC().Format(momentLayout)
	}
	return t.UTC().Format(momentExact)
}

// draft is what saving the form would make of the rules.
func (f grantForm) draft(n registry.NewGrant) delivery.Draft {
	return delivery.Draft{Grants: []policy.SourceGrant{{
		Grant: policy.Grant{
			ID: f.Get("id"), Name: strings.TrimSpace(n.Name), Subject: n.Subject, NotBefore: n.NotBefore, NotAfter: n.NotAfter, Condition: n.Condition,
		},
		Resource: n.Resource,
	}}}
}

func (f grantForm) view() web.NewGrant {
	version, _ := strconv.ParseInt(f.Get("version"), 10, 64)
	view := web.NewGrant{
		ID: f.Get("id"), Version: version, Name: f.Get("name"), Who: f.subjectView(""), Rule: f.ruleView(),
		From: f.Get("not_before"), Until: f.Get("until"), At: f.Get("not_after"), Reason: f.Get("reason"),
	}
	view.Who.Everyone, view.Who.AllowDeclared = f.Get("everyone") != "", f.Get("allow_declared") != ""
	return view
}

// formOfGrant is a grant as its form shows it.
func formOfGrant(g registry.Grant) grantForm {
	f := grantForm{ruleForm{url.Values{
		"id": {g.ID}, "version": {strconv.FormatInt(g.Version, 10)}, "name": {g.Name}, "condition": {g.Condition}, "reason": {g.Reason},
		"not_before": {momentText(g.NotBefore)}, "not_after": {momentText(g.NotAfter)}, "until": {"never"},
	}}}
	f.setSubject("", g.Subject)
	f.setResource(g.Resource)
	if g.NotAfter != nil {
		f.Set("until", "at")
	}
	if g.Subject.Everyone {
		f.Set("everyone", "yes")
	}
	if g.Subject.AllowDeclared {
		f.Set("allow_declared", "yes")
	}
	return f
}

// prefilled are the fields that an address may fill in: it prepares a form, and saves nothing.
var prefilled = []string{"name", "users", "groups", "agents", "models", "servers", "names", "kinds", "condition"}

func (s *Server) newGrantPage(c echo.Context, who identity.Principal) error {
	form := grantForm{ruleForm{url.Values{}}}
	for _, field := range prefilled {
		if values := c.QueryParams()[field]; len(values) > 0 {
			form.Values[field] = values
		}
	}
	if id := c.QueryParam("server"); id != "" {
		if server, err := s.registry.Server(c.Request().Context(), who, id); err == nil {
			form.Set("servers", server.Name)
		}
	}
	return s.showGrantForm(c, who, http.StatusOK, form, nil, false)
}

func (s *Server) editGrantPage(c echo.Context, who identity.Principal) error {
	grant, err := s.registry.Grant(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return err
	}
	if grant.EndedAt != nil {
		return problem.New(problem.Gone, "grant_ended", "This grant is ended, for good. Make a new one instead.")
	}
	return s.showGrantForm(c, who, http.StatusOK, formOfGrant(grant), nil, false)
}

// saveGrant makes or changes a grant, or shows what that would change when asked to.
func (s *Server) saveGrant(c echo.Context, who identity.Principal) error {
	form := grantForm{ruleForm{c.Request().PostForm}}
	if form.Get("do") != "create" || form.stale() {
		return s.showGrantForm(c, who, http.StatusOK, form, nil, true)
	}
	grant, err := s.keepGrant(c, who, form)
	if err != nil {
		errs, status, again := refused(err)
		if !again {
			return err
		}
		return s.showGrantForm(c, who, status, form, errs, false)
	}
	words := "” is given. Gateways have it in a moment."
	if form.Get("id") != "" {
		words = "” is changed. Gateways have it in a moment."
	}
	return s.ruleSaved(c, who, "/grants", grant.ID, "“"+brief(grant.Name)+words)
}

func (s *Server) keepGrant(c echo.Context, who identity.Principal, form grantForm) (registry.Grant, error) {
	ctx := c.Request().Context()
	was, err := s.grantOf(c, who, form)
	if err != nil {
		return registry.Grant{}, err
	}
	n, err := form.grant(s.cfg.Now(), was)
	if err != nil {
		return registry.Grant{}, err
	}
	if was != nil {
		return s.registry.ChangeGrant(ctx, who, was.ID, version(c), n)
	}
	return s.registry.CreateGrant(ctx, who, n)
}

// grantOf is the grant that a form changes; nil when it makes one.
func (s *Server) grantOf(c echo.Context, who identity.Principal, form grantForm) (*registry.Grant, error) {
	if form.Get("id") == "" {
		return nil, nil //nolint:nilnil // a form that makes a grant changes none
	}
	grant, err := s.registry.Grant(c.Request().Context(), who, form.Get("id"))
	return &grant, err
}

// showGrantForm shows the form, with what it would change when somebody asks for that.
func (s *Server) showGrantForm(c echo.Context, who identity.Principal, status int, form grantForm, errs web.Errors, foresee bool) error {
	view := form.view()
	if foresee {
		was, err := s.grantOf(c, who, form)
		if err != nil {
			return err
		}
		n, err := form.grant(s.cfg.Now(), was)
		if err != nil {
			errs, _, _ = ruleErrors(err)
		} else if view.Foresight, errs, err = s.foresee(c, who, form.ruleForm, form.draft(n)); err != nil {
			return err
		}
	}
	view.Errors = errs
	return render(c, status, web.NewGrantPage(s.page(c, who, "Grant", "/grants"), view))
}
