package server

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/registry"
)

// cataloguePaths are all that a base has.
var cataloguePaths = []string{
	"/v0.1/servers", "/v0.1/servers/com.acme%2Forders/versions", "/v0.1/servers/com.acme%2Forders/versions/latest",
	"/v0.1/servers/com.acme%2Forders/versions/1.0.0", "/v0.1/ping", "/v0.1/health",
}

func TestPublicRegistryIsOptIn(t *testing.T) {
	t.Parallel()
	off, on := newWorld(t), newWorld(t, withPublicRegistry)
	requestID := regexp.MustCompile(`[A-Z2-7]{26}`)
	for _, w := range []*world{off, on} {
		w.publish("com.acme/orders", registry.Active, "{}", "1.0.0")
		anyone := w.anonymous()
		unknown := anyone.get("/registry/there/is/nothing")
		if unknown.status != http.StatusNotFound {
			t.Fatalf("%s", unknown.shown())
		}
		bases := []string{"/registry/" + strings.Repeat("x", 40), secretBase + "1", "/registry/" + strings.ToUpper(strings.TrimPrefix(secretBase, "/registry/")), "/registry/v0.1", "/registry/-", strings.TrimSuffix(secretBase, "1")}
		if w == off {
			bases = append(bases, secretBase)
		}
		for _, base := range bases {
			path := base + cataloguePaths[2]
			a := anyone.get(path)
			unknown := anyone.get(strings.Replace(path, "/v0.1", "/v9", 1))
			if a.status != http.StatusNotFound || a.body != unknown.body || anyone.send(http.MethodOptions, path, "").status != http.StatusNotFound {
				t.Errorf("%s: %s", path, a.shown())
			}
			for _, header := range []http.Header{a.header, unknown.header} {
				header.Del("Date")
				header.Del("X-Request-Id")
			}
			if diff := cmp.Diff(unknown.header, a.header); diff != "" {
				t.Errorf("%s differs from an unknown address (-unknown +this):\n%s", path, requestID.ReplaceAllString(diff, "…"))
			}
		}
	}
	on.anonymous().get(secretBase+cataloguePaths[2]).want(t, http.StatusOK)
	on.anonymous().get("/registry/v0.1/servers").want(t, http.StatusUnauthorized, `{"error":`)
	for _, w := range []*world{off, on} {
		if strings.Contains(w.log.String(), "s3cret") || !strings.Contains(w.log.String(), "/registry/:base/v0.1/servers/:name/versions/:version") {
			t.Error("the log has to name the route, and not the secret")
		}
	}
}

