package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/gateway"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/egress"
	"countersign/internal/orders"
	"countersign/internal/postgres"
	"countersign/internal/seal"
	"countersign/migrations"
	"countersign/server"
)

type upCmd struct {
	Data           string `default:"./data" type:"path" env:"COUNTERSIGN_DATA" help:"Folder for the database, keys and gateway state; it survives restarts."`
	Listen         string `env:"COUNTERSIGN_LISTEN" default:"127.0.0.1:8080" help:"Console and control plane; loopback only."`
	GatewayListen  string `name:"gateway-listen" env:"COUNTERSIGN_GATEWAY_LISTEN" default:"127.0.0.1:8081" help:"Gateway; loopback only."`
	IDPListen      string `name:"idp-listen" env:"COUNTERSIGN_IDP_LISTEN" default:"127.0.0.1:8082" help:"Demo identity provider; loopback only."`
	SampleListen   string `name:"sample-listen" env:"COUNTERSIGN_SAMPLE_LISTEN" default:"127.0.0.1:8083" help:"Sample MCP server; loopback only."`
	PublicRegistry string `name:"public-registry" env:"COUNTERSIGN_PUBLIC_REGISTRY" help:"Let anybody read the MCP registry API at /registry/ and this: 32 or more letters, digits, - and _ that nobody can guess."`
	Commands       string `name:"commands" env:"COUNTERSIGN_COMMANDS" type:"existingfile" help:"YAML file with the stdio servers that the gateway may start."`

	Notify notifyFlags `embed:""`
}

// installation is a running up: everything on loopback, everything stopped by the end of one context.
type installation struct {
	cmd       upCmd
	c         *console
	listeners listeners
	database  *postgres.Server
	control   *server.Server
}

type listeners struct{ console, gateway, idp, sample net.Listener }

// Run starts everything, tells the way in, and stops everything in reverse when ctx ends.
func (cmd upCmd) Run(ctx context.Context, c *console) error {
	in := &installation{cmd: cmd, c: c}
	if err := os.MkdirAll(cmd.Data, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user when we are root and must get through
		return fmt.Errorf("making the data folder: %w", err)
	}
	if err := in.startDatabase(ctx); err != nil {
		return err
	}
	defer in.stopDatabase(context.WithoutCancel(ctx))
	if err := in.listen(ctx); err != nil {
		return err
	}
	defer in.listeners.close()
	return in.run(ctx)
}

func (in *installation) startDatabase(ctx context.Context) error {
	fmt.Fprintln(in.c.out, "Starting PostgreSQL …")
	database, err := postgres.Start(ctx, postgres.Config{DataDir: filepath.Join(in.cmd.Data, "postgres"), Roots: binaryRoots(), Log: in.c.log})
	if inUse := (*postgres.InUseError)(nil); errors.As(err, &inUse) {
		return fmt.Errorf("already running on %s (PostgreSQL's process is %d). Use that one, stop it, or choose another folder with --data", in.cmd.Data, inUse.PID)
	}
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	in.database = database
	if err := postgres.Migrate(ctx, database.DSN(postgres.OwnerRole), migrations.FS, in.c.log); err != nil {
		in.stopDatabase(context.WithoutCancel(ctx))
		return err
	}
	return nil
}

// binaryRoots are where PostgreSQL may lie that make has installed for a user without root.
func binaryRoots() []string {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	return []string{dir}
}

func (in *installation) stopDatabase(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := in.database.Stop(ctx); err != nil {
		in.c.log.ErrorContext(ctx, "database did not stop in order", slog.Any("error", err))
	}
}

func (in *installation) listen(ctx context.Context) error {
	for _, l := range []struct {
		flag, address string
		into          *net.Listener
	}{
		{"--listen", in.cmd.Listen, &in.listeners.console},
		{"--gateway-listen", in.cmd.GatewayListen, &in.listeners.gateway},
		{"--idp-listen", in.cmd.IDPListen, &in.listeners.idp},
		{"--sample-listen", in.cmd.SampleListen, &in.listeners.sample},
	} {
		listener, err := listenLoopback(ctx, l.address)
		if err != nil {
			in.listeners.close()
			return fmt.Errorf("%s %s: %w", l.flag, l.address, err)
		}
		*l.into = listener
	}
	return nil
}

func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("countersign up has a demo identity provider and listens on loopback only; use countersign serve for anything else")
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

