package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/registry"
	"countersign/usage"
)

type priceJSON struct {
	ID        string     `json:"id"`
	Model     string     `json:"model" doc:"A name with * for any part of it; of several that match the longest counts."`
	From      string     `json:"from,omitempty" doc:"The first day, in UTC, for which it counts: until the next price of the same model. Not there: always."`
	Currency  string     `json:"currency"`
	Input     string     `json:"input" doc:"Decimal, for a million tokens that the model reads: results."`
	Output    string     `json:"output" doc:"Decimal, for a million tokens that it writes: arguments."`
	Version   int64      `json:"version" doc:"As in the ETag."`
	CreatedBy string     `json:"created_by"`
	CreatedAt time.Time  `json:"created_at"`
	ChangedAt time.Time  `json:"changed_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

func (p priceJSON) version() int64  { return p.Version }
func (p priceJSON) address() string { return "/v1/model-prices/" + p.ID }

func priceToJSON(p usage.Price) priceJSON {
	return priceJSON{
		ID: p.ID, Model: p.Model, From: p.From(), Currency: p.Currency, Input: p.Input(), Output: p.Output(), Version: p.Version, CreatedBy: p.CreatedBy,
		CreatedAt: p.CreatedAt, ChangedAt: p.ChangedAt, EndedAt: p.EndedAt,
	}
}

type newPriceJSON struct {
	Model    string `json:"model"`
	Currency string `json:"currency" doc:"Three letters, as EUR."`
	Input    string `json:"input" doc:"Decimal, for a million tokens; at most six decimals."`
	Output   string `json:"output"`
	From     string `json:"from,omitempty" doc:"The first day for which it counts, as 2026-11-22, in UTC; otherwise it counts for all the time before as well."`
}

func (s *Server) listPrices(c echo.Context, who identity.Principal, _ everything) (registry.Page[priceJSON], error) {
	prices, err := s.usage.Prices(c.Request().Context(), who)
	return whole(prices, priceToJSON), err
}

func (s *Server) readPrice(c echo.Context, who identity.Principal) (*priceJSON, error) {
	return said(priceToJSON)(s.usage.Price(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makePrice(c echo.Context, who identity.Principal, in newPriceJSON) (*priceJSON, error) {
	return said(priceToJSON)(s.usage.SetPrice(c.Request().Context(), who, usage.NewPrice(in)))
}

func (s *Server) editPrice(c echo.Context, who identity.Principal, version int64, in newPriceJSON) (*priceJSON, error) {
	return said(priceToJSON)(s.usage.ChangePrice(c.Request().Context(), who, c.Param("id"), version, usage.NewPrice(in)))
}

func (s *Server) stopPrice(c echo.Context, who identity.Principal, version int64, _ none) (*priceJSON, error) {
	return said(priceToJSON)(s.usage.EndPrice(c.Request().Context(), who, c.Param("id"), version))
}

type alertJSON struct {
	ID             string     `json:"id"`
	Rule           string     `json:"rule"`
	RuleName       string     `json:"rule_name"`
	Kind           usage.Kind `json:"kind"`
	Urgent         bool       `json:"urgent"`
	About          string     `json:"about" doc:"A session, a server, an agent, the id of a gateway or channel, or a caller; empty for those who may not see who called."`
	AboutName      string     `json:"about_name"`
	Summary        string     `json:"summary"`
	State          string     `json:"state" doc:"open, acknowledged or closed."`
	Times          int64      `json:"times" doc:"How often it happened while it was open."`
	FiredAt        time.Time  `json:"fired_at"`
	LastAt         time.Time  `json:"last_at"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`
	AcknowledgedAt *time.Time `json:"acknowledged_at,omitempty"`
	ClosedAt       *time.Time `json:"closed_at,omitempty"`
	ClosedBy       string     `json:"closed_by,omitempty" doc:"Not there: it closed by itself, as it did not happen again."`
}

func alertOf(a usage.Alert) alertJSON {
	return alertJSON{
		ID: a.ID, Rule: a.RuleID, RuleName: a.RuleName, Kind: a.Kind, Urgent: a.Urgent, About: a.About, AboutName: a.AboutName, Summary: a.Summary,
		State: a.State, Times: a.Times, FiredAt: a.FiredAt, LastAt: a.LastAt, AcknowledgedBy: a.AcknowledgedBy, AcknowledgedAt: a.AcknowledgedAt,
		ClosedAt: a.ClosedAt, ClosedBy: a.ClosedBy,
	}
}

type alertQuery struct {
	State string `query:"state" enum:"closed,all" doc:"Otherwise those that are not closed."`
	Rule  string `query:"rule" doc:"The id of a rule."`
	paging
}

func (s *Server) listAlerts(c echo.Context, who identity.Principal, q alertQuery) (registry.Page[alertJSON], error) {
	found, err := s.usage.Alerts(c.Request().Context(), who, usage.AlertFilter{State: q.State, RuleID: q.Rule, After: q.After, Limit: q.Limit})
	return each(found, alertOf), err
}

func (s *Server) readAlert(c echo.Context, who identity.Principal) (*alertJSON, error) {
	return said(alertOf)(s.usage.Alert(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) noticeAlert(c echo.Context, who identity.Principal, _ none) (*alertJSON, error) {
	return said(alertOf)(s.usage.Acknowledge(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) endAlert(c echo.Context, who identity.Principal, _ none) (*alertJSON, error) {
	return said(alertOf)(s.usage.Close(c.Request().Context(), who, c.Param("id")))
}

type alertRuleJSON struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Kind        usage.Kind   `json:"kind"`
	Params      usage.Params `json:"params"`
	Urgent      bool         `json:"urgent" doc:"Who is told is told at once, never in a digest."`
	Off         bool         `json:"off"`
	BuiltIn     bool         `json:"built_in" doc:"Every installation has it: it is switched off, not ended."`
	Open        int          `json:"open" doc:"Its alerts that are not closed."`
	LastFiredAt *time.Time   `json:"last_fired_at,omitempty"`
	Version     int64        `json:"version" doc:"As in the ETag."`
	CreatedBy   string       `json:"created_by"`
	CreatedAt   time.Time    `json:"created_at"`
	ChangedAt   time.Time    `json:"changed_at"`
	EndedAt     *time.Time   `json:"ended_at,omitempty"`
}

func (r alertRuleJSON) version() int64  { return r.Version }
func (r alertRuleJSON) address() string { return "/v1/alert-rules/" + r.ID }

func alertRuleOf(r usage.Rule) alertRuleJSON {
	return alertRuleJSON{
		ID: r.ID, Name: r.Name, Kind: r.Kind, Params: r.Params, Urgent: r.Urgent, Off: r.Off, BuiltIn: r.BuiltIn, Open: r.Open,
		LastFiredAt: r.LastFiredAt, Version: r.Version, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, ChangedAt: r.ChangedAt, EndedAt: r.EndedAt,
	}
}

type newAlertRuleJSON struct {
	Name   string       `json:"name"`
	Kind   usage.Kind   `json:"kind"`
	Params usage.Params `json:"params" doc:"Which of them a kind takes is in docs/usage.md."`
	Urgent bool         `json:"urgent,omitempty"`
}

func (s *Server) listAlertRules(c echo.Context, who identity.Principal, _ everything) (registry.Page[alertRuleJSON], error) {
	rules, err := s.usage.Rules(c.Request().Context(), who)
	return whole(rules, alertRuleOf), err
}

func (s *Server) readAlertRule(c echo.Context, who identity.Principal) (*alertRuleJSON, error) {
	return said(alertRuleOf)(s.usage.Rule(c.Request().Context(), who, c.Param("id")))
}

func (s *Server) makeAlertRule(c echo.Context, who identity.Principal, in newAlertRuleJSON) (*alertRuleJSON, error) {
	return said(alertRuleOf)(s.usage.CreateRule(c.Request().Context(), who, usage.NewRule(in)))
}

func (s *Server) editAlertRule(c echo.Context, who identity.Principal, version int64, in newAlertRuleJSON) (*alertRuleJSON, error) {
	return said(alertRuleOf)(s.usage.ChangeRule(c.Request().Context(), who, c.Param("id"), version, usage.NewRule(in)))
}

type switchJSON struct {
	On bool `json:"on"`
}

func (s *Server) turnAlertRule(c echo.Context, who identity.Principal, version int64, in switchJSON) (*alertRuleJSON, error) {
	return said(alertRuleOf)(s.usage.SwitchRule(c.Request().Context(), who, c.Param("id"), version, in.On))
}

func (s *Server) stopAlertRule(c echo.Context, who identity.Principal, version int64, _ none) (*alertRuleJSON, error) {
	return said(alertRuleOf)(s.usage.EndRule(c.Request().Context(), who, c.Param("id"), version))
}
