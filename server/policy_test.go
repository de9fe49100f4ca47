package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/client"
	"countersign/internal/pgtest"
	"countersign/policy"
	"countersign/registry"
)

// pulled is an enrolled gateway, with a server that it may see, and its policy.
func (w *world) pulled(t *testing.T) (*edge, answer) {
	t.Helper()
	g := w.enrol("edge", "*")
	w.hold(g)
	w.current(t, g.AudienceID)
	return g, g.get(client.PathPolicy).want(t, http.StatusOK)
}

// edit changes the policy.
func (w *world) edit(t *testing.T, name string) {
	t.Helper()
	_, err := w.registry.CreateGrant(t.Context(), installer, registry.NewGrant{
		Name: name, Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{"*"}},
	})
	must(t, err)
}

func TestPolicyAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	keys := into[jose.JSONWebKeySet](t, w.anonymous().get(client.PathKeys).want(t, http.StatusOK))
	document, err := policy.Decode([]byte(a.body))
	must(t, err)
	if document.Issuer != w.url || document.Audience != g.AudienceID || document.Revision == 0 || document.MaxStaleSeconds != 300 {
		t.Errorf("%+v", document)
	}
	tag, ok := policy.ParseETag(a.header.Get("ETag"))
	if !ok || tag.Epoch != document.Epoch || tag.Revision != document.Revision || tag.Encoding != "" {
		t.Errorf("ETag %s of revision %d", a.header.Get("ETag"), document.Revision)
	}
	for name, want := range map[string]string{
		"Content-Type": client.TypePolicy, client.HeaderRevision: strconv.FormatInt(document.Revision, 10), client.HeaderLease: "300",
		"Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding, Authorization, Prefer", "Repr-Digest": reprDigest([]byte(a.body)),
		"Content-Encoding": "", "Preference-Applied": "",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	must(t, policy.Verify([]byte(a.body), a.header.Get(client.HeaderSignature), keys))

	zipped := g.get(client.PathPolicy, "Accept-Encoding", "br, gzip").want(t, http.StatusOK)
	if zipped.header.Get("Content-Encoding") != "gzip" || zipped.header.Get("Repr-Digest") != reprDigest([]byte(zipped.body)) {
		t.Errorf("%v", zipped.header)
	}
	if tag, _ := policy.ParseETag(zipped.header.Get("ETag")); tag.Encoding != "gz" {
		t.Errorf("ETag %s", zipped.header.Get("ETag"))
	}
	r, err := gzip.NewReader(bytes.NewReader([]byte(zipped.body)))
	must(t, err)
	plain, err := io.ReadAll(r)
	must(t, err)
	must(t, policy.Verify(plain, zipped.header.Get(client.HeaderSignature), keys))

	sealed := g.get(client.PathPolicy, "Accept", client.TypeJOSE).want(t, http.StatusOK)
	opened, err := policy.Open(sealed.body, keys)
	must(t, err)
	if sealed.header.Get("Content-Type") != client.TypeJOSE || string(opened) != a.body || string(plain) != a.body {
		t.Error("the representations differ")
	}
	if sealed.header.Get("Repr-Digest") != reprDigest([]byte(sealed.body)) {
		t.Error("the digest is of another representation")
	}
	refused := g.get(client.PathPolicy, "Accept-Encoding", "gzip;q=0").want(t, http.StatusOK)
	if refused.header.Get("Content-Encoding") != "" {
		t.Error("gzip for somebody who refuses it")
	}
}

func TestUnchangedPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	etag := a.header.Get("ETag")
	tag, _ := policy.ParseETag(etag)
	older, newer, lost := tag, tag, tag
	older.Revision, newer.Revision, lost.Digest = tag.Revision-1, tag.Revision+1, "000000000000"
	zip := tag
	zip.Encoding = "gz"
	for name, c := range map[string]struct {
		known  []string
		header []string
		status int
		lease  string
		etag   string
	}{
		"the same":                {known: []string{etag}, status: 304, lease: "300", etag: etag},
		"weak":                    {known: []string{"W/" + etag}, status: 304, lease: "300", etag: etag},
		"in another encoding":     {known: []string{zip.String()}, status: 304, lease: "300", etag: etag},
		"of the encoding asked":   {known: []string{etag}, header: []string{"Accept-Encoding", "gzip"}, status: 304, lease: "300", etag: zip.String()},
		"in a list":               {known: []string{`"x", ` + older.String() + `, ` + etag}, status: 304, lease: "300", etag: etag},
		"in two headers":          {known: []string{older.String(), etag}, status: 304, lease: "300", etag: etag},
		"an older one":            {known: []string{older.String()}, status: 200, lease: "300", etag: etag},
		"of other content":        {known: []string{lost.String()}, status: 200, lease: "300", etag: etag},
		"rubbish":                 {known: []string{`e1.r1`}, status: 200, lease: "300", etag: etag},
		"whatever there is":       {known: []string{"*"}, status: 304, lease: "", etag: etag},
		"a newer one":             {known: []string{newer.String()}, status: 503},
		"a newer one in a list":   {known: []string{etag + ", " + newer.String()}, status: 503},
		"whatever, and to wait":   {known: []string{"*"}, header: []string{"Prefer", "wait=30"}, status: 304, lease: "", etag: etag},
		"a newer one and to wait": {known: []string{newer.String()}, header: []string{"Prefer", "wait=30"}, status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := c.header
			for _, known := range c.known {
				header = append(header, "If-None-Match", known)
			}
			got := g.get(client.PathPolicy, header...)
			if c.status == http.StatusServiceUnavailable {
				got.wantProblem(t, c.status, "replica_behind")
				if got.header.Get("Retry-After") == "" || got.header.Get(client.HeaderLease) != "" {
					t.Errorf("%v", got.header)
				}
				return
			}
			got.want(t, c.status)
			if got.header.Get(client.HeaderLease) != c.lease || got.header.Get("ETag") != c.etag || (got.status == 304) != (got.body == "") {
				t.Errorf("%s", got.shown())
			}
			if got.header.Get("Vary") == "" || got.header.Get(client.HeaderRevision) == "" {
				t.Errorf("%v", got.header)
			}
		})
	}
}

func TestPolicyTouchesNoDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	g.get(client.PathPolicy).want(t, http.StatusOK)
	w.stop() // nothing runs in the background
	before := w.pool.Stat().AcquireCount()
	for range 50 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, client.PathPolicy, nil)
		r.Header.Set("Authorization", "Bearer "+g.bearer)
		r.Header.Set("If-None-Match", a.header.Get("ETag"))
		got := httptest.NewRecorder()
		w.Handler().ServeHTTP(got, r)
		if got.Code != http.StatusNotModified {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
	}
	if n := w.pool.Stat().AcquireCount() - before; n != 0 {
		t.Errorf("%d connections were taken", n)
	}
}

// parked sends a request that waits, and gives its answer.
func (g *edge) parked(ctx context.Context, etag string) <-chan answer {
	answered := make(chan answer, 1)
	go func() {
		resp, err := g.do(ctx, http.MethodGet, client.PathPolicy, "", "If-None-Match", etag, "Prefer", "wait=99999")
		if err != nil {
			answered <- answer{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			answered <- answer{body: err.Error()}
			return
		}
		answered <- answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	}()
	return answered
}

func within(t testing.TB, d time.Duration, answered <-chan answer) answer {
	t.Helper()
	select {
	case a := <-answered:
		return a
	case <-time.After(d):
		t.Fatalf("no answer within %v", d)
		return answer{}
	}
}

func TestAParkedRequestWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	waiting := g.parked(t.Context(), a.header.Get("ETag"))
	w.edit(t, "Tuesdays")
	changed := within(t, 10*time.Second, waiting).want(t, http.StatusOK, "Tuesdays")
	seconds, err := strconv.Atoi(strings.TrimPrefix(changed.header.Get("Preference-Applied"), "wait="))
	if err != nil || seconds < 45 || seconds > 55 {
		t.Errorf("Preference-Applied: %q", changed.header.Get("Preference-Applied"))
	}

	waiting = g.parked(t.Context(), changed.header.Get("ETag"))
	_, err = w.delivery.Revoke(t.Context(), installer, g.ID, "stolen")
	must(t, err)
	within(t, 10*time.Second, waiting).wantProblem(t, http.StatusForbidden, "gateway_revoked")
}

func TestPreferWait(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 0, "wait": 0, "wait=": 0, "wait=0": 0, "wait=-5": 0, "wait=x": 0, "respond-async": 0, "waiting=5": 0, "wait=9999999999999999999999": 0,
		"wait=10": 10 * time.Second, "wait=99999": maxWait, `wait="10"`: 10 * time.Second, "respond-async, wait=10": 10 * time.Second, "Wait=10; foo=bar": 10 * time.Second,
		"wait=9223372036854775807": maxWait,
	} {
		got, applied := preferWait([]string{header})
		if applied != (want > 0) || got > want || got < want-want/10-1 {
			t.Errorf("%q: %v, want %v or a tenth less", header, got, want)
		}
	}
}

func TestDrainingAnswersParkedRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	approval := read[string](w, `select id from approvals`)
	var waiting []<-chan answer
	for range 50 {
		waiting = append(waiting, g.parked(t.Context(), a.header.Get("ETag")))
	}
	others := make(chan answer, 2)
	go func() { others <- g.get(client.PathApprovals + "/" + approval + "?wait=45") }()
	go func() {
		others <- g.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1", Wait: 45})
	}()
	w.awaitRequests(t, 52)
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, answered := range waiting {
		within(t, time.Second, answered).want(t, http.StatusNotModified)
	}
	for range 2 {
		if got := within(t, time.Second, others); got.status != http.StatusOK && got.status != http.StatusNoContent && got.status != http.StatusServiceUnavailable {
			t.Errorf("%s", got.shown())
		}
	}
}

func TestAStaleReplicaRenewsNoLease(t *testing.T) {
	t.Parallel()
	db := pgtest.NewServer(t, false)
	owner, err := pgxpool.New(t.Context(), db.OwnerDSN)
	must(t, err)
	t.Cleanup(owner.Close)
	w := newWorldOn(t, db.RuntimeDSN, owner)
	g, a := w.pulled(t)
	ada := w.signIn("ada")
	db.StopImmediately(t)

	g.get(client.PathPolicy, "If-None-Match", a.header.Get("ETag")).want(t, http.StatusNotModified) // what was read a moment ago
	page := ada.get("/servers").want(t, http.StatusServiceUnavailable, "Nothing was changed.", "Gateways go on enforcing the policy they hold", "Try again")
	if page.header.Get("Retry-After") == "" || strings.Contains(page.body, "connect") {
		t.Errorf("%s", page.shown())
	}
	if page := ada.post("/grants", nil).want(t, http.StatusServiceUnavailable); page.header.Get("Retry-After") == "" {
		t.Errorf("%s", page.shown())
	}
	ada.get("/healthz").want(t, http.StatusOK)
	ada.get("/signin").want(t, http.StatusOK)
	w.anonymous().post("/oauth/token", map[string][]string{
		"grant_type": {"client_credentials"}, "client_id": {g.ClientID}, "client_secret": {g.Secret},
	}).wantProblem(t, http.StatusServiceUnavailable, "database_unavailable")

	waiting := g.parked(t.Context(), a.header.Get("ETag"))
	w.awaitRequests(t, 1)
	w.late.Store(int64(16 * time.Second)) // so long ago was the last look at the head
	for _, header := range [][]string{{"If-None-Match", a.header.Get("ETag")}, nil, {"If-None-Match", "*"}} {
		got := g.get(client.PathPolicy, header...)
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.header.Get(client.HeaderLease) != "" || got.body == "" {
			t.Errorf("a stale replica answers %s", got.shown())
		}
	}
	ada.get("/readyz").want(t, http.StatusServiceUnavailable)

	db.Start(t)
	w.edit(t, "Tuesdays")
	within(t, 30*time.Second, waiting).want(t, http.StatusOK, "Tuesdays")
	ada.get("/servers").want(t, http.StatusOK)
	ada.get("/readyz").want(t, http.StatusOK)
}

// awaitRequests waits until so many requests are being served.
func (w *world) awaitRequests(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); w.serving.Load() < int64(n); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are served, want %d", w.serving.Load(), n)
		}
	}
}

func TestTwoReplicasServeTheSameBytes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	first := newWorldOn(t, db.RuntimeDSN, db.Owner)
	second := first.replica(t, db.RuntimeDSN)
	g, a := first.pulled(t)
	second.current(t, g.AudienceID)
	there := &edge{caller: second.anonymous(), Enrolled: g.Enrolled}
	there.bearer = g.bearer
	b := there.get(client.PathPolicy).want(t, http.StatusOK)
	if a.body != b.body || a.header.Get("ETag") != b.header.Get("ETag") {
		t.Error("two replicas, two policies")
	}
	waiting := there.parked(t.Context(), b.header.Get("ETag"))
	first.edit(t, "Tuesdays")
	within(t, 15*time.Second, waiting).want(t, http.StatusOK, "Tuesdays")
	first.stop() // the leader goes
	second.edit(t, "Wednesdays")
	second.current(t, g.AudienceID)
	there.get(client.PathPolicy).want(t, http.StatusOK, "Wednesdays")
}

// replica is another replica on the same database, with the same key and public address.
func (w *world) replica(t *testing.T, dsn string) *world {
	t.Helper()
	cfg := w.cfg
	cfg.DatabaseURL = dsn
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	other := &world{t: t, url: "http://" + listener.Addr().String(), db: w.db, log: w.log, idp: w.idp, team: w.team}
	other.Server, err = New(t.Context(), cfg)
	must(t, err)
	other.run(listener)
	return other
}