func (l listeners) close() {
	for _, listener := range []net.Listener{l.console, l.gateway, l.idp, l.sample} {
		if listener != nil {
			_ = listener.Close() // already closed by its server in an orderly end
		}
	}
}

func origin(l net.Listener) string { return "http://" + l.Addr().String() }

// run builds the parts bottom up and serves until ctx ends or a part fails.
func (in *installation) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	err := in.startParts(ctx, g)
	if err != nil {
		cancel() // what did start stops
	}
	err = errors.Join(err, g.Wait())
	if in.control != nil {
		in.control.Close()
	}
	fmt.Fprintln(in.c.out, "Stopped. Everything is kept in", in.cmd.Data)
	return err
}

func (in *installation) startParts(ctx context.Context, g *errgroup.Group) error {
	if err := in.startIDP(ctx, g); err != nil {
		return err
	}
	sample := http.NewServeMux()
	shop := orders.New()
	shop.SessionIdle = 12 * time.Hour
	sample.Handle("/mcp", shop.Handler())
	serveHTTP(ctx, g, in.listeners.sample, sample)
	if err := in.startControlPlane(ctx, g); err != nil {
		return err
	}
	if err := in.startGateway(ctx, g); err != nil {
		return err
	}
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-in.database.Done():
			return errors.New("PostgreSQL ended by itself; see its log in the data folder. Start again: it recovers")
		}
	})
	if in.awaitGateway(ctx) {
		in.tell()
	} else if ctx.Err() == nil { // stopped meanwhile is no failure
		return errors.New("the gateway got no policy; see the log above")
	}
	return nil
}

// startIDP starts the demo identity provider. The demo agent's key is made once and kept for call and tools.
func (in *installation) startIDP(ctx context.Context, g *errgroup.Group) error {
	agentKey, err := devidp.LoadOrCreateKey(filepath.Join(in.cmd.Data, "idp", "agent.key"))
	if err != nil {
		return err
	}
	console := origin(in.listeners.console)
	provider, err := devidp.New(devidp.Config{
		Issuer: origin(in.listeners.idp), People: devidp.DemoPeople(), KeyFile: filepath.Join(in.cmd.Data, "idp", "signing.key"),
		Clients: []devidp.Client{
			{ID: consoleClient, Name: "Countersign", RedirectURIs: []string{console + "/auth/callback"}, PostLogoutRedirectURIs: []string{console + "/signin?signed_out=1"}},
			{ID: devidp.DemoAgent, Name: "Demo agent", AssertionKey: agentKey.Public()},
		},
		Log: in.c.log,
	})
	if err != nil {
		return fmt.Errorf("starting the demo identity provider: %w", err)
	}
	serveHTTP(ctx, g, in.listeners.idp, provider.Handler())
	return writeSecretJSON(connectionPath(in.cmd.Data), connection{Gateway: origin(in.listeners.gateway), Issuer: origin(in.listeners.idp), Key: agentKey})
}

const consoleClient = "countersign-console"

func (in *installation) startControlPlane(ctx context.Context, g *errgroup.Group) error {
	key, err := seal.LoadOrCreate(filepath.Join(in.cmd.Data, "seal.key"))
	if err != nil {
		return fmt.Errorf("preparing the key file: %w", err)
	}
	cfg := server.Config{
		DatabaseURL: in.database.DSN(postgres.RuntimeRole), PublicURL: origin(in.listeners.console), Key: key,
		OIDCIssuer: origin(in.listeners.idp), OIDCClientID: consoleClient,
		RoleGroups: demoRoles, MaxStaleSeconds: 300, PublicRegistry: in.cmd.PublicRegistry,
		Sample: &server.Sample{
			Name: "com.example/orders", Title: "Sample orders", URL: origin(in.listeners.sample) + "/mcp",
			Description: "The sample MCP server that runs beside this console: lists, changes and deletes invented orders.",
			Example:     invocation() + " call com.example/orders list_orders" + in.dataFlag(),
		},
		Log: in.c.log,
	}
	if err := in.cmd.Notify.into(&cfg, egress.Loopback.Allow...); err != nil {
		return err
	}
	in.control, err = server.New(ctx, cfg)
	if err != nil {
		return err
	}
	g.Go(func() error { return in.control.Run(ctx, in.listeners.console) })
	return in.control.EnsureTeam(ctx, "Commerce", []string{"commerce"})
}

