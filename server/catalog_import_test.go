package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/registry"
)

const weather = `{"name":"com.acme/weather","description":"Forecasts","version":"1.2.0","remotes":[{"type":"streamable-http","url":"https://weather.example/mcp"}]}`

func imports(team, servers string, preview bool) string {
	return fmt.Sprintf(`{"team":%q,"servers":%s,"preview":%t}`, team, servers, preview)
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pipeline := w.automation(w.team.ID)
	listing := `{"servers":[{"server":` + weather + `},{"server":{"name":"com.acme/bad","description":"x","version":"1","icons":[{"src":"javascript:alert(1)"}]}}]}`

	before := w.traces()
	preview := into[importAnswer](t, pipeline.call(http.MethodPost, "/v1/imports", imports("", listing, true)).want(t, http.StatusOK))
	want := importAnswer{Servers: []importedServer{
		{Name: "com.acme/weather", Version: "1.2.0", Outcome: "proposed"},
		{Name: "com.acme/bad", Version: "1", Outcome: "refused", Problems: []string{"icons[0].src is no https address."}},
	}}
	if diff := cmp.Diff(want, preview); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p := pipeline.call(http.MethodPost, "/v1/imports", imports("Commerce", listing, false)).wantProblem(t, http.StatusBadRequest, "invalid_import")
	if p.Fields["com.acme/bad"] != "icons[0].src is no https address." {
		t.Errorf("%v", p.Fields)
	}
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	made := into[importAnswer](t, pipeline.call(http.MethodPost, "/v1/imports", imports("Commerce", weather, false)).want(t, http.StatusCreated))
	again := into[importAnswer](t, pipeline.call(http.MethodPost, "/v1/imports", imports(w.team.ID, "["+weather+"]", false)).want(t, http.StatusOK))
	if made.Servers[0].Outcome != "proposed" || again.Servers[0].Outcome != "unchanged" || made.Servers[0].ID != again.Servers[0].ID {
		t.Errorf("%+v, then %+v", made, again)
	}
	server, err := w.registry.Server(t.Context(), installer, made.Servers[0].ID)
	must(t, err)
	if server.State != registry.Proposed || server.TeamID != w.team.ID || server.Endpoint.URL != "https://weather.example/mcp" {
		t.Errorf("%+v", server)
	}
	preview = into[importAnswer](t, pipeline.call(http.MethodPost, "/v1/imports", imports("", weather, true)).want(t, http.StatusOK))
	if preview.Servers[0].Outcome != "unchanged" {
		t.Errorf("%+v", preview)
	}
	for body, status := range map[string]int{
		imports("Nobody", weather, false):  http.StatusBadRequest,
		imports("Commerce", "null", false): http.StatusBadRequest,
		imports("Commerce", "[]", false):   http.StatusBadRequest,
		`{"team":"Commerce","servers":{"name":"com.acme/x","name":"com.acme/y"},"preview":false}`: http.StatusBadRequest,
		`{"team":"Commerce","other":1}`: http.StatusBadRequest,
	} {
		if a := pipeline.call(http.MethodPost, "/v1/imports", body); a.status != status {
			t.Errorf("%s: %s", body, a.shown())
		}
	}
	w.automation("", identity.Viewer).call(http.MethodPost, "/v1/imports", imports("Commerce", weather, false)).want(t, http.StatusForbidden)
}

// TestImportOfOurOwnListing brings what one control plane publishes into another.
func TestImportOfOurOwnListing(t *testing.T) {
	t.Parallel()
	from, to := newWorld(t, withPublicRegistry), newWorld(t)
	from.enrol("edge", "*")
	from.publish("com.acme/orders", registry.Active, dressed, "1.0.0", "2.0.0")
	from.publish("com.acme/paused", registry.Suspended, "{}", "1.0.0")
	from.exec(`update servers set description = repeat('long ' || U&'\00e9', 300), title = ''`)
	body := from.anonymous().get(secretBase+"/v0.1/servers?version=latest").want(t, http.StatusOK).body
	entries, err := registry.ReadManifests([]byte(body))
	must(t, err)
	for _, e := range entries {
		if len(e.Problems) > 0 || !e.Latest {
			t.Errorf("%+v", e)
		}
	}
	made := into[importAnswer](t, to.automation(to.team.ID).call(http.MethodPost, "/v1/imports", imports("Commerce", body, false)).want(t, http.StatusCreated))
	if len(made.Servers) != 2 {
		t.Errorf("%+v", made)
	}
	var kept registry.Manifest
	must(t, json.Unmarshal(read[[]byte](to, `select manifest from server_versions where version = '2.0.0'`), &kept))
	if kept.Name != "com.acme/orders" || kept.WebsiteURL != "https://acme.example/orders" || kept.Remotes[0].URL != "http://127.0.0.1:1/mcp/com.acme/orders" {
		t.Errorf("%+v", kept)
	}
}
