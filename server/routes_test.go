package server

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/auth"
	"countersign/identity"
)

func TestEveryRouteIsInTheTable(t *testing.T) {
	t.Parallel()
	s := &Server{}
	var table, served []string
	for _, r := range s.routes() {
		table = append(table, r.method+" "+r.path)
		if !r.access.public && !r.access.bearer && r.access.action == "" && !slices.Contains([]string{"/me", "/signout", "/me/sessions/:id/end"}, r.path) {
			t.Errorf("%s %s: no action is asked for", r.method, r.path)
		}
		if r.access.public && r.access.action != "" {
			t.Errorf("%s %s is public and asks for %s", r.method, r.path, r.access.action)
		}
		if !r.access.public && r.access.bearer != (strings.HasPrefix(r.path, "/v1/") || strings.HasPrefix(r.path, catalogPrefix)) {
			t.Errorf("%s %s: a token is for /v1, a cookie for the rest", r.method, r.path)
		}
		if r.access.bearer && r.access.action == "" {
			t.Errorf("%s %s takes a token and asks for no action", r.method, r.path)
		}
	}
	for _, r := range s.newEcho().Routes() {
		served = append(served, r.Method+" "+r.Path)
	}
	slices.Sort(table)
	slices.Sort(served)
	if diff := cmp.Diff(table, served); diff != "" {
		t.Errorf("what is served differs from the table (-table +served):\n%s", diff)
	}
}

// concrete is an address of a route, of things that do not exist.
func concrete(r route) string {
	path := strings.NewReplacer(":id", "no-such-id", ":definition", "no-such-definition", ":generation", "1", ":job", "no-such-job", ":tool", "no-such-tool", ":digest", "sha256:"+strings.Repeat("0", 64), "*", "no-such-file").Replace(r.path)
	if r.path == "/events" {
		path += "?topic=discovery-no-such-id"
	}
	return path
}

// persona is a kind of caller, and what it may do.
type persona struct {
	name string
	*caller
	person bool // has a session
	may    identity.Principal
}

func personas(t *testing.T, w *world) []persona {
	t.Helper()
	person := func(name, subject string, roles ...identity.Role) persona {
		who := identity.Principal{Kind: identity.Person, SessionID: "ses", Roles: roles}
		if subject == "tessa" {
			who.Teams = []string{w.team.ID}
		}
		return persona{name: name, caller: w.signIn(subject), person: true, may: who}
	}
	live, gone := w.enrol("edge", "*"), w.enrol("gone", "*")
	_, err := w.delivery.Revoke(t.Context(), installer, gone.ID, "test")
	must(t, err)
	must(t, w.auth.Refresh(t.Context()))
	machine := func(name, team string, roles ...identity.Role) persona {
		who := identity.Principal{Kind: identity.Client, ID: "cli_1", Roles: roles}
		if team != "" {
			who.Teams = []string{team}
		}
		return persona{name: name, caller: w.automation(team, roles...), may: who}
	}
	return []persona{
		{name: "anonymous", caller: w.anonymous()},
		person("no role", "nora"), person("viewer", "vera", identity.Viewer), person("auditor", "audra", identity.Auditor),
		person("approver", "april", identity.Approver), person("team member", "tessa"), person("admin", "ada", identity.Admin),
		{name: "gateway", caller: live.caller, may: live.principal()},
		{name: "revoked gateway", caller: gone.caller},
		machine("client without a role", ""), machine("viewer client", "", identity.Viewer), machine("auditor client", "", identity.Auditor),
		machine("admin client", "", identity.Admin), machine("client of a team", w.team.ID),
	}
}

// automation is a client that is no gateway, with these roles and as a member of a team.
func (w *world) automation(team string, roles ...identity.Role) *caller {
	w.t.Helper()
	issued, err := w.auth.CreateClient(w.t.Context(), installer, auth.NewClient{
		Name: "robot", Kind: auth.AutomationClient, Roles: roles, TeamID: team,
	})
	must(w.t, err)
	must(w.t, w.auth.Refresh(w.t.Context()))
	token, err := w.auth.Token(w.t.Context(), issued.ID, issued.Secret)
	must(w.t, err)
	c := w.anonymous()
	c.bearer = token.Token
	return c
}

// class is what the guard makes of a request. Forms are sent without their token, so that nothing is changed.
func class(a answer) string {
	switch {
	case a.status == http.StatusSeeOther && strings.HasPrefix(a.header.Get("Location"), "/signin"):
		return "sign in"
	case a.status == http.StatusUnauthorized:
		return "401"
	case a.status == http.StatusForbidden && strings.Contains(a.body, "This form is no longer valid"):
		return "allowed, but no form token"
	case a.status == http.StatusForbidden && (strings.Contains(a.body, "gateway_revoked") || strings.Contains(a.body, "This gateway was revoked")):
		return "revoked"
	case a.status == http.StatusForbidden:
		return "403"
	case a.status >= 500:
		return fmt.Sprintf("fault %d", a.status)
	}
	return "allowed"
}

