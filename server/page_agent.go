package server

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

// keyLives are the lives that a key may be given, in days.
var keyLives = []keyLife{{30, "30 days"}, {90, "90 days"}, {180, "180 days"}, {365, "A year"}}

type keyLife struct {
	days  int
	words string
}

const defaultKeyLife = "90"

func (s *Server) agentPage(c echo.Context, who identity.Principal) error {
	return s.showAgentView(c, who, http.StatusOK, nil)
}

// showAgentView shows one agent with its keys, and what is wrong with a key that was asked for, or with the end of one.
func (s *Server) showAgentView(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	a, err := s.registry.Agent(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	keys, err := s.registry.AgentKeys(ctx, who, a.ID)
	if err != nil {
		return err
	}
	timeline, err := audit.Timeline(ctx, s.pool, a.ID, 50)
	if err != nil {
		return err
	}
	view := web.AgentView{
		AgentLine: agentLine(a), May: who.Can(identity.IssueKey, "") == nil, Fresh: s.auth.Fresh(who) == nil,
		KeyName: c.FormValue("name"), Reason: c.FormValue("reason"), Errors: errs,
	}
	for _, k := range keys {
		view.Keys = append(view.Keys, web.AgentKeyLine{
			ID: k.ID, Name: k.Name, Shown: k.Shown, By: k.CreatedByName, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, EndedAt: k.EndedAt,
			Asked: len(errs) > 0 && k.ID == c.Param("key"),
		})
	}
	chosen := c.FormValue("expires")
	if chosen == "" {
		chosen = defaultKeyLife
	}
	for _, life := range keyLives {
		days := strconv.Itoa(life.days)
		view.Lives = append(view.Lives, web.Option{Value: days, Label: life.words, Selected: days == chosen})
	}
	for _, e := range timeline {
		view.Timeline = append(view.Timeline, eventView(e))
	}
	return render(c, status, web.AgentPage(s.page(c, who, a.Name, "/agents"), view))
}

// makeAgentKey answers with the key itself rather than a redirect: it exists in this answer only.
func (s *Server) makeAgentKey(c echo.Context, who identity.Principal) error {
	n := registry.NewKey{Name: c.FormValue("name")}
	days, err := strconv.Atoi(c.FormValue("expires"))
	if err == nil && slices.ContainsFunc(keyLives, func(l keyLife) bool { return l.days == days }) {
		n.ExpiresAt = s.cfg.Now().AddDate(0, 0, days)
	}
	made, err := s.registry.NewAgentKey(c.Request().Context(), who, c.Param("id"), n)
	if err != nil {
		return s.agentAgain(c, who, err)
	}
	a, err := s.registry.Agent(c.Request().Context(), who, made.AgentID)
	if err != nil {
		return err
	}
	view := web.IssuedKey{
		AgentID: a.ID, Agent: a.Name, Name: made.Name, Secret: made.Secret, Until: made.ExpiresAt.UTC().Format("2 Jan 2006 15:04 UTC"),
	}
	return render(c, http.StatusCreated, web.IssuedKeyPage(s.page(c, who, "New key", "/agents"), view))
}

func (s *Server) endAgentKey(c echo.Context, who identity.Principal) error {
	ended, err := s.registry.EndAgentKey(c.Request().Context(), who, c.Param("id"), c.Param("key"), c.FormValue("reason"))
	if err != nil {
		return s.agentAgain(c, who, err)
	}
	return s.done(c, "/agents/"+ended.AgentID, "“"+brief(ended.Name)+"” has ended. Gateways refuse it in a few seconds.")
}

// agentAgain shows the agent with what was not done, if that is about what was typed or when the reader signed in.
func (s *Server) agentAgain(c echo.Context, who identity.Principal, err error) error {
	errs, status, ok := formErrors(err, nil)
	if p := problem.From(err); !ok || p.Kind == problem.Forbidden && p.Code != "fresh_signin_required" {
		return err
	}
	return s.showAgentView(c, who, status, errs)
}
