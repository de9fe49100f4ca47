package server

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/policy"
	"countersign/web"
)

const (
	matrixRows    = 25
	matrixColumns = 24  // beyond that it asks for a filter, rather than leaving some out
	mostAccess    = 300 // tools of one person
)

// accessPage says who can call what: everybody, as the grants say them, or one caller.
func (s *Server) accessPage(c echo.Context, who identity.Principal) error {
	view := web.Matrix{Query: c.QueryParam("q"), Server: c.QueryParam("server")}
	view.Filtered = view.Query+view.Server != ""
	var err error
	if caller := callerOf(c); caller.Subject+caller.Agent+caller.Model != "" || len(caller.Groups) > 0 {
		view.Person, err = s.personAccess(c, who, caller)
	} else {
		err = s.showMatrix(c, who, &view)
	}
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, web.MatrixPage(s.page(c, who, "Who can call what", "/policy"), view))
}

func accessFilter(c echo.Context) delivery.AccessFilter {
	return delivery.AccessFilter{Subject: c.QueryParam("q"), Server: c.QueryParam("server"), After: c.QueryParam("after"), Limit: matrixRows}
}

func (s *Server) showMatrix(c echo.Context, who identity.Principal, view *web.Matrix) error {
	page, err := s.delivery.AccessMatrix(c.Request().Context(), who, accessFilter(c))
	if err != nil {
		return err
	}
	view.Columns = matrixServers(page.Items)
	filter := url.Values{"q": {view.Query}, "server": {view.Server}}
	view.CSV = "/policy/access.csv?" + filter.Encode()
	if n := len(view.Columns); n > matrixColumns {
		view.TooMany, view.Columns = fmt.Sprintf("These grants reach %d servers; the matrix shows %d. Name a part of a server, or of who.", n, matrixColumns), nil
		return nil
	}
	open, at := c.QueryParam("open"), c.QueryParam("at")
	for _, r := range page.Items {
		row := web.MatrixRow{Subject: r.Words}
		for _, column := range view.Columns {
			cell := web.MatrixCell{}
			if i := slices.IndexFunc(r.Cells, func(c delivery.AccessCell) bool { return c.ServerID == column.ID }); i >= 0 {
				cell = matrixCell(r.Cells[i])
				q := url.Values{"q": {view.Query}, "server": {view.Server}, "after": {c.QueryParam("after")}, "open": {r.Key}, "at": {column.ID}}
				cell.Address, cell.Open = "/policy/access?"+q.Encode()+"#tools", open == r.Key && at == column.ID
				if cell.Open {
					if err := s.openCell(c, who, view, r, column); err != nil {
						return err
					}
				}
			}
			row.Cells = append(row.Cells, cell)
		}
		view.Rows = append(view.Rows, row)
	}
	view.First, view.Next = turn("/policy/access", filter, c.QueryParam("after"), page.Next)
	return nil
}

func matrixCell(cell delivery.AccessCell) web.MatrixCell {
	return web.MatrixCell{
		Allowed: cell.Counts.Allow, Held: cell.Counts.Hold, Denied: cell.Counts.Deny, Worst: string(cell.Counts.Worst), Depends: cell.Counts.Depends > 0,
	}
}

// matrixServers are the servers that rows have something on, by name.
func matrixServers(rows []delivery.AccessRow) []web.MatrixColumn {
	var columns []web.MatrixColumn
	seen := map[string]bool{}
	for _, r := range rows {
		for _, cell := range r.Cells {
			if !seen[cell.ServerID] {
				seen[cell.ServerID] = true
				columns = append(columns, web.MatrixColumn{ID: cell.ServerID, Name: cell.Server})
			}
		}
	}
	slices.SortFunc(columns, func(a, b web.MatrixColumn) int { return cmp.Compare(a.Name, b.Name) })
	return columns
}

// openCell lists the tools of one subject on one server.
func (s *Server) openCell(c echo.Context, who identity.Principal, view *web.Matrix, row delivery.AccessRow, column web.MatrixColumn) error {
	page, err := s.delivery.AccessMatrix(c.Request().Context(), who, delivery.AccessFilter{Subject: row.Words, Server: column.Name, Tools: true, Limit: 200})
	if err != nil {
		return err
	}
	view.Open = "What " + row.Words + " can call of " + column.Name
	for _, r := range page.Items {
		for _, cell := range r.Cells {
			if r.Key == row.Key && cell.ServerID == column.ID {
				view.Tools = accessTools(cell, firstOfEach(row.Subject))
			}
		}
	}
	return nil
}

// firstOfEach is a caller whom the subject may mean, as an explanation asks about one.
func firstOfEach(subject policy.Subject) url.Values {
	form := callForm{url.Values{}}
	suggest(form, subject, policy.Resource{})
	return form.Values
}

func accessTools(cell delivery.AccessCell, caller url.Values) []web.AccessTool {
	var tools []web.AccessTool
	for _, t := range cell.Tools {
		q := maps.Clone(caller)
		q.Set("call_server", cell.Server)
		q.Set("call_tool", t.Name)
		q.Set("call_kind", string(t.Kind))
		tools = append(tools, web.AccessTool{
			Server: cell.Server, Kind: string(t.Kind), Name: t.Name, Risk: string(t.Risk), Why: accessWords(t), Address: "/policy/explain?" + q.Encode(),
			State: outcomeState(t.Outcome),
		})
	}
	return tools
}

