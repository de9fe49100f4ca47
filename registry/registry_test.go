package registry

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestTeams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.CreateTeam(w.ctx, w.admin, NewTeam{Name: "ORDERS", IDPGroups: []string{"x"}})
	wantProblem(t, err, problem.Conflict, "team_exists")
	_, err = w.CreateTeam(w.ctx, w.admin, NewTeam{Name: " "})
	if p := wantProblem(t, err, problem.Invalid, "invalid_team"); p.Fields["name"] == "" || p.Fields["groups"] == "" {
		t.Errorf("fields %v", p.Fields)
	}
	_, err = w.CreateTeam(w.ctx, w.admin, NewTeam{Name: "Ghosts", PersonIDs: []string{"per_nobody"}})
	wantProblem(t, err, problem.Invalid, "invalid_team")
	_, err = w.CreateTeam(w.ctx, w.owner, NewTeam{Name: "Mine", IDPGroups: []string{"x"}})
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.CreateTeam(w.ctx, w.admin, NewTeam{Name: "Billing", PersonIDs: []string{w.viewer.ID}})
	w.must(err)

	w.register("orders", tools(tool("a", "b")))
	teams, err := w.Teams(w.ctx, w.viewer)
	w.must(err)
	if len(teams) != 2 || teams[0].Name != "Billing" || teams[0].Members != 1 || teams[1].Servers != 1 ||
		!cmp.Equal(teams[1].IDPGroups, []string{"orders"}) {
		t.Errorf("teams %+v", teams)
	}
	if n := w.events("team.created"); n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, discovery, err := w.Register(w.ctx, w.owner, registration(" com.acme/Orders ", w.team))
	w.must(err)
	if server.Name != "com.acme/Orders" || server.State != Proposed || server.TeamName != "Orders" ||
		server.CreatedByName != "OLGA" || server.Endpoint.URL != "https://orders.acme.example/mcp" || server.Endpoint.Digest.IsZero() {
		t.Errorf("server %+v", server)
	}
	if discovery.State != Waiting || discovery.ServerName != server.Name || discovery.RequestedByName != "OLGA" {
		t.Errorf("discovery %+v", discovery)
	}
	if w.events("server.registered") != 1 || w.events("server.discovery_requested") != 1 {
		t.Error("events are missing")
	}
	again, err := w.ServerNamed(w.ctx, w.viewer, "COM.ACME/orders")
	if err != nil || again.ID != server.ID {
		t.Errorf("by name: %v, %v", again.ID, err)
	}
	endpoints, err := w.Endpoints(w.ctx, w.viewer, server.ID)
	if err != nil || len(endpoints) != 1 || endpoints[0].Digest != server.Endpoint.Digest {
		t.Errorf("endpoints %+v, %v", endpoints, err)
	}

	_, _, err = w.Register(w.ctx, w.owner, registration("COM.acme/orders", w.team))
	if p := wantProblem(t, err, problem.Conflict, "server_exists"); p.Fields["name"] == "" {
		t.Error("no field error")
	}
	_, _, err = w.Register(w.ctx, w.admin, registration("com.acme/x", "tem_nobody"))
	if p := wantProblem(t, err, problem.Invalid, "invalid_server"); p.Fields["team"] == "" {
		t.Error("no field error")
	}
	_, _, err = w.Register(w.ctx, w.owner, registration("com.acme/x", "tem_other"))
	wantProblem(t, err, problem.Forbidden, "not_your_team")
	_, _, err = w.Register(w.ctx, w.viewer, registration("com.acme/x", w.team))
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, _, err = w.Register(w.ctx, identity.Principal{}, registration("com.acme/x", w.team))
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")
	_, err = w.Server(w.ctx, w.viewer, "srv_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_server")
}

func TestRegistrationSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	bad := func(change func(*Registration), fields ...string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			r := registration("com.acme/orders", "tem_1")
			change(&r)
			err := r.clean()
			p := wantProblem(t, err, problem.Invalid, "invalid_server")
			for _, f := range fields {
				if p.Fields[f] == "" {
					t.Errorf("nothing said about %s, only %v", f, p.Fields)
				}
			}
			if len(p.Fields) != len(fields) {
				t.Errorf("got %v, want complaints about %v", p.Fields, fields)
			}
		}
	}
	name := func(n string) func(*testing.T) { return bad(func(r *Registration) { r.Name = n }, "name") }
	url := func(u string) func(*testing.T) { return bad(func(r *Registration) { r.URL = u }, "url") }
	for what, test := range map[string]func(*testing.T){
		"everything missing": bad(func(r *Registration) { *r = Registration{} }, "name", "team", "transport"),
		"no slash":           name("orders"),
		"two slashes":        name("com.acme/orders/x"),
		"control character":  name("com.acme/or\x07ders"),
		"newline inside":     name("com.acme/or\nders"),
		"dots only":          name("com.acme/.."),
		"too long":           name("com.acme/" + strings.Repeat("x", 200)),
		"hidden in title":    bad(func(r *Registration) { r.Title = "Orders\u200b" }, "title"),
		"long description":   bad(func(r *Registration) { r.Description = strings.Repeat("x", 2001) }, "description"),
		"10 kB label":        bad(func(r *Registration) { r.Labels = []string{strings.Repeat("x", 10_000)} }, "labels"),
		"no URL":             url(""),
		"other scheme":       url("ftp://acme.example/mcp"),
		"javascript":         url("javascript:alert(1)"),
		"password":           url("https://me:secret@acme.example/mcp"),
		"fragment":           url("https://acme.example/mcp#x"),
		"bidi":               url("https://acme.example/\u202ecp"),
		"space":              url("https://acme.example/a b"),
		"relative":           url("/mcp"),
		"stdio, no digest":   bad(func(r *Registration) { r.Location = Location{Transport: Stdio, Command: "files"} }, "command"),
		"a command line": bad(func(r *Registration) {
			r.Location = Location{Transport: Stdio, Command: "rm -rf /", CommandDigest: someDigest.String()}
		}, "command"),
	} {
		t.Run(what, test)
	}
}

