package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/seal"
	"countersign/registry"
	"countersign/server"
)

// controlled is a control plane with one team, and an automation client of that team.
type controlled struct {
	url, clientID, secretFile string
	db                        *pgtest.DB
	authority                 *auth.Authority
}

// as is the same control plane, for an automation client with these roles.
func (c controlled) as(t *testing.T, client auth.NewClient) controlled {
	t.Helper()
	issued, err := c.authority.CreateClient(t.Context(), identity.Principal{Kind: identity.System, Name: "test"}, client)
	if err != nil {
		t.Fatal(err)
	}
	c.clientID, c.secretFile = issued.ID, filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(c.secretFile, []byte(issued.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func startControlled(t *testing.T) controlled {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	listener := freePort(t)
	c := controlled{url: "http://" + listener.Addr().String(), db: pgtest.New(t)}
	key, err := seal.LoadOrCreate(filepath.Join(t.TempDir(), "key"))
	must(err)
	idp := devidptest.Start(t, devidp.Config{Clients: []devidp.Client{{ID: "console", Name: "Countersign", RedirectURIs: []string{c.url + "/auth/callback"}}}})
	srv, err := server.New(t.Context(), server.Config{
		DatabaseURL: c.db.RuntimeDSN, PublicURL: c.url, Key: key, OIDCIssuer: idp.Issuer, OIDCClientID: "console", Relaxed: true,
		PublicRegistry: strings.Repeat("secret-", 6),
	})
	must(err)
	must(srv.EnsureTeam(t.Context(), "Commerce", []string{"commerce"}))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		srv.Close()
	})
	log := slog.New(slog.DiscardHandler)
	hub := postgres.NewHub(c.db.Runtime, log)
	authority, err := auth.New(t.Context(), c.db.Runtime, hub, key, auth.Config{Issuer: idp.Issuer, ClientID: "console", PublicURL: c.url}, log)
	must(err)
	system := identity.Principal{Kind: identity.System, Name: "test"}
	teams, err := registry.New(c.db.Runtime, hub, log).Teams(t.Context(), system)
	must(err)
	c.authority = authority
	return c.as(t, auth.NewClient{Name: "pipeline", Kind: auth.AutomationClient, TeamID: teams[0].ID})
}

// flags are those of an automation command.
func (c controlled) flags() []string {
	return []string{"--url", c.url, "--client-id", c.clientID, "--client-secret-file", c.secretFile}
}

const (
	weatherServer = `{"name":"com.acme/weather","description":"Forecasts","version":"1.2.0","remotes":[{"type":"streamable-http","url":"https://weather.example/mcp"}]}`
	importListing = `{"servers":[
		{"server":{"name":"com.acme/weather","description":"Old forecasts","version":"1.0.0"},"_meta":{"io.modelcontextprotocol.registry/official":{"status":"active","isLatest":false}}},
		{"server":` + weatherServer + `,"_meta":{"io.modelcontextprotocol.registry/official":{"status":"active","isLatest":true}}},
		{"server":{"name":"com.acme/gone","description":"Gone","version":"1.0.0"},"_meta":{"io.modelcontextprotocol.registry/official":{"status":"deleted","isLatest":true}}},
		{"server":{"name":"com.acme/evil","description":"\u001b[2Jhidden","version":"1.0.0"}}
	],"metadata":{"count":4,"nextCursor":"abc/d"}}`
)

func TestImportCommand(t *testing.T) {
	t.Parallel()
	c := startControlled(t)
	file := filepath.Join(t.TempDir(), "listing.json")
	if err := os.WriteFile(file, []byte(importListing), 0o600); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/server.json":
			_, _ = w.Write([]byte(weatherServer))
		case "/away":
			http.Redirect(w, r, "http://registry.example/server.json", http.StatusFound)
		case "/large":
			_, _ = w.Write(make([]byte, registry.MaxListingBytes+1))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(site.Close)
	servers := func() (n int) {
		t.Helper()
		if err := c.db.Owner.QueryRow(t.Context(), `select count(*) from servers`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, step := range []struct {
		name    string
		args    []string
		code    int
		says    []string
		servers int
	}{
		{"shows and does nothing", []string{file, "--team", "Commerce"}, exitDone, []string{
			"not chosen  com.acme/weather 1.0.0  Old forecasts", "proposed    com.acme/weather 1.2.0  Forecasts", "not chosen  com.acme/gone 1.0.0",
			"refused     com.acme/evil 1.0.0", "description holds U+001B, the start of a terminal escape.",
			"The next one is at cursor=abc%2Fd", "Nothing was imported. Say --yes to propose 1 for the team Commerce.",
		}, 0},
		{"a team that is not there", []string{file, "--team", "Nobody", "--yes"}, exitError, []string{"team: There is no such team."}, 0},
		{"an entry that is not there", []string{file, "--team", "Commerce", "--select", "com.acme/none", "--yes"}, exitUsage, []string{"there is no such entry"}, 0},
		{"an entry that is refused", []string{file, "--team", "Commerce", "--select", "com.acme/evil", "--yes"}, exitError, []string{"terminal escape"}, 0},
		{"an older version", []string{file, "--team", "Commerce", "--select", "com.acme/weather@1.0.0", "--yes"}, exitDone, []string{"proposed    com.acme/weather 1.0.0  " + c.url + "/servers/srv_"}, 1},
		{"and then the newest, from a site", []string{site.URL + "/server.json", "--team", "Commerce", "--yes"}, exitDone, []string{"updated     com.acme/weather 1.2.0"}, 1},
		{"the same again", []string{file, "--team", "Commerce", "--yes"}, exitDone, []string{"unchanged   com.acme/weather 1.2.0", "There is nothing to import."}, 1},
		{"a deleted one that is asked for", []string{file, "--team", "Commerce", "--select", "com.acme/gone", "--yes"}, exitDone, []string{"proposed    com.acme/gone 1.0.0"}, 2},
		{"the listing of a control plane", []string{c.url + "/registry/" + strings.Repeat("secret-", 6) + "/v0.1/servers", "--team", "Commerce"}, exitDone, []string{"There is nothing to import."}, 2},

		{"a file that is not there", []string{file + ".none", "--team", "Commerce"}, exitError, []string{"no such file"}, 2},
		{"a page that is not there", []string{site.URL + "/none", "--team", "Commerce"}, exitError, []string{"404"}, 2},
		{"an address that anybody can change", []string{"http://registry.example/server.json", "--team", "Commerce"}, exitUsage, []string{"https"}, 2},
		{"a redirect to such an address", []string{site.URL + "/away", "--team", "Commerce"}, exitUsage, []string{"https"}, 2},
		{"a listing without an end", []string{site.URL + "/large", "--team", "Commerce"}, exitError, []string{"larger than 5 MiB"}, 2},
	} {
		code, out := run(t, append(append([]string{"import"}, step.args...), c.flags()...)...)
		if code != step.code {
			t.Errorf("%s: exit %d, want %d\n%s", step.name, code, step.code, out)
		}
		for _, words := range step.says {
			if !strings.Contains(out, words) {
				t.Errorf("%s: does not say %q:\n%s", step.name, words, out)
			}
		}
		if strings.ContainsRune(out, 0x1b) {
			t.Errorf("%s: an escape reaches the terminal: %q", step.name, out)
		}
		if n := servers(); n != step.servers {
			t.Errorf("%s: %d servers, want %d", step.name, n, step.servers)
		}
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("csk_wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"a wrong secret":             {"--url", c.url, "--client-id", c.clientID, "--client-secret-file", wrong},
		"an address without secrecy": {"--url", "http://countersign.example", "--client-id", c.clientID, "--client-secret-file", c.secretFile},
	} {
		code, out := run(t, append([]string{"import", file, "--team", "Commerce"}, flags...)...)
		if code != exitDenied && code != exitUsage || strings.Contains(out, "csk_") {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
}