// expected is what the table says.
func expected(r route, p persona) string {
	switch {
	case r.access.bearer && p.name == "revoked gateway":
		return "revoked"
	case r.access.bearer && p.bearer == "":
		return "401"
	case !r.access.bearer && !p.person && r.path == "/events":
		return "allowed" // 204 without anything: a stream that ends
	case !r.access.bearer && !p.person:
		return "sign in"
	case r.access.action != "" && p.may.Can(r.access.action, "") != nil:
		return "403"
	case !r.access.bearer && isUnsafe(r.method):
		return "allowed, but no form token"
	}
	return "allowed"
}

func TestWhoMayReachWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := personas(t, w)
	before, refused := w.traces(), w.refusals()
	known := 0
	for _, r := range w.routes() {
		if r.access.public {
			continue
		}
		for _, p := range all {
			var got answer
			if r.access.bearer {
				got = p.call(r.method, concrete(r), "")
			} else {
				got = p.send(r.method, concrete(r), "")
			}
			if want := expected(r, p); class(got) != want {
				t.Errorf("%s %s as %s: %s, want %s: %s", r.method, r.path, p.name, class(got), want, got.shown())
			} else if want == "403" || want == "allowed, but no form token" {
				known++
			}
		}
	}
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	if n := w.refusals() - refused; n != known {
		t.Errorf("%d refusals in the log, want %d", n, known)
	}
}

func TestPublicRoutesReadNoCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	callers := map[string]*caller{"admin": w.signIn("ada"), "gateway": w.enrol("edge", "*").caller}
	for _, r := range w.routes() {
		if !r.access.public || r.path == "/signin" || r.path == "/auth/callback" {
			continue
		}
		want := w.anonymous().send(r.method, concrete(r), "")
		if want.status >= 500 || want.status == http.StatusUnauthorized && r.path != "/oauth/token" {
			t.Errorf("%s %s: %s", r.method, r.path, want.shown())
		}
		for name, c := range callers {
			if got := c.send(r.method, concrete(r), ""); got.status != want.status {
				t.Errorf("%s %s as %s: %d, want %d as for everybody", r.method, r.path, name, got.status, want.status)
			}
		}
	}
}

func TestGETChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	ada, robot := w.signIn("ada"), w.automation("", identity.Admin)
	w.current(t, g.AudienceID)
	revision := "e1.r" + read[string](w, `select max(revision)::text from revisions`)
	before := w.traces()
	for _, r := range w.routes() {
		path := strings.NewReplacer(":generation", "1", ":revision", revision, ":bundle", g.AudienceID+".tar.gz", ":job", h.discovery, ":tool", h.tool, ":id", h.id(r.path), ":digest", h.call.Definition.String(), "*", "app.css").Replace(r.path)
		switch {
		case r.path == "/events":
			continue // a stream without end; see TestEvents
		case r.method != http.MethodGet: // also what changes things by another method
			a := ada.get(path)
			if a.status != http.StatusMethodNotAllowed && a.status != http.StatusNotFound && !served(w, r.path) {
				t.Errorf("GET %s, which is for %s: %s", r.path, r.method, a.shown())
			}
			if a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
				t.Errorf("GET %s: 405 without Allow", r.path)
			}
		case r.access.bearer && r.access.action != identity.Enforce:
			path = strings.ReplaceAll(path, ":definition", "no-such-definition")
			if a := robot.get(path); a.status != http.StatusOK && a.status != http.StatusNotFound {
				t.Errorf("GET %s: %s", path, a.shown())
			}
		case r.access.bearer:
			if a := g.get(path); a.status != http.StatusOK && !strings.Contains(a.body, "policy_compiling") {
				t.Errorf("GET %s: %s", path, a.shown())
			}
		case r.access.public:
			ada.get(path)
		default:
			ada.get(path).want(t, http.StatusOK)
		}
	}
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	if state := read[string](w, `select state from approvals`); state != "pending" {
		t.Errorf("the approval is %s", state)
	}
}

// served says whether the path also answers GET, as it is or as one with an id.
func served(w *world, path string) bool {
	return slices.ContainsFunc(w.routes(), func(r route) bool {
		pattern := regexp.MustCompile("^" + pathParameter.ReplaceAllString(r.path, ".+") + "$") // the last id takes all the rest
		return r.method == http.MethodGet && pattern.MatchString(path)
	})
}

func TestACookieIsNoTokenAndATokenIsNoCookie(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, ada := w.enrol("edge", "*"), w.signIn("ada")
	ada.get("/v1/policy").wantProblem(t, http.StatusUnauthorized, "token_required")
	cookie, ok := ada.cookie(w.sessionCookie())
	if !ok {
		t.Fatal("no session")
	}
	ada.get("/v1/policy", "Authorization", "Bearer "+cookie).wantProblem(t, http.StatusUnauthorized, "invalid_token")
	if a := g.get("/servers"); a.status != http.StatusSeeOther {
		t.Errorf("a gateway's token opens a page: %s", a.shown())
	}
	if a := w.anonymous().get("/servers", "Cookie", w.sessionCookie()+"="+g.bearer); a.status != http.StatusSeeOther {
		t.Errorf("a gateway's token opens a page as a cookie: %s", a.shown())
	}
}
