package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"countersign/auth"
	"countersign/internal/opatest"
	"countersign/internal/pgtest"
	"countersign/registry"
)

// front is what stands before the control plane and speaks TLS, as in production. It can change what passes.
type front struct {
	*httptest.Server
	target atomic.Pointer[url.URL]
	change atomic.Pointer[func(archive []byte) []byte] // of a bundle
	asked  atomic.Int64                                // requests for a bundle
}

func newFront(t *testing.T, w *world) *front {
	t.Helper()
	f := &front{}
	f.to(t, w)
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(f.target.Load()) },
		ModifyResponse: f.pass,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	f.Server = httptest.NewTLSServer(proxy)
	t.Cleanup(f.Close)
	return f
}

func (f *front) to(t *testing.T, w *world) {
	t.Helper()
	u, err := url.Parse(w.url)
	must(t, err)
	f.target.Store(u)
}

func (f *front) pass(r *http.Response) error {
	if !strings.HasPrefix(r.Request.URL.Path, "/v1/bundles/") {
		return nil
	}
	f.asked.Add(1)
	change := f.change.Load()
	if change == nil || r.StatusCode != http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	body = (*change)(body)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// documentedConfig is the configuration that docs/opa.md gives, with everything replaced that it says has to be, and the
// certificate of the front.
func documentedConfig(t *testing.T, f *front, g *edge, key opatest.Key) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "opa.md"))
	must(t, err)
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatal("docs/opa.md has no configuration")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600))
	config := regexp.MustCompile(`(?m)^   `).ReplaceAllString(string(found[1]), "")
	for old, replacement := range map[string]string{
		"https://countersign.example.com/v1\n": f.URL + "/v1\n    tls: {ca_cert: " + ca + "}\n", "https://countersign.example.com/oauth": f.URL + "/oauth",
		"CLIENT_ID": g.ClientID, "${CLIENT_SECRET}": g.Secret, "KEY_ID": key.ID, "AUDIENCE": g.AudienceID,
		"PUBLIC_KEY": strings.ReplaceAll(strings.TrimSpace(key.PEM), "\n", "\n      "), "/var/lib/opa": t.TempDir(),
	} {
		if strings.Count(config, old) != 1 {
			t.Fatalf("the configuration has %q %d times:\n%s", old, strings.Count(config, old), config)
		}
		config = strings.Replace(config, old, replacement, 1)
	}
	return config
}

func (w *world) bundleKey(t *testing.T) opatest.Key {
	t.Helper()
	kid, key := w.auth.BundleKey()
	return opatest.NewKey(t, kid, &key.PublicKey)
}

type opaDecision struct {
	Outcome, Reason string
	Obligations     map[string]any
}

// decides asks for a call of a tool by somebody who is nobody in particular.
func decides(o *opatest.OPA, tool string) (d opaDecision) {
	o.Ask("countersign/decision", map[string]any{
		"server": orders, "kind": "tool", "name": tool,
		"principal": map[string]any{"issuer": "https://idp.example", "subject": "ann", "groups": []string{}},
	}, &d)
	return d
}

func TestStockOPA(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := newWorldOn(t, db.RuntimeDSN, db.Owner)
	g, _ := w.pulled(t)
	f := newFront(t, w)
	o := opatest.Start(t, documentedConfig(t, f, g, w.bundleKey(t)))
	o.Eventually("OPA has the bundle", o.Ready)
	if d := decides(o, "list_orders"); d.Outcome != "allow" || d.Reason != "allowed" {
		t.Errorf("a call that is allowed: %+v", d)
	}
	if d := decides(o, "delete_orders"); d.Outcome != "hold" || d.Obligations["approval"] == nil {
		t.Errorf("a call that is held: %+v", d)
	}
	if d := decides(o, "other"); d.Reason != "unknown_tool" {
		t.Errorf("a call of what is not there: %+v", d)
	}
	var metadata struct {
		Audience        string
		MaxStaleSeconds int `json:"max_stale_seconds"`
	}
	if o.Ask("system/bundles/countersign/manifest/metadata", nil, &metadata); metadata.Audience != g.AudienceID || metadata.MaxStaleSeconds != 300 {
		t.Errorf("the metadata is %+v", metadata)
	}

	asked := f.asked.Load()
	w.suspendOrders(t, registry.Suspended)
	o.Eventually("the suspension reaches OPA", func() bool { return decides(o, "list_orders").Reason == "suspended" })
	w.suspendOrders(t, registry.Active)
	o.Eventually("its end reaches OPA", func() bool { return decides(o, "list_orders").Reason == "allowed" })
	if polls := f.asked.Load() - asked; polls > 6 { // two that were parked, and those that follow them
		t.Errorf("OPA asked %d times: it does not wait", polls)
	}

	w.stop()
	o.Eventually("OPA sees that the server is gone", func() bool { return o.Bundle("countersign").Code != "" })
	if d := decides(o, "list_orders"); d.Outcome != "allow" {
		t.Errorf("while the server is gone: %+v", d)
	}
	again := w.replica(t, db.RuntimeDSN)
	f.to(t, again)
	again.suspendOrders(t, registry.Suspended)
	o.Eventually("a change after the restart reaches OPA", func() bool { return decides(o, "list_orders").Reason == "suspended" })
}

// suspendOrders suspends the server of the orders, or activates it again.
func (w *world) suspendOrders(t *testing.T, to registry.State) {
	t.Helper()
	id, version := read[string](w, `select id from servers`), read[int64](w, `select version from servers`)
	_, err := w.registry.SetState(t.Context(), installer, id, version, to, "tried")
	must(t, err)
}

func TestStockOPARefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	f := newFront(t, w)
	key := w.bundleKey(t)
	o := opatest.Start(t, documentedConfig(t, f, g, key))
	o.Eventually("OPA has the bundle", o.Ready)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	for _, c := range []struct {
		name, refusal string
		change        func(files map[string]string)
	}{
		{"a changed decision", "digest mismatch", func(files map[string]string) {
			files["data.json"] = strings.Replace(files["data.json"], `"suspended"`, `"active"`, 1)
		}},
		{"a changed module", "digest mismatch", func(files map[string]string) {
			files["countersign.rego"] = strings.Replace(files["countersign.rego"], "default allow := false", "default allow := true", 1)
		}},
		{"a module more", "not included in bundle signature", func(files map[string]string) {
			files["more.rego"] = "package countersign.more"
		}},
		{"another key's signature", "failed to verify JWT signature", func(files map[string]string) {
			files[".signatures.json"] = signedBy(t, other, key.ID, files)
		}},
		{"a key that OPA does not know", "not found", func(files map[string]string) {
			files[".signatures.json"] = signedBy(t, other, "other", files)
		}},
		{"no signature", "missing .signatures.json", func(files map[string]string) { delete(files, ".signatures.json") }},
	} {
		pass := func(archive []byte) []byte {
			files := unpacked(t, string(archive))
			c.change(files)
			return packed(t, files)
		}
		f.change.Store(&pass)
		w.suspendOrders(t, registry.Suspended)
		o.Eventually(c.name+" is refused", func() bool { return strings.Contains(o.Bundle("countersign").Message, c.refusal) })
		if d := decides(o, "list_orders"); d.Reason != "allowed" {
			t.Errorf("%s: OPA decides %+v, not by its last good bundle", c.name, d)
		}
		f.change.Store(nil)
		o.Eventually("the bundle as it is gets through", func() bool { return decides(o, "list_orders").Reason == "suspended" })
		w.suspendOrders(t, registry.Active)
		o.Eventually("OPA follows", func() bool { return decides(o, "list_orders").Reason == "allowed" })
	}
}

// signedBy makes .signatures.json anew: the same digests, signed by another key.
func signedBy(t *testing.T, key *ecdsa.PrivateKey, kid string, files map[string]string) string {
	t.Helper()
	old := into[struct{ Signatures []string }](t, answer{body: files[".signatures.json"]}).Signatures[0]
	parsed, err := jose.ParseSignedCompact(old, []jose.SignatureAlgorithm{jose.ES256})
	must(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	must(t, err)
	signed, err := signer.Sign(parsed.UnsafePayloadWithoutVerification())
	must(t, err)
	compact, err := signed.CompactSerialize()
	must(t, err)
	return `{"signatures":["` + compact + `"]}`
}

// packed makes a bundle of files.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for name, text := range files {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		must(t, err)
	}
	must(t, w.Close())
	must(t, zipped.Close())
	return out.Bytes()
}

// TestStockOPAReports looks at what the gateways page shows of a gateway that uses OPA.
func TestStockOPAReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	f := newFront(t, w)
	o := opatest.Start(t, documentedConfig(t, f, g, w.bundleKey(t)))
	reported := func(where string) func() bool {
		return func() bool {
			return read[bool](w, `select exists (select from gateway_instances where gateway_id = $1 and version like 'opa 1.%' and `+where+`)`, g.ID)
		}
	}
	o.Eventually("OPA reports the revision in force", reported(`active_revision = (select revision from audiences where name = 'edge')`))
	unsigned := func(archive []byte) []byte {
		files := unpacked(t, string(archive))
		delete(files, ".signatures.json")
		return packed(t, files)
	}
	f.change.Store(&unsigned)
	w.suspendOrders(t, registry.Suspended)
	o.Eventually("OPA reports that it refuses a revision", reported(`rejected_revision > active_revision and rejected_reason like '%signatures%'`))
	f.change.Store(nil)
	o.Eventually("OPA reports the next one", reported(`active_revision = (select revision from audiences where name = 'edge') and rejected_revision = 0`))
}

// TestStockOPAFollowsARotation gives OPA the next key while it is announced, as docs/opa.md says.
func TestStockOPAFollowsARotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, _ := w.pulled(t)
	f := newFront(t, w)
	old := w.bundleKey(t)
	before := g.get(g.bundlePath()).want(t, http.StatusOK).header.Get("ETag")
	next, err := w.auth.Keyring().Rotate(t.Context(), installer, auth.Rotation{Purpose: auth.ForBundle})
	must(t, err)
	must(t, w.auth.Refresh(t.Context()))
	keys := w.auth.JWKS()
	announced := keys.Key(next.ID)
	if len(announced) != 1 {
		t.Fatalf("the key %s is not announced", next.ID)
	}
	public, _ := announced[0].Key.(*ecdsa.PublicKey)
	known := opatest.NewKey(t, next.ID, public)
	config := strings.Replace(documentedConfig(t, f, g, old), "keys:\n", "keys:\n  "+known.ID+":\n    algorithm: ES256\n    key: |\n      "+
		strings.ReplaceAll(strings.TrimSpace(known.PEM), "\n", "\n      ")+"\n", 1)
	o := opatest.Start(t, config)
	o.Eventually("OPA has the bundle", o.Ready)

	w.exec(`update keyring set activates_at = clock_timestamp() where id = $1`, next.ID)
	o.Eventually("the next key signs", func() bool { kid, _ := w.auth.BundleKey(); return kid == next.ID })
	again := g.get(g.bundlePath(), "If-None-Match", before, "Prefer", "wait=50").want(t, http.StatusOK)
	checkSignature(t, w, unpacked(t, again.body))
	w.suspendOrders(t, registry.Suspended)
	o.Eventually("OPA takes what the next key signs", func() bool { return decides(o, "list_orders").Reason == "suspended" })
}
