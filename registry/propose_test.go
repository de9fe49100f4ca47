package registry

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

// manifest is a small server.json with a place to reach it.
func manifest(name, version string) Manifest {
	return Manifest{
		Name: name, Title: "Weather", Description: "Forecasts", Version: version,
		Remotes: []Remote{{Type: remoteStreamable, URL: "https://weather.example/mcp"}},
	}
}

// outcomes are what became of an import, by name.
func (w *world) propose(chosen ...Manifest) map[string]Outcome {
	w.t.Helper()
	proposals, err := w.Propose(w.ctx, w.owner, chosen, w.team)
	w.must(err)
	got := map[string]Outcome{}
	for _, p := range proposals {
		got[p.Name+" "+p.Published] = p.Outcome
	}
	return got
}

func TestPropose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nowhere := manifest("com.acme/desk", "0.1.0")
	nowhere.Remotes = nil
	got := w.propose(manifest("com.acme/weather", "1.2.0"), nowhere)
	if diff := cmp.Diff(map[string]Outcome{"com.acme/weather 1.2.0": NewServer, "com.acme/desk 0.1.0": NewServer}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	server, err := w.ServerNamed(w.ctx, w.viewer, "com.acme/weather")
	w.must(err)
	if server.State != Proposed || server.Title != "Weather" || server.TeamID != w.team || server.CreatedBy != w.owner.ID || server.Endpoint.URL != "https://weather.example/mcp" {
		t.Errorf("%+v", server)
	}
	desk, err := w.ServerNamed(w.ctx, w.viewer, "com.acme/desk")
	w.must(err)
	if desk.State != Proposed || desk.Endpoint.ID != "" {
		t.Errorf("%+v", desk)
	}
	if n := w.count(`select count(*) from discoveries`); n != 0 {
		t.Errorf("%d discoveries were opened; a person opens them", n)
	}
	if w.events("server.proposed") != 2 {
		t.Errorf("%d audit events", w.events("server.proposed"))
	}
	var kept Manifest
	var raw []byte
	w.must(w.db.Runtime.QueryRow(w.ctx, `select manifest from server_versions where version = '1.2.0'`).Scan(&raw))
	w.must(json.Unmarshal(raw, &kept))
	if diff := cmp.Diff(manifest("com.acme/weather", "1.2.0"), kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestProposeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	weather := manifest("com.acme/weather", "1.2.0")
	w.propose(weather)
	steps := []struct {
		name     string
		change   func(*Manifest)
		want     Outcome
		versions int
	}{
		{"the same", func(*Manifest) {}, Unchanged, 1},
		{"another version", func(m *Manifest) { m.Version = "1.3.0" }, NewVersion, 2},
		{"that one again", func(m *Manifest) { m.Version = "1.3.0" }, Unchanged, 2},
		{"an older one", func(m *Manifest) { m.Version = "0.9.0" }, NewVersion, 3},
	}
	for _, step := range steps {
		m := weather
		step.change(&m)
		if got := w.propose(m)[m.Name+" "+m.Version]; got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
		if n := w.count(`select count(*) from server_versions`); n != step.versions {
			t.Errorf("%s: %d versions, want %d", step.name, n, step.versions)
		}
	}
	if w.events("server.proposed") != 1 || w.events("server.version_published") != 2 {
		t.Errorf("%d proposals and %d versions in the log", w.events("server.proposed"), w.events("server.version_published"))
	}
}

func TestAVersionWithoutAManifestGetsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.register("orders", tools(tool("list", "Lists.")))
	m := manifest("com.acme/orders", FirstVersion)
	m.WebsiteURL = "https://acme.example"
	if got := w.propose(m); got["com.acme/orders 1.0.0"] != NewVersion {
		t.Errorf("%v", got)
	}
	if got := w.propose(m); got["com.acme/orders 1.0.0"] != Unchanged {
		t.Errorf("%v", got)
	}
	if after := w.server(server.ID); after.Title != "Orders" || after.Endpoint.URL != server.Endpoint.URL {
		t.Errorf("the server itself was changed: %+v", after)
	}
	m.WebsiteURL = "https://evil.example"
	_, err := w.Propose(w.ctx, w.owner, []Manifest{m}, w.team)
	p := wantProblem(t, err, problem.Conflict, "import_conflict")
	if p.Fields["com.acme/orders"] != "Version 1.0.0 is published already with other contents. Give it another version." {
		t.Errorf("%v", p.Fields)
	}
}

func TestImportIsAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.propose(manifest("com.acme/weather", "1.0.0"))
	other, err := w.CreateTeam(w.ctx, w.admin, NewTeam{Name: "Other", IDPGroups: []string{"other"}})
	w.must(err)
	foreign, err := w.Propose(w.ctx, w.admin, []Manifest{manifest("com.acme/foreign", "1.0.0")}, other.ID)
	w.must(err)
	retired, err := w.Propose(w.ctx, w.owner, []Manifest{manifest("com.acme/old", "1.0.0")}, w.team)
	w.must(err)
	_, err = w.SetState(w.ctx, w.owner, retired[0].ID, retired[0].Version, Retired, "")
	w.must(err)
	servers, versions, events := w.count(`select count(*) from servers`), w.count(`select count(*) from server_versions`), w.count(`select count(*) from audit_events`)

	hostile := manifest("com.acme/hostile", "1.0.0")
	hostile.Icons = []Icon{{Src: "javascript:alert(1)"}}
	fresh := manifest("com.acme/fresh", "1.0.0")
	many := make([]Manifest, MaxProposed+1)
	for i := range many {
		many[i] = manifest(fmt.Sprintf("com.acme/many-%d", i), "1")
	}
	for name, c := range map[string]struct {
		who    identity.Principal
		team   string
		chosen []Manifest
		kind   problem.Kind
		code   string
		field  string
	}{
		"nobody":                       {identity.Principal{}, w.team, []Manifest{fresh}, problem.Unauthenticated, "sign_in_required", ""},
		"a viewer":                     {w.viewer, w.team, []Manifest{fresh}, problem.Forbidden, "not_allowed", ""},
		"a gateway":                    {w.edge, w.team, []Manifest{fresh}, problem.Forbidden, "not_for_gateways", ""},
		"for another team":             {w.owner, other.ID, []Manifest{fresh}, problem.Forbidden, "not_your_team", "team"},
		"for no team":                  {w.owner, "", []Manifest{fresh}, problem.Invalid, "invalid_import", "team"},
		"for a team that is not there": {w.admin, "tem_none", []Manifest{fresh}, problem.Invalid, "invalid_import", "team"},
		"nothing":                      {w.owner, w.team, nil, problem.Invalid, "invalid_import", "servers"},
		"too much":                     {w.owner, w.team, many, problem.Invalid, "invalid_import", "servers"},
		"a hostile one among good":     {w.owner, w.team, []Manifest{fresh, hostile}, problem.Invalid, "invalid_import", "com.acme/hostile"},
		"two versions of one":          {w.owner, w.team, []Manifest{fresh, manifest("com.acme/FRESH", "2.0.0")}, problem.Invalid, "invalid_import", "com.acme/FRESH"},
		"a name spelt differently":     {w.owner, w.team, []Manifest{fresh, manifest("com.acme/Weather", "2.0.0")}, problem.Conflict, "import_conflict", "com.acme/Weather"},
		"a version of another team's":  {w.owner, w.team, []Manifest{fresh, manifest(foreign[0].Name, "2.0.0")}, problem.Conflict, "import_conflict", foreign[0].Name},
		"a version of a retired one":   {w.owner, w.team, []Manifest{fresh, manifest("com.acme/old", "2.0.0")}, problem.Conflict, "import_conflict", "com.acme/old"},
	} {
		_, err := w.Propose(w.ctx, c.who, c.chosen, c.team)
		if p := problem.From(err); p.Kind != c.kind || p.Code != c.code || c.field != "" && p.Fields[c.field] == "" {
			t.Errorf("%s: %v with %v, want %s for %s", name, err, p.Fields, c.code, c.field)
		}
	}
	if w.count(`select count(*) from servers`) != servers || w.count(`select count(*) from server_versions`) != versions || w.count(`select count(*) from audit_events`) != events {
		t.Error("something was changed")
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.propose(manifest("com.acme/weather", "1.0.0"))
	server, err := w.ServerNamed(w.ctx, w.viewer, "com.acme/weather")
	w.must(err)
	entries := []Entry{{Manifest: manifest("com.acme/weather", "1.0.0")}, {Manifest: manifest("COM.acme/weather", "2.0.0")}, {Manifest: manifest("com.acme/new", "1.0.0")}}
	w.must(w.Recognise(w.ctx, w.viewer, entries))
	for i, want := range []Entry{{Known: server.ID, KnownVersion: true}, {Known: server.ID}, {}} {
		if entries[i].Known != want.Known || entries[i].KnownVersion != want.KnownVersion || (i == 1) != (len(entries[i].Problems) == 1) {
			t.Errorf("%s %s: %+v", entries[i].Name, entries[i].Version, entries[i])
		}
	}
	wantProblem(t, w.Recognise(w.ctx, w.edge, entries), problem.Forbidden, "not_for_gateways")
}

func TestAServerPublishesTheVersionItServes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	says := func(info string) client.Offer {
		offer := tools(tool("list", "Lists."))
		offer.ServerInfo = json.RawMessage(info)
		return offer
	}
	server := w.register("orders", says(`{"name":"orders","version":"2.4.1"}`))
	for _, info := range []string{`{"version":"2.4.1"}`, `{"version":"latest"}`, `{"version":"1 | 2"}`, `{"version":""}`, `{}`, `{"version":"2.5.0\u202e"}`, `{"version":7}`, `{"version":"2.5.0"}`} {
		_, err := w.RequestDiscovery(w.ctx, w.owner, server.ID)
		w.must(err)
		w.must(w.Finish(w.ctx, w.edge, w.leaseOne().ID, says(info)))
	}
	var got []string
	w.must(w.db.Runtime.QueryRow(w.ctx, `select array_agg(version order by published_at) from server_versions where server_id = $1`, server.ID).Scan(&got))
	if diff := cmp.Diff([]string{FirstVersion, "2.4.1", "2.5.0"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, _, err := w.Register(w.ctx, w.owner, Registration{
		Name: "com.acme/b", TeamID: w.team, Version: "^1", Location: Location{Transport: StreamableHTTP, URL: "https://b.example/mcp"},
	})
	if p := wantProblem(t, err, problem.Invalid, "invalid_server"); p.Fields["version"] == "" {
		t.Errorf("%v", p.Fields)
	}
}
