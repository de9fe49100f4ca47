package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/orders"
	"countersign/internal/pgtest"
)

// fleet is a production-like installation: a database, two replicas behind a balancer that takes turns, an identity
// provider, a sample server, and a gateway with a configuration of its own.
type fleet struct {
	*installed
	database *pgtest.Server
	idp      *devidptest.Server
	replicas []*replica
	orders   *orders.Server
	sample   string
	commands string // of each gateway's configuration: the stdio servers that it may start
}

type replica struct {
	*program
	address string
	up      atomic.Bool
}

// startFleet runs everything but the gateway, which somebody has to enrol first.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{database: pgtest.NewServer(t, true), orders: orders.New()}
	balancer := httptest.NewUnstartedServer(nil)
	balancer.Config.Handler = f.balance()
	balancer.Start()
	t.Cleanup(balancer.Close)
	f.idp = devidptest.Start(t, devidp.Config{Clients: []devidp.Client{{
		ID: "console", Name: "Countersign", RedirectURIs: []string{balancer.URL + "/auth/callback"},
		PostLogoutRedirectURIs: []string{balancer.URL + "/signin?signed_out=1"},
	}}})
	sample := http.NewServeMux()
	sample.Handle("/mcp", f.orders.Handler())
	upstream := httptest.NewServer(sample)
	t.Cleanup(upstream.Close)
	f.sample = upstream.URL + "/mcp"

	if code, out := run(t, "migrate", "--database-url", f.database.OwnerDSN); code != exitDone {
		t.Fatalf("migrate: exit %d\n%s", code, out)
	}
	key := filepath.Join(t.TempDir(), "key")
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.addReplica(t, balancer.URL, key)
	}
	f.installed = &installed{data: t.TempDir(), console: balancer.URL}
	return f
}

func (f *fleet) addReplica(t *testing.T, publicURL, key string) {
	t.Helper()
	p := start(t, "serve", "--database-url", f.database.RuntimeDSN, "--listen", "127.0.0.1:0",
		"--public-url", publicURL, "--key-file", key, "--oidc-issuer", f.idp.Issuer, "--oidc-client-id", "console",
		"--role", "admin=platform-admins;approver=approvers;auditor=auditors;viewer=developers,commerce")
	r := &replica{program: p, address: "http://" + p.says(t, `on (127\.0\.0\.1:\d+)`)}
	r.up.Store(true)
	f.replicas = append(f.replicas, r)
}

// balance sends each request to the next replica that is up.
func (f *fleet) balance() http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			for range len(f.replicas) {
				next := f.replicas[turn.Add(1)%uint64(len(f.replicas))]
				if next.up.Load() {
					target, _ := url.Parse(next.address)
					r.SetURL(target)
					r.Out.Host = r.In.Host
					return
				}
			}
		},
	}
}

// startGateway runs a gateway with the credential that the console has shown.
func (f *fleet) startGateway(t *testing.T, clientID, secret string, listener net.Listener) {
	t.Helper()
	address := listener.Addr().String()
	dir := t.TempDir()
	secretFile := filepath.Join(dir, "secret")
	if err := os.WriteFile(secretFile, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`control_plane: %s
client_id: %s
client_secret_file: %s
listen: %s
resource: http://%s
state_dir: %s
allow_private_upstreams: true
issuers:
  - issuer: %s
    algorithms: [EdDSA]
%s`, f.console, clientID, secretFile, address, address, filepath.Join(dir, "state"), f.idp.Issuer, f.commands)
	path := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = listener.Close() // its port is free for the gateway now
	f.program = start(t, "gateway", "--config", path)
	f.says(t, `Gateway (http://\S+)`)
	f.gateway = "http://" + address
	if err := writeSecretJSON(connectionPath(f.data), connection{Gateway: f.gateway, Issuer: f.idp.Issuer, Key: f.idp.AgentKey}); err != nil {
		t.Fatal(err)
	}
}

// freePort reserves a port on loopback until the listener is closed.
func freePort(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
