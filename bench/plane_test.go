package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/registry"
	"countersign/server"
)

// plane is a control plane: a replica in a process of its own, and a second one here that serves nobody, by which
// gateways are enrolled.
type plane struct {
	*child
	db    *pgtest.DB
	hub   *postgres.Hub
	admin *server.Server
}

func startPlane(b *testing.B) *plane {
	b.Helper()
	p := &plane{db: pgtest.New(b)}
	url := "http://" + freeAddress(b)
	idp := devidptest.Start(b, devidp.Config{Clients: []devidp.Client{{ID: "console", Name: "Countersign", RedirectURIs: []string{url + "/auth/callback"}}}})
	env := map[string]string{
		"BENCH_KEY": filepath.Join(b.TempDir(), "key"), "BENCH_DATABASE": p.db.RuntimeDSN, "BENCH_URL": url, "BENCH_ISSUER": idp.Issuer,
	}
	cfg, err := configuration(func(name string) string { return env[name] })
	must(b, err)
	p.admin, err = server.New(b.Context(), cfg)
	must(b, err)
	b.Cleanup(p.admin.Close)
	p.hub = postgres.NewHub(p.db.Runtime, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.hub.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done })
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	p.child = startChild(b, "replica", all...)
	return p
}

// freeAddress is one of loopback that nobody listens on.
func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	must(b, err)
	defer l.Close()
	return l.Addr().String()
}

// credential is that of a gateway.
type credential struct{ id, secret string }

func (p *plane) enrol(b *testing.B, name string) credential {
	b.Helper()
	id, secret, err := p.admin.EnrolLocalGateway(b.Context(), name, "http://127.0.0.1:1")
	must(b, err)
	return credential{id, secret}
}

// token waits until the replica knows the credential, and trades it for a token.
func (p *plane) token(b *testing.B, of credential) string {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, p.url+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
		must(b, err)
		req.SetBasicAuth(of.id, of.secret)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultClient.Do(req)
		must(b, err)
		var reply struct {
			Token string `json:"access_token"`
		}
		err = json.NewDecoder(res.Body).Decode(&reply)
		_ = res.Body.Close() // it was read
		if err == nil && reply.Token != "" {
			return reply.Token
		}
		if time.Now().After(deadline) {
			b.Fatalf("no token: %s", res.Status)
		}
	}
}

// change commits a grant, as a person in the console would, and says the generation that has it. Whether replicas are
// woken is for the caller.
func (p *plane) change(ctx context.Context, b *testing.B) (generation int64) {
	b.Helper()
	must(b, pgx.BeginFunc(ctx, p.db.Runtime, func(tx pgx.Tx) (err error) {
		_, err = tx.Exec(ctx, `
			insert into grants (name, subject, resource, created_by)
			values ('bench', '{"everyone": true}', '{"servers": ["*"]}', 'bench')`)
		if err != nil {
			return err
		}
		generation, err = registry.BumpTx(ctx, tx)
		return err
	}))
	return generation
}

// fill gives the registry a server with one tool, so that a grant reaches something.
func (p *plane) fill(b *testing.B) {
	b.Helper()
	_, err := p.db.Owner.Exec(b.Context(), `
		with m as (insert into teams (name) values ('Bench') returning id),
		s as (insert into servers (id, name, title, team_id, state, created_by)
		      select 'srv_1', 'com.acme/orders', 'Orders', id, 'active', 'bench' from m returning id),
		e as (insert into endpoints (id, server_id, transport, url, digest)
		      select 'end_1', id, 'streamable_http', 'https://orders.acme.example/mcp', sha256('e') from s returning id),
		t as (insert into tools (id, server_id, kind, name, risk, observed_digest, observed_endpoint, observed_at)
		      select 'tol_1', s.id, 'tool', 'list', 'read_only', sha256('d'), e.id, clock_timestamp() from s, e returning id)
		insert into definitions (id, tool_id, number, digest, raw, proposed_risk, state)
		select 'def_1', id, 1, sha256('d'), '{"name":"list","inputSchema":{"type":"object"}}', 'read_only', 'approved' from t`)
	must(b, err)
	_, err = p.db.Owner.Exec(b.Context(), `update tools set pinned_id = 'def_1'`)
	must(b, err)
}

// scratch is a folder in memory, where there is one: what is measured is not the disk of this machine.
func scratch(b *testing.B, i int) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", fmt.Sprint("gateway", i, "-")) //nolint:usetesting // it is on a disk
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
