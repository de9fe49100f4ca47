package server

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

type accessQuery struct {
	accessSelection
	Tools bool `query:"tools" doc:"Also every tool by itself."`
	paging
}

// accessSelection is the part of a query that selects a part of the matrix.
type accessSelection struct {
	Server  string      `query:"server" doc:"Part of the name."`
	Team    string      `query:"team" doc:"The id of the team that owns the server."`
	Subject string      `query:"subject" doc:"Part of the subject in words."`
	Tool    string      `query:"tool" doc:"Part of the name."`
	Risk    policy.Risk `query:"risk"`
}

func (q accessSelection) filter() delivery.AccessFilter {
	return delivery.AccessFilter{Server: q.Server, Team: q.Team, Subject: q.Subject, Tool: q.Tool, Risk: q.Risk}
}

// accessRowJSON is what one subject, as grants say it, may do.
type accessRowJSON struct {
	Subject policy.Subject   `json:"subject"`
	Words   string           `json:"words"`
	Grants  []ruleNameJSON   `json:"grants"`
	Servers []accessCellJSON `json:"servers" doc:"Only those where it has something."`
}

type ruleNameJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type accessCellJSON struct {
	Server     string           `json:"server" doc:"Its id."`
	ServerName string           `json:"server_name"`
	Team       string           `json:"team" doc:"The id of the team that owns it."`
	Allow      int              `json:"allow"`
	Hold       int              `json:"hold" doc:"An approval is needed."`
	Deny       int              `json:"deny" doc:"Granted, and a guardrail, a suspension or drift is in the way."`
	Depends    int              `json:"depends" doc:"Of those allowed and held: it depends on more, such as the arguments."`
	Worst      policy.Risk      `json:"worst,omitempty" doc:"The greatest risk of what is allowed or held."`
	Tools      []accessToolJSON `json:"tools,omitempty"`
}

type accessToolJSON struct {
	Tool       string                   `json:"tool" doc:"Its id."`
	Kind       policy.Kind              `json:"kind"`
	Name       string                   `json:"name"`
	Risk       policy.Risk              `json:"risk"`
	Outcome    delivery.ExpectedOutcome `json:"outcome"`
	Reason     policy.Reason            `json:"reason"`
	Depends    bool                     `json:"depends,omitempty" doc:"On the arguments, the time, a second factor, or on who of the subject it is."`
	Grants     []ruleNameJSON           `json:"grants"`
	Guardrails []ruleNameJSON           `json:"guardrails" doc:"That deny it, hold it, or are why it depends."`
}

func accessRowOf(r delivery.AccessRow) accessRowJSON {
	return accessRowJSON{
		Subject: r.Subject, Words: r.Words, Grants: ruleNamesOf(r.Grants), Servers: whole(r.Cells, accessCellOf).Items,
	}
}

func ruleNamesOf(all []delivery.RuleName) []ruleNameJSON {
	return whole(all, func(r delivery.RuleName) ruleNameJSON { return ruleNameJSON(r) }).Items
}

func accessCellOf(c delivery.AccessCell) accessCellJSON {
	return accessCellJSON{
		Server: c.ServerID, ServerName: c.Server, Team: c.Team, Allow: c.Counts.Allow, Hold: c.Counts.Hold, Deny: c.Counts.Deny,
		Depends: c.Counts.Depends, Worst: c.Counts.Worst, Tools: whole(c.Tools, accessToolOf).Items,
	}
}

func accessToolOf(t delivery.AccessTool) accessToolJSON {
	return accessToolJSON{
		Tool: t.ID, Kind: t.Kind, Name: t.Name, Risk: t.Risk, Outcome: delivery.ExpectedOutcome(t.Outcome.String()), Reason: t.Reason,
		Depends: t.Depends, Grants: ruleNamesOf(t.Grants), Guardrails: ruleNamesOf(t.Guardrails),
	}
}

func (s *Server) listAccess(c echo.Context, who identity.Principal, q accessQuery) (registry.Page[accessRowJSON], error) {
	f := q.filter()
	f.Tools, f.After, f.Limit = q.Tools, q.After, q.Limit
	found, err := s.delivery.AccessMatrix(c.Request().Context(), who, f)
	return each(found, accessRowOf), err
}

