package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/policy"
)

// bundlePath is where the gateway's bundle is.
func (g *edge) bundlePath() string { return "/v1/bundles/" + g.AudienceID + ".tar.gz" }

// unpacked gives the files of a bundle.
func unpacked(t *testing.T, archive string) map[string]string {
	t.Helper()
	zipped, err := gzip.NewReader(strings.NewReader(archive))
	must(t, err)
	files := map[string]string{}
	for r := tar.NewReader(zipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		files[header.Name] = string(text)
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, pulled := w.pulled(t)
	a := g.get(g.bundlePath()).want(t, http.StatusOK)
	document, _ := policy.ParseETag(pulled.header.Get("ETag"))
	tag, ok := policy.ParseETag(a.header.Get("ETag"))
	if !ok || !tag.Same(document) || !strings.HasPrefix(tag.Encoding, "opa-") {
		t.Errorf("ETag %s of the policy %s", a.header.Get("ETag"), pulled.header.Get("ETag"))
	}
	for name, want := range map[string]string{
		"Content-Type": "application/vnd.openpolicyagent.bundles", "Cache-Control": "private, no-cache", "Vary": "Authorization, Prefer",
		client.HeaderRevision: pulled.header.Get(client.HeaderRevision), client.HeaderLease: "", "Content-Encoding": "", "Repr-Digest": reprDigest([]byte(a.body)),
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	files := unpacked(t, a.body)
	manifest := into[struct {
		Revision    string
		Roots       []string
		RegoVersion int `json:"rego_version"`
		Metadata    struct {
			Audience, Issuer string
			Revision         int64
		}
	}](t, answer{body: files[".manifest"]})
	if want := []string{"countersign", "countersign_policy"}; manifest.RegoVersion != 1 || !cmp.Equal(manifest.Roots, want) ||
		`"`+manifest.Revision+`"` != pulled.header.Get("ETag") || manifest.Metadata.Audience != g.AudienceID || manifest.Metadata.Issuer != w.url {
		t.Errorf("%+v", manifest)
	}
	checkSignature(t, w, files)
	if again := g.get("/v1/bundles/"+g.AudienceName+".tar.gz").want(t, http.StatusOK); again.body != a.body {
		t.Error("the bundle by the name of its audience is another one")
	}
}

// checkSignature verifies .signatures.json by the keys that we publish.
func checkSignature(t *testing.T, w *world, files map[string]string) {
	t.Helper()
	keys := into[jose.JSONWebKeySet](t, w.anonymous().get(client.PathKeys).want(t, http.StatusOK))
	signatures := into[struct{ Signatures []string }](t, answer{body: files[".signatures.json"]}).Signatures
	if len(signatures) != 1 {
		t.Fatalf("%d signatures", len(signatures))
	}
	signed, err := jose.ParseSignedCompact(signatures[0], []jose.SignatureAlgorithm{jose.ES256})
	must(t, err)
	key := keys.Key(signed.Signatures[0].Header.KeyID)
	if len(key) != 1 {
		t.Fatalf("the key %q is not published", signed.Signatures[0].Header.KeyID)
	}
	payload, err := signed.Verify(key[0])
	must(t, err)
	var listed struct {
		Files []struct{ Name, Hash, Algorithm string }
	}
	must(t, json.Unmarshal(payload, &listed))
	if len(listed.Files) != len(files)-1 {
		t.Errorf("%d of %d files are signed", len(listed.Files), len(files)-1)
	}
	for _, f := range listed.Files {
		if sum := sha256.Sum256([]byte(files[f.Name])); f.Algorithm != "SHA-256" || f.Hash != hex.EncodeToString(sum[:]) {
			t.Errorf("%+v", f)
		}
	}
}

func TestUnchangedBundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	etag := g.get(g.bundlePath()).want(t, http.StatusOK).header.Get("ETag")
	tag, _ := policy.ParseETag(etag)
	older, newer, rekeyed := tag, tag, tag
	older.Revision, newer.Revision, rekeyed.Encoding = tag.Revision-1, tag.Revision+1, "opa-00000000"
	document := tag
	document.Encoding = ""
	for name, c := range map[string]struct {
		known  []string
		wait   string
		status int
	}{
		"the same":                     {known: []string{etag}, status: 304},
		"weak":                         {known: []string{"W/" + etag}, status: 304},
		"in a list":                    {known: []string{`"x", ` + older.String() + `, ` + etag}, status: 304},
		"in two headers":               {known: []string{older.String(), etag}, status: 304},
		"in a list of 50":              {known: []string{strings.Repeat(older.String()+", ", 49) + etag}, status: 304},
		"none":                         {status: 200},
		"nothing":                      {known: []string{""}, wait: "modes=snapshot,delta;wait=30", status: 200},
		"an older one":                 {known: []string{older.String()}, wait: "modes=snapshot,delta;wait=30", status: 200},
		"of another key or form":       {known: []string{rekeyed.String()}, wait: "modes=snapshot,delta;wait=30", status: 200},
		"the policy, not its bundle":   {known: []string{document.String()}, wait: "modes=snapshot,delta;wait=30", status: 200},
		"rubbish":                      {known: []string{"e1.r1"}, status: 200},
		"whatever there is":            {known: []string{"*"}, wait: "modes=snapshot,delta;wait=30", status: 304},
		"a newer one":                  {known: []string{newer.String()}, status: 503},
		"a newer one, and to wait":     {known: []string{newer.String()}, wait: "modes=snapshot,delta;wait=30", status: 503},
		"the same, waiting a second":   {known: []string{etag}, wait: "modes=snapshot,delta;wait=1", status: 304},
		"the same, waiting for an NaN": {known: []string{etag}, wait: "modes=snapshot,delta;wait=many", status: 304},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := []string{"Prefer", c.wait}
			for _, known := range c.known {
				header = append(header, "If-None-Match", known)
			}
			got := g.get(g.bundlePath(), header...)
			if c.status == http.StatusServiceUnavailable {
				got.wantProblem(t, c.status, "replica_behind")
				return
			}
			got.want(t, c.status)
			if got.header.Get("ETag") != etag || (got.status == 304) != (got.body == "") {
				t.Errorf("%s", got.shown())
			}
			if wantType := map[int]string{200: bundleType}[c.status]; got.header.Get("Content-Type") != wantType {
				t.Errorf("%d of the type %q", got.status, got.header.Get("Content-Type"))
			}
		})
	}
}

