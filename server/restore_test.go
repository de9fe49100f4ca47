package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/approvals"
	"countersign/client"
	"countersign/internal/pgtest"
)

// backup is what a dump of a database holds: each table as COPY writes it, and where the sequences are.
type backup struct {
	tables    map[string]string
	sequences map[string]int64
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func dump(t *testing.T, dsn string) backup {
	t.Helper()
	conn := connect(t, dsn)
	_, err := conn.Exec(t.Context(), `begin isolation level repeatable read`)
	must(t, err)
	b := backup{tables: map[string]string{}, sequences: map[string]int64{}}
	rows, _ := conn.Query(t.Context(), `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and not relispartition`)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	for _, name := range names {
		var text strings.Builder
		_, err := conn.PgConn().CopyTo(t.Context(), &text, `copy `+pgx.Identifier{name}.Sanitize()+` to stdout`)
		must(t, err)
		b.tables[name] = text.String()
	}
	rows, _ = conn.Query(t.Context(), `select sequencename, last_value from pg_sequences where schemaname = 'public' and last_value is not null`)
	var sequence string
	var last int64
	_, err = pgx.ForEachRow(rows, []any{&sequence, &last}, func() error { b.sequences[sequence] = last; return nil })
	must(t, err)
	return b
}

// restore puts it into a database of the same schema.
func (b backup) restore(t *testing.T, dsn string) {
	t.Helper()
	conn := connect(t, dsn)
	_, err := conn.Exec(t.Context(), `set session_replication_role = replica`)
	must(t, err)
	for name := range b.tables {
		_, err := conn.Exec(t.Context(), `truncate `+pgx.Identifier{name}.Sanitize()+` cascade`)
		must(t, err)
	}
	for name, text := range b.tables {
		_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(text), `copy `+pgx.Identifier{name}.Sanitize()+` from stdin`)
		must(t, err)
	}
	for name, last := range b.sequences {
		_, err := conn.Exec(t.Context(), `select setval($1::regclass, $2)`, name, last)
		must(t, err)
	}
}

// From a backup into another cluster: the epoch moves by itself, the gateway takes the lower revision, and what was
// issued before is void.
func TestDatabaseRestoredFromABackup(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := newWorldOn(t, db.RuntimeDSN, db.Owner)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	h.vote(t, w, approvals.Approve)
	w.current(t, g.AudienceID)
	feed := follow(t, w.url, g)
	claim := into[client.Claim](t, g.call(http.MethodPost, client.PathApprovals+"/"+h.approval.ID+"/token", ``).want(t, http.StatusOK))
	saved := dump(t, db.SuperuserDSN)
	w.edit(t, "Lost on Monday")
	w.edit(t, "Lost on Tuesday")
	before := await(t, feed, func(s *client.Snapshot) bool { return strings.Contains(granted(s), "Lost on Tuesday") })
	w.stop()

	other := pgtest.NewServer(t, false)
	saved.restore(t, other.SuperuserDSN)
	owner, err := pgxpool.New(t.Context(), other.OwnerDSN)
	must(t, err)
	t.Cleanup(owner.Close)
	cfg := w.cfg
	cfg.DatabaseURL, cfg.Log = other.RuntimeDSN, slog.New(slog.NewJSONHandler(w.log, nil))
	restored := &world{t: t, url: w.url, idp: w.idp, db: owner, log: w.log}
	restored.Server, err = New(t.Context(), cfg)
	must(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimPrefix(w.url, "http://"))
	must(t, err)
	restored.run(listener)

	after := await(t, feed, func(s *client.Snapshot) bool { return s.Epoch == 2 })
	if after.Revision >= before.Revision || strings.Contains(granted(after), "Lost") {
		t.Errorf("revision %d of epoch %d after revision %d of epoch %d: %s", after.Revision, after.Epoch, before.Revision, before.Epoch, granted(after))
	}
	again := &edge{caller: restored.anonymous()}
	again.bearer = g.bearer
	again.call(http.MethodPost, client.PathRedeem, client.Redeem{Token: claim.Token, Call: h.call, RedemptionID: "red-1", Instance: "i1"}).
		want(t, http.StatusGone) // void, or closed by the sweep already
	if n := read[int](restored, `select count(*) from audit_events where kind = 'epoch.moved' and detail ->> 'remembered' <> detail ->> 'found'`); n != 1 {
		t.Errorf("%d events", n)
	}
	if !strings.Contains(w.log.String(), "THE DATABASE IS ANOTHER ONE") {
		t.Error("the log does not say it")
	}
}

// follow runs the gateway's feed until the test ends.
func follow(t *testing.T, url string, g *edge) *client.Feed {
	t.Helper()
	c, err := client.New(client.Config{ControlPlane: url, ClientID: g.ClientID, ClientSecret: client.Secret(g.Secret), Instance: "i1"})
	must(t, err)
	feed, err := client.NewFeed(client.FeedConfig{Client: c, StateDir: t.TempDir(), Retry: 20 * time.Millisecond})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = feed.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	return feed
}

// await waits until the feed holds what is wanted.
func await(t *testing.T, feed *client.Feed, wanted func(*client.Snapshot) bool) *client.Snapshot {
	t.Helper()
	patience := time.After(time.Minute)
	for {
		changed := feed.Changed()
		if s, err := feed.Current(); err == nil && wanted(s) {
			return s
		}
		select {
		case <-changed:
		case <-patience:
			s, err := feed.Current()
			t.Fatalf("it never came: %+v, %v", s, err)
		}
	}
}

// granted are those of the grants.
func granted(s *client.Snapshot) string {
	var all []string
	for _, grant := range s.Index.Document().Grants {
		all = append(all, grant.Name)
	}
	return strings.Join(all, ", ")
}