// callerRequest is the body of POST /v1/policy/access.
type callerRequest struct {
	Principal principalJSON `json:"principal"`
	Server    string        `json:"server,omitempty" doc:"Part of the name."`
	Team      string        `json:"team,omitempty" doc:"The id of the team that owns the server."`
	Risk      policy.Risk   `json:"risk,omitempty"`
}

// callerAccessJSON is what one caller may call.
type callerAccessJSON struct {
	Servers []accessCellJSON `json:"servers"`
}

func (s *Server) callerAccess(c echo.Context, who identity.Principal, in callerRequest) (*callerAccessJSON, error) {
	caller := callJSON{Principal: in.Principal}.given().Request().Principal
	filter := delivery.AccessFilter{Server: in.Server, Team: in.Team, Risk: in.Risk}
	return said(func(cells []delivery.AccessCell) callerAccessJSON {
		return callerAccessJSON{Servers: whole(cells, accessCellOf).Items}
	})(s.delivery.CallerAccess(c.Request().Context(), who, *caller, filter))
}

const csvType = "text/csv"

// accessTable is the deed that gives the matrix as a table: a line for each subject and tool.
func (s *Server) accessTable() deed {
	h := func(c echo.Context, who identity.Principal) error {
		var q accessSelection
		if err := readQuery(c.QueryParams(), &q); err != nil {
			return err
		}
		return s.writeAccess(c, who, q.filter())
	}
	return deed{handler: h, query: reflect.TypeFor[accessSelection](), replies: []reply{{status: http.StatusOK, contents: []content{{media: csvType}}}}}
}

// writeAccess writes the matrix page by page, so that one page of it is in memory.
func (s *Server) writeAccess(c echo.Context, who identity.Principal, f delivery.AccessFilter) error {
	const subjectsAtOnce = 20
	f.Tools, f.After, f.Limit = true, "", subjectsAtOnce
	page, err := s.delivery.AccessMatrix(c.Request().Context(), who, f)
	if err != nil {
		return err
	}
	file := newCSV(c, "access", "subject", "server", "kind", "name", "risk", "outcome", "reason", "depends", "grants", "guardrails")
	for {
		for _, row := range page.Items {
			for _, cell := range row.Cells {
				for _, t := range cell.Tools {
					file.row(row.Words, cell.Server, string(t.Kind), t.Name, string(t.Risk), t.Outcome.String(), string(t.Reason),
						strconv.FormatBool(t.Depends), ruleList(t.Grants), ruleList(t.Guardrails))
				}
			}
		}
		if page.Next == "" {
			return file.done()
		}
		f.After = page.Next
		if page, err = s.delivery.AccessMatrix(c.Request().Context(), who, f); err != nil {
			return file.broken(err)
		}
	}
}

func ruleList(all []delivery.RuleName) string {
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.Name
	}
	return strings.Join(names, "; ")
}

type idleQuery struct {
	Idle delivery.Idleness `query:"idle" doc:"In which way. Without it, in any."`
	paging
}

// idleGrantJSON is a grant that is perhaps not needed any more.
type idleGrantJSON struct {
	ID        string              `json:"id"`
	Name      string              `json:"name"`
	Subject   policy.Subject      `json:"subject"`
	Resource  policy.Resource     `json:"resource"`
	NotAfter  *time.Time          `json:"not_after,omitempty"`
	CreatedAt time.Time           `json:"created_at"`
	LastUsed  *time.Time          `json:"last_used,omitempty" doc:"Not there: never, as far as gateways reported. A grant counts as used by every call that it could have allowed."`
	Idle      []delivery.Idleness `json:"idle"`
}

func (s *Server) listIdleGrants(c echo.Context, who identity.Principal, q idleQuery) (registry.Page[idleGrantJSON], error) {
	found, err := s.delivery.IdleGrants(c.Request().Context(), who, delivery.IdleFilter{Idle: q.Idle, After: q.After, Limit: q.Limit})
	return each(found, func(g delivery.IdleGrant) idleGrantJSON { return idleGrantJSON(g) }), err
}