func outcomeState(o policy.Outcome) string {
	return map[policy.Outcome]string{policy.Allow: "allowed", policy.Hold: "held", policy.Deny: "denied"}[o]
}

// accessWords says why a tool is accessible as it is.
func accessWords(t delivery.AccessTool) string {
	var parts []string
	if len(t.Grants) > 0 {
		parts = append(parts, "By "+ruleNames(t.Grants)+".")
	}
	switch t.Outcome {
	case policy.Hold:
		parts = append(parts, "People approve it first: "+ruleNames(t.Guardrails)+".")
	case policy.Deny:
		if len(t.Guardrails) > 0 {
			parts = append(parts, "Denied by "+ruleNames(t.Guardrails)+".")
		} else {
			parts = append(parts, "Denied: "+strings.ReplaceAll(string(t.Reason), "_", " ")+".")
		}
	case policy.Allow:
	}
	if t.Depends {
		parts = append(parts, "It depends: on the arguments, the time, a second factor, or who of them it is.")
	}
	return strings.Join(parts, " ")
}

func ruleNames(rules []delivery.RuleName) string {
	const most = 3
	var names []string
	for _, r := range rules[:min(len(rules), most)] {
		names = append(names, "“"+brief(r.Name)+"”")
	}
	words := strings.Join(names, " and ")
	if more := len(rules) - most; more > 0 {
		words += " and " + strconv.Itoa(more) + " more"
	}
	return words
}

// callerOf is the one caller that the address asks about.
func callerOf(c echo.Context) policy.Principal {
	p := policy.Principal{
		Subject: strings.TrimSpace(c.QueryParam("user")), Groups: lines(c.QueryParam("groups")), Agent: strings.TrimSpace(c.QueryParam("agent")),
		Model: strings.TrimSpace(c.QueryParam("model")),
	}
	if issuer, subject, both := strings.Cut(p.Subject, "|"); both && strings.Contains(issuer, "://") {
		p.Issuer, p.Subject = issuer, subject
	}
	if p.Model != "" {
		p.ModelAssurance = policy.Attested
	}
	return p
}

// personAccess is what one caller can call. Groups that nobody filled in are those of their last sign-in here.
func (s *Server) personAccess(c echo.Context, who identity.Principal, caller policy.Principal) (*web.PersonAccess, error) {
	ctx := c.Request().Context()
	view := &web.PersonAccess{Form: web.ExplainForm{
		User: c.QueryParam("user"), Groups: c.QueryParam("groups"), Agent: c.QueryParam("agent"), Model: c.QueryParam("model"),
	}}
	if caller.Groups == nil && caller.Subject != "" {
		seen, err := s.delivery.Callers(ctx, who, caller.Subject)
		if err != nil {
			return nil, err
		}
		known := slices.DeleteFunc(seen, func(p delivery.SeenCaller) bool {
			return p.Subject != caller.Subject || p.Groups == nil || caller.Issuer != "" && p.Issuer != caller.Issuer
		})
		if len(known) == 1 {
			caller.Groups, caller.Issuer = known[0].Groups, known[0].Issuer
			view.Form.Groups = strings.Join(caller.Groups, ", ")
			view.Notes = append(view.Notes, "Groups are those of the last sign-in here.")
		}
	}
	if caller.Groups == nil {
		caller.Groups = []string{}
	}
	cells, err := s.delivery.CallerAccess(ctx, who, caller, delivery.AccessFilter{Server: c.QueryParam("server")})
	if err != nil {
		return nil, err
	}
	asked := url.Values{"call_user": {view.Form.User}, "call_groups": {view.Form.Groups}, "call_agent": {caller.Agent}, "call_model": {caller.Model}}
	if caller.Model != "" {
		asked.Set("call_attested", "yes")
	}
	for _, cell := range cells {
		view.Tools = append(view.Tools, accessTools(cell, asked)...)
	}
	if len(view.Tools) > mostAccess {
		view.More, view.Tools = len(view.Tools)-mostAccess, view.Tools[:mostAccess]
	}
	view.Words = callerWords(caller)
	if who.Can(identity.ChangeGrant, "") == nil {
		view.Stop = suspendAddress(caller)
	}
	return view, nil
}

func callerWords(p policy.Principal) string {
	words := "What " + cmp.Or(p.Subject, "somebody") + " can call"
	if p.Agent != "" {
		words += " through " + p.Agent
	}
	if p.Model != "" {
		words += " with " + p.Model
	}
	return words
}

// suspendAddress is the form that suspends a person, or else an agent.
func suspendAddress(p policy.Principal) string {
	switch {
	case p.Subject != "" && p.Issuer != "":
		return "/policy/suspensions?" + url.Values{"kind": {"person"}, "which": {p.Issuer + "|" + p.Subject}}.Encode()
	case p.Subject != "":
		return "/policy/suspensions?" + url.Values{"kind": {"person"}, "which": {p.Subject}}.Encode()
	case p.Agent != "":
		return "/policy/suspensions?" + url.Values{"kind": {"agent"}, "which": {p.Agent}}.Encode()
	}
	return ""
}

// accessCSV is the matrix as a file, all of it: the one that scripts get.
func (s *Server) accessCSV(c echo.Context, who identity.Principal) error {
	return s.writeAccess(c, who, accessFilter(c))
}
