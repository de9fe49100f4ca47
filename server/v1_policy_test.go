package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"countersign/client"
	"countersign/policy"
)

// Line by line, the table of docs/policy.md that has no test of its own elsewhere.
func TestPullTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	etag := a.header.Get("ETag")
	tag, _ := policy.ParseETag(etag)
	var fifty []string
	for i := range int64(49) {
		older := tag
		older.Revision = tag.Revision - 1 - i
		older.Digest = fmt.Sprintf("%012x", i)
		fifty = append(fifty, `W/"other-`+fmt.Sprint(i)+`"`, older.String())
	}
	fifty = append(fifty[:49], etag)
	for name, c := range map[string]struct {
		header []string
		status int
		media  string
		encode string
		waits  bool
	}{
		"a list of fifty":            {header: []string{"If-None-Match", strings.Join(fifty, ", ")}, status: 304},
		"a list of fifty older ones": {header: []string{"If-None-Match", strings.Join(fifty[:49], ",")}, status: 200, media: policyType},
		"nothing acceptable":         {header: []string{"Accept", "text/html, application/json"}, status: 406},
		"another version":            {header: []string{"Accept", "application/vnd.countersign.policy+json;v=2"}, status: 406},
		"the version":                {header: []string{"Accept", policyType}, status: 200, media: policyType},
		"whatever":                   {header: []string{"Accept", "*/*"}, status: 200, media: policyType},
		"either, the signed first":   {header: []string{"Accept", joseType + ", " + policyType + ";q=0.5"}, status: 200, media: joseType},
		"signed, and gzip":           {header: []string{"Accept", joseType, "Accept-Encoding", "gzip"}, status: 200, media: joseType},
		"gzip of all":                {header: []string{"Accept-Encoding", "br;q=1, *;q=0.3"}, status: 200, media: policyType, encode: "gzip"},
		"gzip refused among all":     {header: []string{"Accept-Encoding", "gzip;q=0.0, *"}, status: 200, media: policyType},
		"gzip in two headers":        {header: []string{"Accept-Encoding", "br", "Accept-Encoding", "GZIP; q=0.5"}, status: 200, media: policyType, encode: "gzip"},
		"patience that is no number": {header: []string{"Prefer", "wait=soon", "If-None-Match", etag}, status: 304},
		"patience below nothing":     {header: []string{"Prefer", "wait=-1", "If-None-Match", etag}, status: 304},
		"patience that is not used":  {header: []string{"Prefer", "wait=99999"}, status: 200, media: policyType, waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := g.get(client.PathPolicy, c.header...).want(t, c.status)
			if c.status == http.StatusNotAcceptable {
				got.wantProblem(t, c.status, "not_acceptable")
				return
			}
			if (got.header.Get("Preference-Applied") != "") != c.waits || got.header.Get("Vary") != "Accept, Accept-Encoding, Authorization, Prefer" {
				t.Errorf("%v", got.header)
			}
			if got.header.Get(client.HeaderLease) != "300" || got.header.Get("Cache-Control") != "private, no-cache" || got.header.Get("ETag") == "" {
				t.Errorf("%v", got.header)
			}
			if c.status == http.StatusOK && (got.header.Get("Content-Type") != c.media || got.header.Get("Content-Encoding") != c.encode ||
				got.header.Get("Repr-Digest") != reprDigest([]byte(got.body)) || got.header.Get(client.HeaderSignature) == "" || got.body == "") {
				t.Errorf("%v", got.header)
			}
		})
	}
	g.send(http.MethodHead, client.PathPolicy, "").want(t, http.StatusMethodNotAllowed)
	w.anonymous().get(client.PathPolicy).wantProblem(t, http.StatusUnauthorized, "token_required")
	stranger := &edge{caller: w.anonymous()}
	stranger.bearer = "nonsense"
	if got := stranger.get(client.PathPolicy); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s", got.shown())
	}
}

func TestAGatewayThatAsksTooMuch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	other := w.enrol("other", "*")
	w.pulls.mu.Lock()
	w.pulls.of(g.ID).documents = rate.NewLimiter(rate.Every(time.Hour), 2)
	w.pulls.maxParked = 1
	w.pulls.mu.Unlock()
	for range 2 {
		g.get(client.PathPolicy).want(t, http.StatusOK)
	}
	got := g.get(client.PathPolicy)
	got.wantProblem(t, http.StatusTooManyRequests, "too_many_requests")
	if got.header.Get("Retry-After") == "" || got.header.Get(client.HeaderLease) != "" || got.header.Get("ETag") != "" {
		t.Errorf("%v", got.header)
	}
	g.get(client.PathPolicy, "If-None-Match", a.header.Get("ETag")).want(t, http.StatusNotModified) // costs nothing
	w.current(t, other.AudienceID)
	other.get(client.PathPolicy).want(t, http.StatusOK)

	waiting := g.parked(t.Context(), a.header.Get("ETag"))
	w.awaitRequests(t, 1)
	for w.pulls.waiting(g.ID) == 0 {
		time.Sleep(time.Millisecond)
	}
	second := g.get(client.PathPolicy, "If-None-Match", a.header.Get("ETag"), "Prefer", "wait=30")
	second.wantProblem(t, http.StatusTooManyRequests, "too_many_requests")
	_, err := w.delivery.Revoke(t.Context(), installer, g.ID, "asks too much")
	must(t, err)
	within(t, 10*time.Second, waiting).wantProblem(t, http.StatusForbidden, "gateway_revoked")
	if n := w.pulls.waiting(g.ID); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

// waiting is how many requests of a gateway wait.
func (p *pulls) waiting(gateway string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(gateway).parked
}

func TestAGatewayThatIsAheadIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, a := w.pulled(t)
	tag, _ := policy.ParseETag(a.header.Get("ETag"))
	tag.Revision += 1000
	for range 3 {
		g.get(client.PathPolicy, "If-None-Match", tag.String()).wantProblem(t, http.StatusServiceUnavailable, "replica_behind")
	}
	if n := strings.Count(w.log.String(), "a gateway holds a later policy"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
}

func TestTheConsoleSaysThatAGatewayIsAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, ada := w.enrol("edge", "*"), w.signIn("ada")
	if page := ada.get("/gateways"); strings.Contains(page.body, "earlier state") {
		t.Error("a database that was not restored is said to be")
	}
	g.call(put, client.PathStatus, client.Status{Instance: "a", Epoch: 1, ActiveRevision: 1_000_000}).want(t, http.StatusOK)
	ada.get("/gateways").want(t, http.StatusOK, "earlier state", "edge", "1000000")
}