func TestPublicRegistrySecretIsLong(t *testing.T) {
	t.Parallel()
	for secret, ok := range map[string]bool{
		"": true, strings.Repeat("a", 32): true, strings.Repeat("Z9_-", 10): true,
		strings.Repeat("a", 31): false, strings.Repeat("a", 33) + "/": false, strings.Repeat("a", 33) + "%": false, strings.Repeat("a", 33) + "\n": false,
		strings.Repeat("a", 201): false,
	} {
		cfg := config(t, "postgres://x", "https://c.example", "https://idp.example")
		cfg.PublicRegistry = secret
		err := cfg.validate()
		if (err == nil) != ok {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && strings.Contains(err.Error(), "aaa") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestCatalogueTellsNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPublicRegistry)
	w.enrol("edge", "*")
	w.publish("com.acme/orders", registry.Active, dressed, "1.0.0", "2.0.0")
	reader := w.automation("", identity.Viewer)
	for _, path := range cataloguePaths {
		open, known := w.anonymous().get(secretBase+path).want(t, http.StatusOK), reader.get("/registry"+path).want(t, http.StatusOK)
		for _, word := range []string{"upstream", "8443", "deep/mcp", "s3cret", "tes_", "srv_"} {
			if strings.Contains(strings.ToLower(open.body), word) || word != "srv_" && strings.Contains(strings.ToLower(known.body), word) {
				t.Errorf("%s tells %s: %s %s", path, word, open.body, known.body)
			}
		}
		if strings.Contains(open.body, w.team.Name) || strings.Contains(open.body, "countersign") || strings.Contains(path, "versions") != strings.Contains(known.body, `"team":"`+w.team.Name+`"`) && path != "/v0.1/servers" {
			t.Errorf("%s tells the owner or does not: %s %s", path, open.body, known.body)
		}
	}
	record := into[map[string]map[string]json.RawMessage](t, reader.get("/registry"+cataloguePaths[2]))
	ours := record["_meta"]["io.countersign/registry"]
	if !strings.Contains(string(ours), `"state":"active"`) {
		t.Errorf("%s", ours)
	}
	delete(record["_meta"], "io.countersign/registry") // the official types are strict about what is beside theirs
	raw, err := json.Marshal(record)
	must(t, err)
	wantRecord(t, raw)
}

func TestCatalogueForOtherOrigins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPublicRegistry)
	w.publish("com.acme/orders", registry.Active, "{}", "1.0.0")
	want := map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, OPTIONS", "Access-Control-Allow-Headers": "Authorization, Content-Type",
		"Access-Control-Allow-Credentials": "", "Cross-Origin-Resource-Policy": "cross-origin", "X-Content-Type-Options": "nosniff",
	}
	anyone := w.anonymous()
	origin := []string{"Origin", "https://editor.example", "Sec-Fetch-Site", "cross-site", "Access-Control-Request-Method", "GET"}
	for _, base := range []string{"/registry", secretBase} {
		for _, path := range append(cataloguePaths, "/v0.1/servers/com.acme%2Fnone/versions") {
			for method, status := range map[string][]int{http.MethodOptions: {204}, http.MethodGet: {200, 401, 404}} {
				a := anyone.send(method, base+path, "", origin...)
				for name, value := range want {
					if a.header.Get(name) != value {
						t.Errorf("%s %s%s: %s is %q", method, base, path, name, a.header.Get(name))
					}
				}
				if a.status != status[0] && (len(status) == 1 || a.status != status[1] && a.status != status[2]) {
					t.Errorf("%s %s%s: %s", method, base, path, a.shown())
				}
			}
		}
	}
	if a := anyone.get("/healthz", origin...); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other addresses are open to other origins")
	}
}

func TestCatalogueIsNotReadTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withPublicRegistry)
	w.publish("com.acme/orders", registry.Active, "{}", "1.0.0")
	reader := w.automation("", identity.Viewer)
	for _, c := range []struct {
		*caller
		base, cache, vary string
	}{{w.anonymous(), secretBase, "public, max-age=60", ""}, {reader, "/registry", "private, no-cache", "Authorization"}} {
		first := c.get(c.base+"/v0.1/servers").want(t, http.StatusOK)
		etag := first.header.Get("ETag")
		if first.header.Get("Cache-Control") != c.cache || first.header.Get("Vary") != c.vary || etag == "" {
			t.Errorf("%v", first.header)
		}
		for tag, status := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, "": 200} {
			if a := c.get(c.base+"/v0.1/servers", "If-None-Match", tag); a.status != status {
				t.Errorf("If-None-Match: %s gives %d", tag, a.status)
			}
		}
	}
	w.exec(`update servers set state = 'suspended', changed_at = clock_timestamp()`)
	etag := w.anonymous().get(secretBase + "/v0.1/servers").header.Get("ETag")
	if a := reader.get("/registry/v0.1/servers", "If-None-Match", etag); a.status != http.StatusOK {
		t.Errorf("%s", a.shown())
	}
}

func TestPublicRegistryIsLimited(t *testing.T) {
	t.Parallel()
	stopped := time.Now()
	w := newWorld(t, withPublicRegistry, func(c *Config) { c.Now = func() time.Time { return stopped } })
	anyone := w.anonymous()
	for range anonymousBurst * 2 {
		if a := anyone.get("/registry/" + strings.Repeat("g", 40) + "/v0.1/ping"); a.status == http.StatusTooManyRequests {
			if !strings.Contains(a.body, `{"error":"Too many requests`) || a.header.Get("Retry-After") == "" {
				t.Errorf("%s", a.shown())
			}
			if a := anyone.get("/auth/login"); a.status != http.StatusSeeOther {
				t.Errorf("and nobody there can sign in: %s", a.shown())
			}
			return
		}
	}
	t.Error("who guesses is never stopped")
}
