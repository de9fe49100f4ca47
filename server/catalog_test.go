package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	official "github.com/modelcontextprotocol/registry/pkg/api/v0"
	"github.com/modelcontextprotocol/registry/pkg/model"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/registry"
)

const (
	secretBase = "/registry/s3cret-s3cret-s3cret-s3cret-s3cret_1"
	upstream   = "https://upstream.internal.example:8443/deep/mcp"
)

func withPublicRegistry(c *Config) { c.PublicRegistry = strings.TrimPrefix(secretBase, "/registry/") }

// publish makes a server in a state, with an endpoint and versions, the last of which has a manifest.
func (w *world) publish(name string, state registry.State, manifest string, versions ...string) {
	w.t.Helper()
	id := read[string](w, `insert into servers (name, title, description, team_id, state, created_by) values ($1, 'A title', 'What it does', $2, $3, 'test') returning id`,
		name, w.team.ID, string(state))
	w.exec(`insert into endpoints (server_id, transport, url, digest) values ($1, 'streamable_http', $2, sha256('x'))`, id, upstream)
	tool := read[string](w, `insert into tools (server_id, kind, name) values ($1, 'tool', 'list') returning id`, id)
	w.exec(`insert into definitions (tool_id, number, digest, raw, proposed_risk, state, decided_at) values ($1, 1, sha256('y'), '{}', 'read_only', 'approved', now())`, tool)
	for i, version := range versions {
		text := "{}"
		if i == len(versions)-1 {
			text = manifest
		}
		w.exec(`insert into server_versions (server_id, version, manifest) values ($1, $2, $3)`, id, version, text)
	}
}

var serverJSONSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/modelcontextprotocol/registry").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the registry's module: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "internal", "validators", "schemas", "2025-12-11.json"))
	if err != nil {
		return nil, err
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("server.schema.json", schema); err != nil {
		return nil, err
	}
	return compiler.Compile("server.schema.json")
})

// wantRecord fails unless the record is one that the official types and the published schema know.
func wantRecord(t testing.TB, raw json.RawMessage) official.ServerResponse {
	t.Helper()
	var record official.ServerResponse
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&record); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if record.Meta.Official == nil || record.Server.Schema != model.CurrentSchemaURL {
		t.Fatalf("%s", raw)
	}
	var parts struct{ Server json.RawMessage }
	must(t, json.Unmarshal(raw, &parts))
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(parts.Server))
	must(t, err)
	schema, err := serverJSONSchema()
	must(t, err)
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: %v", parts.Server, err)
	}
	return record
}

// wantListing fails unless the answer is a list of such records.
func wantListing(t testing.TB, a answer) official.ServerListResponse {
	t.Helper()
	a.want(t, http.StatusOK)
	var list official.ServerListResponse
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		t.Fatalf("%v: %s", err, a.shown())
	}
	parts := into[struct{ Servers []json.RawMessage }](t, a)
	for _, raw := range parts.Servers {
		wantRecord(t, raw)
	}
	if parts.Servers == nil || list.Metadata.Count != len(list.Servers) {
		t.Fatalf("%s", a.shown())
	}
	return list
}

func names(list official.ServerListResponse) []string {
	out := []string{}
	for _, s := range list.Servers {
		out = append(out, fmt.Sprint(s.Server.Name, " ", s.Server.Version, " ", s.Meta.Official.Status, " ", s.Meta.Official.IsLatest))
	}
	return out
}

const dressed = `{"name":"com.acme/orders","description":"x","version":"2.0.0","websiteUrl":"https://acme.example/orders",
	"repository":{"url":"https://github.com/acme/orders","source":"github"},
	"icons":[{"src":"https://acme.example/o.png"},{"src":"https://UPSTREAM.internal.example/o.png"}],
	"remotes":[{"type":"streamable-http","url":"https://upstream.internal.example:8443/deep/mcp"}]}`