// startGateway enrols the gateway the first time, and keeps its credential in the data folder.
func (in *installation) startGateway(ctx context.Context, g *errgroup.Group) error {
	dir := filepath.Join(in.cmd.Data, "gateway")
	resource := origin(in.listeners.gateway)
	known, err := in.enrolled(ctx, filepath.Join(dir, "enrolled.json"), resource)
	if err != nil {
		return err
	}
	config := gateway.Config{
		ControlPlane: origin(in.listeners.console), ClientID: known.ClientID, ClientSecretFile: known.SecretFile,
		Listen: in.cmd.GatewayListen, Resource: resource, StateDir: filepath.Join(dir, known.ClientID), Instance: "up",
		Issuers:               []gateway.Issuer{{Issuer: origin(in.listeners.idp), Algorithms: []string{"EdDSA"}}},
		AllowPrivateUpstreams: true,
	}
	if in.cmd.Commands != "" {
		if config.Commands, err = loadCommands(in.cmd.Commands); err != nil {
			return err
		}
	}
	gw, err := newGateway(ctx, config, in.c)
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	serveHTTP(ctx, g, in.listeners.gateway, gw.Handler())
	g.Go(func() error { return gw.Run(ctx) })
	return nil
}

// enrolment is what the gateway beside us is known by. Its secret is in a file of its own.
type enrolment struct {
	ClientID   string `json:"client_id"`
	SecretFile string `json:"secret_file"`
	Resource   string `json:"resource"`
}

// enrolled gives the enrolment of an earlier start, or enrols: the first time, and when the address has changed.
func (in *installation) enrolled(ctx context.Context, path, resource string) (enrolment, error) {
	var e enrolment
	err := readJSON(path, &e)
	if err == nil && e.Resource == resource {
		return e, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return e, err
	}
	id, secret, err := in.control.EnrolLocalGateway(ctx, "local", resource)
	if err != nil {
		return e, fmt.Errorf("enrolling the local gateway: %w", err)
	}
	e = enrolment{ClientID: id, Resource: resource, SecretFile: filepath.Join(filepath.Dir(path), "secret")}
	if err := writeSecret(e.SecretFile, []byte(secret)); err != nil {
		return e, err
	}
	return e, writeSecretJSON(path, e)
}

// awaitGateway waits until the gateway enforces a policy, so that what we print next works.
func (in *installation) awaitGateway(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin(in.listeners.gateway)+"/readyz", nil)
		if err != nil {
			return false
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close() // nothing is read from it
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// serveHTTP serves until ctx ends, then lets requests finish for a moment.
func serveHTTP(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			return srv.Close() // streams that did not end by themselves
		}
		return nil
	})
}

// tell prints the way in. The commands are those a stranger types next.
func (in *installation) tell() {
	say := func(format string, args ...any) { fmt.Fprintf(in.c.out, format+"\n", args...) }
	say("\nCountersign is ready: %s\n", origin(in.listeners.console))
	say("Sign in as one of these people (the demo provider asks for no password):")
	writePeople(in.c.out)
	say("\nThen, in the console: add the sample server, pin its tools, and grant them to Tomas.")
	say("From another terminal, as Tomas's agent:\n")
	self, data := invocation(), in.dataFlag()
	say("  %s tools com.example/orders%s", self, data)
	say("  %s call com.example/orders list_orders%s", self, data)
	say("  %s call com.example/orders delete_orders --args '{\"ids\":[\"o-1001\"]}'%s", self, data)
	say("\nThe last one is held until Priya or Jonas approves it. Gateway: %s   Stop: ^C", origin(in.listeners.gateway))
}

func writePeople(w io.Writer) {
	for _, p := range devidp.DemoPeople() {
		fmt.Fprintf(w, "  %-12s %s\n", p.Name, p.Purpose)
	}
}

// invocation is this program as it was typed, for commands to type next.
func invocation() string {
	if strings.Contains(os.Args[0], "/") {
		return os.Args[0]
	}
	return "countersign"
}

// dataFlag is what call and tools need to be told where our data is; nothing when it is where they look.
func (in *installation) dataFlag() string {
	if in.cmd.Data == defaultData() {
		return ""
	}
	return " --data " + in.cmd.Data
}

func defaultData() string {
	path, err := filepath.Abs("data")
	if err != nil {
		return "./data"
	}
	return path
}

var demoRoles = map[identity.Role][]string{
	identity.Admin:    {"platform-admins"},
	identity.Approver: {"approvers"},
	identity.Auditor:  {"auditors"},
	identity.Viewer:   {"developers", "commerce"},
}