func TestTwoRegistrationsOfOneName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	results := make(chan error, 16)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := "com.acme/orders"
			if i%2 == 1 {
				name = strings.ToUpper(name)
			}
			_, _, err := w.Register(w.ctx, w.owner, registration(name, w.team))
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		if err == nil {
			won++
			continue
		}
		wantProblem(t, err, problem.Conflict, "server_exists")
	}
	if won != 1 || w.events("server.registered") != 1 {
		t.Errorf("%d won", won)
	}
}

func TestServerLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.", `"readOnlyHint":true`)))
	step := func(to State, want string) {
		t.Helper()
		got, err := w.SetState(w.ctx, w.owner, s.ID, s.Version, to, "because")
		if want != "" {
			wantProblem(t, err, problem.Conflict, want)
			return
		}
		w.must(err)
		if got.State != to || got.Version != s.Version+1 {
			t.Errorf("got %s v%d", got.State, got.Version)
		}
		s = got
	}
	step(Active, "state_not_possible")
	step(Suspended, "state_not_possible")
	w.pinAll(s)
	step(Suspended, "server_changed")
	s = w.server(s.ID)
	if s.State != Active {
		t.Fatalf("after the first pin it is %s", s.State)
	}
	before := w.generation()
	step(Suspended, "")
	if w.generation() != before+1 {
		t.Error("the generation did not move")
	}
	step(Active, "")
	step(Proposed, "state_not_possible")
	_, err := w.RequestDiscovery(w.ctx, w.owner, s.ID)
	w.must(err)
	step(Retired, "")
	step(Active, "state_not_possible")
	if n := w.count(`select count(*) from discoveries where state = 'cancelled'`); n != 1 {
		t.Error("retiring left a discovery open")
	}
	_, err = w.RequestDiscovery(w.ctx, w.owner, s.ID)
	wantProblem(t, err, problem.Conflict, "server_retired")
	_, err = w.SetState(w.ctx, w.viewer, s.ID, s.Version, Active, "")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.SetState(w.ctx, w.edge, s.ID, s.Version, Active, "")
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
	if _, err := w.db.Owner.Exec(w.ctx, `update servers set state = 'active' where id = $1`, s.ID); err == nil {
		t.Error("the schema lets a retired server come back")
	}
}

func TestServersList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"delta", "Alpha", "charlie", "bravo", "a_c"} {
		w.register(name, tools(tool("list", "Lists.", `"readOnlyHint":true`), tool("drop", "Drops.")))
	}
	page, err := w.Servers(w.ctx, w.viewer, ServerFilter{Query: "b"})
	w.must(err)
	if len(page.Items) != 1 || page.Items[0].Pending != 2 || page.Items[0].Offered != 2 || page.Items[0].CheckedAt == nil {
		t.Fatalf("found %+v", page.Items)
	}
	bravo := page.Items[0]
	w.pinAll(bravo)
	w.observe(bravo.ID, false, tool("list", "Lists all.", `"readOnlyHint":true`), tool("drop", "Drops."))

	names := func(f ServerFilter) (got []string) {
		t.Helper()
		for {
			page, err := w.Servers(w.ctx, w.viewer, f)
			w.must(err)
			for _, s := range page.Items {
				got = append(got, strings.TrimPrefix(s.Name, "com.acme/"))
			}
			if f.After = page.Next; page.Next == "" {
				return got
			}
		}
	}
	for _, test := range []struct {
		what   string
		filter ServerFilter
		want   []string
	}{
		{"all, paged", ServerFilter{Limit: 2}, []string{"a_c", "Alpha", "bravo", "charlie", "delta"}},
		{"held", ServerFilter{Held: true}, []string{"bravo"}},
		{"active", ServerFilter{State: Active}, []string{"bravo"}},
		{"label and team", ServerFilter{Label: "env=prod", TeamID: w.team, Query: "ALPHA"}, []string{"Alpha"}},
		{"no wildcards", ServerFilter{Query: "_"}, []string{"a_c"}},
		{"other label", ServerFilter{Label: "env=test"}, nil},
	} {
		if diff := cmp.Diff(test.want, names(test.filter)); diff != "" {
			t.Errorf("%s: %s", test.what, diff)
		}
	}
	bravo = w.server(bravo.ID)
	want := Counts{Offered: 2, Pinned: 2, ReadOnly: 1, Destructive: 1, Held: 1, CheckedAt: bravo.CheckedAt}
	if diff := cmp.Diff(want, bravo.Counts); diff != "" {
		t.Error(diff)
	}
}
