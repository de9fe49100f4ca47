package auth_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/internal/seal"
)

const (
	console   = "http://127.0.0.1:9"
	afterward = console + "/signin"
	gatewayAt = "http://127.0.0.1:9/gateway"
)

// clock can be moved by a test.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) Set(offset time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = offset
}

// bundle is one installation: database, identity provider and the authority under test.
type bundle struct {
	*auth.Authority
	db       *pgtest.DB
	idp      *devidptest.Server
	idpClock *clock
	clock    *clock
	key      *seal.Key
	config   auth.Config
	hub      *postgres.Hub
}

func setup(tb testing.TB, change ...func(*devidp.Config, *auth.Config)) *bundle {
	tb.Helper()
	b := &bundle{db: pgtest.New(tb), idpClock: &clock{}, clock: &clock{}}
	idp := devidp.Config{Now: b.idpClock.Now, Clients: []devidp.Client{{
		ID: "console", RedirectURIs: []string{console + auth.CallbackPath}, PostLogoutRedirectURIs: []string{afterward},
	}}}
	b.config = auth.Config{
		ClientID: "console", PublicURL: console, Now: b.clock.Now,
		RoleGroups: map[identity.Role][]string{
			identity.Admin: {"platform-admins"}, identity.Approver: {"approvers"}, identity.Auditor: {"auditors"}, identity.Viewer: {"*"},
		},
	}
	for _, c := range change {
		c(&idp, &b.config)
	}
	b.idp = devidptest.Start(tb, idp)
	if b.config.Issuer == "" {
		b.config.Issuer = b.idp.Issuer
	}
	key, err := seal.LoadOrCreate(filepath.Join(tb.TempDir(), "seal.key"))
	if err != nil {
		tb.Fatal(err)
	}
	b.key = key
	b.Authority, b.hub = b.replica(tb, b.db.Runtime)
	return b
}

// replica is one more process of the installation.
func (b *bundle) replica(tb testing.TB, pool *pgxpool.Pool) (*auth.Authority, *postgres.Hub) {
	tb.Helper()
	log := slog.New(slog.NewTextHandler(tb.Output(), nil))
	hub := postgres.NewHub(pool, log)
	a, err := auth.New(tb.Context(), pool, hub, b.key, b.config, log)
	if err != nil {
		tb.Fatal(err)
	}
	return a, hub
}

// run runs a replica's background work until the test ends.
func run(t *testing.T, a *auth.Authority, hub *postgres.Hub) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() { hub.Run(t.Context()) })
	all.Go(func() {
		if err := a.Run(t.Context()); err != nil {
			t.Errorf("running: %v", err)
		}
	})
	t.Cleanup(all.Wait) // the context ends before it
}

// arrival is what the browser brings back after a person was chosen.
type arrival struct {
	cookie string
	query  url.Values
}

func (b *bundle) arrive(t *testing.T, browser *http.Client, person, returnPath string) arrival {
	t.Helper()
	begun, err := b.BeginSignIn(t.Context(), auth.SignInOptions{ReturnPath: returnPath})
	if err != nil {
		t.Fatal(err)
	}
	back := devidptest.Choose(t, browser, begun.URL, person)
	if back == nil {
		t.Fatal("the provider showed a page instead of redirecting")
	}
	return arrival{cookie: begun.Cookie, query: back.Query()}
}

// signIn signs a person in at a browser of their own.
func (b *bundle) signIn(t *testing.T, person string) auth.SignedIn {
	t.Helper()
	a := b.arrive(t, devidptest.Browser(t), person, "/approvals")
	done, err := b.FinishSignIn(t.Context(), a.cookie, a.query, auth.Browser{IP: "127.0.0.1", UserAgent: "a browser", RequestID: "req"})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func (b *bundle) exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	tag, err := b.db.Owner.Exec(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatal(err)
	}
	if tag.RowsAffected() == 0 {
		tb.Fatalf("nothing was changed by %s", sql)
	}
}

func (b *bundle) text(tb testing.TB, sql string, args ...any) string {
	tb.Helper()
	var value string
	if err := b.db.Owner.QueryRow(tb.Context(), sql, args...).Scan(&value); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return value
}

// wantProblem checks an error's code.
func wantProblem(t *testing.T, err error, kind problem.Kind, code string) {
	t.Helper()
	if !problem.Is(err, kind) || problem.From(err).Code != code {
		t.Errorf("got %v, want the problem %s", err, code)
	}
}

func (b *bundle) wantSessionOver(t *testing.T, cookie, why string) {
	t.Helper()
	if who, err := b.Session(t.Context(), cookie); !problem.Is(err, problem.Unauthenticated) || who.Kind != "" {
		t.Errorf("%s: got %v, %v; want no session", why, who, err)
	}
}

// enrol makes a gateway as the package delivery would, and returns its client.
func (b *bundle) enrol(tb testing.TB, name, resource string) auth.Issued {
	tb.Helper()
	made, err := b.CreateClient(tb.Context(), identity.Principal{Kind: identity.System}, auth.NewClient{Name: name, Kind: auth.GatewayClient})
	if err != nil {
		tb.Fatal(err)
	}
	b.exec(tb, `
		with a as (insert into audiences (name) values ($1) returning id)
		insert into gateways (name, audience_id, client_id, resource, created_by) select $1, a.id, $2, $3, 'test' from a`,
		name, made.ID, resource)
	if err := b.Refresh(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return made
}

// speak gets a token and returns it with its principal.
func (b *bundle) speak(tb testing.TB, made auth.Issued) (string, identity.Principal) {
	tb.Helper()
	token, err := b.Token(tb.Context(), made.ID, made.Secret)
	if err != nil {
		tb.Fatal(err)
	}
	who, err := b.Bearer(tb.Context(), token.Token)
	if err != nil {
		tb.Fatal(err)
	}
	return token.Token, who
}