func TestCatalogue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPublicRegistry)
	w.enrol("edge", "com.acme/*")
	w.publish("com.acme/orders", registry.Active, dressed, "1.0.0", "2.0.0+build.7")
	w.publish("com.acme/paused", registry.Suspended, "{}", "1.0.0")
	w.publish("com.acme/old", registry.Retired, "{}", "1.0.0")
	w.publish("com.acme/new", registry.Proposed, "{}", "1.0.0")
	w.publish("org.other/far", registry.Active, "{}", "0.1.0")
	anyone := w.anonymous()
	for query, want := range map[string][]string{
		"": {
			"com.acme/orders 1.0.0 active false", "com.acme/orders 2.0.0+build.7 active true",
			"com.acme/paused 1.0.0 deprecated true", "org.other/far 0.1.0 active true",
		},
		"?version=latest&limit=2":                        {"com.acme/orders 2.0.0+build.7 active true", "com.acme/paused 1.0.0 deprecated true"},
		"?version=2.0.0%2Bbuild.7":                       {"com.acme/orders 2.0.0+build.7 active true"},
		"?version=7.7.7":                                 {},
		"?search=PAUS":                                   {"com.acme/paused 1.0.0 deprecated true"},
		"?search=acme%2Fo&version=latest":                {"com.acme/orders 2.0.0+build.7 active true"},
		"?include_deleted=true&search=old":               {"com.acme/old 1.0.0 deleted true"},
		"?include_deleted=false&search=old":              {},
		"?search=old&updated_since=2020-01-01T00:00:00Z": {"com.acme/old 1.0.0 deleted true"},
		"?updated_since=2999-01-01T00:00:00%2B02:00":     {},
		"?limit=1000&search=far&unknown=1":               {"org.other/far 0.1.0 active true"},
	} {
		if diff := cmp.Diff(want, names(wantListing(t, anyone.get(secretBase+"/v0.1/servers"+query)))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	versions := wantListing(t, anyone.get(secretBase+"/v0.1/servers/com.acme%2Forders/versions"))
	if got := names(versions); !slices.Equal(got, []string{"com.acme/orders 2.0.0+build.7 active true", "com.acme/orders 1.0.0 active false"}) {
		t.Errorf("%v", got)
	}
	for _, version := range []string{"latest", "2.0.0+build.7", "2.0.0%2Bbuild.7"} {
		a := anyone.get(secretBase+"/v0.1/servers/com.acme%2Forders/versions/"+version).want(t, http.StatusOK)
		record := wantRecord(t, json.RawMessage(a.body)).Server
		record.Schema = ""
		want := official.ServerJSON{
			Name: "com.acme/orders", Title: "A title", Description: "What it does", Version: "2.0.0+build.7", WebsiteURL: "https://acme.example/orders",
			Repository: &model.Repository{URL: "https://github.com/acme/orders", Source: "github"},
			Icons:      []model.Icon{{Src: "https://acme.example/o.png"}},
			Remotes:    []model.Transport{{Type: "streamable-http", URL: "http://127.0.0.1:1/mcp/com.acme/orders"}},
		}
		if diff := cmp.Diff(want, record); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
	}
	far := wantRecord(t, json.RawMessage(anyone.get(secretBase+"/v0.1/servers/org.other%2Ffar/versions/latest").body))
	if far.Server.Remotes != nil {
		t.Errorf("no gateway sees it, and it is at %v", far.Server.Remotes)
	}
	anyone.get(secretBase+"/v0.1/ping").want(t, http.StatusOK, `{"pong":true}`)
	anyone.get(secretBase+"/v0.1/health").want(t, http.StatusOK, `{"status":"ok"}`)
}

func TestCatalogueErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPublicRegistry)
	w.publish("com.acme/orders", registry.Active, "{}", "1.0.0")
	w.publish("com.acme/old", registry.Retired, "{}", "1.0.0")
	w.publish("com.acme/new", registry.Proposed, "{}", "1.0.0")
	anyone := w.anonymous()
	const notFound = `{"error":"Server not found"}`
	for path, want := range map[string]string{
		"/servers/com.acme%2Fnone/versions":                                 notFound,
		"/servers/com.acme%2Fnew/versions":                                  notFound,
		"/servers/com.acme%2Fold/versions":                                  notFound,
		"/servers/com.acme%2Fold/versions/latest":                           notFound,
		"/servers/com.acme%2Forders/versions/9":                             notFound,
		"/servers/com.acme%2ForderS/versions/1.0.0":                         notFound,
		"/servers/com.acme%252Forders/versions/latest":                      notFound,
		"/servers/x/versions/latest":                                        notFound,
		"/servers/%00/versions/%00":                                         "The request holds characters that are no text (NUL, or broken UTF-8). Nothing was changed.",
		"/servers/%FF%2F%FF/versions":                                       "The request holds characters that are no text (NUL, or broken UTF-8). Nothing was changed.",
		"/servers?limit=0":                                                  "limit: a number from 1 to 100.",
		"/servers?limit=-1":                                                 "limit: a number from 1 to 100.",
		"/servers?limit=ten":                                                "limit: a number from 1 to 100.",
		"/servers?cursor=ver_none":                                          "The cursor is none that was given out. Begin with the first page.",
		"/servers?cursor=" + strings.Repeat("a", 101):                       "cursor: it is none that was given out.",
		"/servers?updated_since=yesterday":                                  "updated_since: a time like 2026-01-31T12:00:00Z.",
		"/servers?updated_since=2026-01-01":                                 "updated_since: a time like 2026-01-31T12:00:00Z.",
		"/servers?include_deleted=maybe":                                    "include_deleted: true or false.",
		"/servers?include_deleted=false&updated_since=2026-01-01T00:00:00Z": "include_deleted: who asks what changed is also told what was deleted.",
		"/servers/com.acme%2Forders/versions?include_deleted=1":             "include_deleted: true or false.",
		"/servers/com.acme%2Forders/versions/latest?include_deleted=1":      "include_deleted: true or false.",
		"/servers?version=%5E1.0":                                           "version: latest, or a version like 1.0.2.",
		"/servers?search=" + strings.Repeat("%C3%A9", 201):                  "search: at most 200 characters.",
		"/servers?search=%00":                                               "The request holds characters that are no text (NUL, or broken UTF-8). Nothing was changed.",
		"/servers?search=%zz":                                               "The address is not well formed. Nothing was changed.",
		"/nothing":                                                          "There is nothing at this address.",
	} {
		a := anyone.get(secretBase + "/v0.1" + path)
		status := http.StatusBadRequest
		if want == notFound || path == "/nothing" {
			status = http.StatusNotFound
		}
		if want != notFound {
			text, err := json.Marshal(map[string]string{"error": want})
			must(t, err)
			want = string(text)
		}
		if a.status != status || strings.TrimSpace(a.body) != want || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %s\nwant %d %s", path, a.status, a.shown(), status, want)
		}
	}
	for _, path := range []string{"/servers/com.acme%2Fold/versions?include_deleted=true", "/servers/com.acme%2Fold/versions/latest?include_deleted=true"} {
		anyone.get(secretBase+"/v0.1"+path).want(t, http.StatusOK, `"status":"deleted"`)
	}
}

func TestCataloguePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPublicRegistry)
	w.exec(`insert into servers (name, team_id, state, created_by) select 'com.acme/s' || i, $1, 'active', 'test' from generate_series(1, 250) i`, w.team.ID)
	w.exec(`insert into server_versions (server_id, version) select id, '1.0.0' from servers`)
	anyone, seen, cursor := w.anonymous(), map[string]int{}, ""
	for round := 0; ; round++ {
		list := wantListing(t, anyone.get(secretBase+"/v0.1/servers?"+url.Values{"limit": {"37"}, "cursor": {cursor}}.Encode()))
		for _, s := range list.Servers {
			seen[s.Server.Name]++
		}
		if cursor = list.Metadata.NextCursor; cursor == "" {
			break
		}
		w.publish(fmt.Sprintf("com.acme/s%d-new", round*40+1), registry.Active, "{}", "1.0.0")
	}
	for i := range 250 {
		if n := seen[fmt.Sprintf("com.acme/s%d", i+1)]; n != 1 {
			t.Errorf("s%d was listed %d times", i+1, n)
		}
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was listed %d times", name, n)
		}
	}
}