func TestABundleIsForItsOwnGateways(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	other := w.enrol("other", "*")
	w.current(t, other.AudienceID)
	for _, path := range []string{g.bundlePath(), "/v1/bundles/edge.tar.gz", "/v1/bundles/nothing.tar.gz", "/v1/bundles/" + other.AudienceID, "/v1/bundles/.tar.gz"} {
		other.get(path, "Prefer", "wait=50", "If-None-Match", "*").wantProblem(t, http.StatusNotFound, "no_such_bundle")
	}
	w.anonymous().get(g.bundlePath()).wantProblem(t, http.StatusUnauthorized, "token_required")
	w.signIn("ada").get(g.bundlePath()).wantProblem(t, http.StatusUnauthorized, "token_required")
	_, err := w.delivery.Revoke(t.Context(), installer, g.ID, "stolen")
	must(t, err)
	must(t, w.auth.Refresh(t.Context()))
	g.get(g.bundlePath()).wantProblem(t, http.StatusForbidden, "gateway_revoked")
}

func TestReplicasServeTheSameBundle(t *testing.T) {
	t.Parallel()
	first := newWorld(t)
	second := first.replica(t, first.cfg.DatabaseURL)
	g, _ := first.pulled(t)
	second.current(t, g.AudienceID)
	there := &edge{caller: second.anonymous()}
	there.bearer = g.bearer
	a, b := g.get(g.bundlePath()).want(t, http.StatusOK), there.get(g.bundlePath()).want(t, http.StatusOK)
	if !bytes.Equal([]byte(a.body), []byte(b.body)) || a.header.Get("ETag") != b.header.Get("ETag") {
		t.Error("two replicas, two bundles")
	}
}
