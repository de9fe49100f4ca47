package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/policy"
)

func TestConfigThatCannotWork(t *testing.T) {
	t.Parallel()
	good := Config{ControlPlane: "https://c.test", ClientID: "a", ClientSecret: "b", Instance: "i"}
	for name, change := range map[string]func(*Config){
		"no address":                 func(c *Config) { c.ControlPlane = "" },
		"another scheme":             func(c *Config) { c.ControlPlane = "ftp://c.test" },
		"a password in it":           func(c *Config) { c.ControlPlane = "https://a:b@c.test" },
		"a query":                    func(c *Config) { c.ControlPlane = "https://c.test?a=b" },
		"no client id":               func(c *Config) { c.ClientID = "" },
		"no secret":                  func(c *Config) { c.ClientSecret = "" },
		"no name of its own":         func(c *Config) { c.Instance = "" },
		"an address that is not one": func(c *Config) { c.ControlPlane = "://" },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := strings.Join([]string{Secret("x").String(), Secret("x").LogValue().String()}, ""); strings.Contains(got, "x") {
		t.Errorf("a secret shows: %s", got)
	}
}

func TestTokenIsKeptAndFetchedAnewWhenRefused(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	var refuse atomic.Bool
	p.handle("POST "+PathCalls, func(w http.ResponseWriter, r *http.Request) {
		if refuse.CompareAndSwap(true, false) {
			problem(w, 401, "invalid_token")
			return
		}
		w.WriteHeader(204)
	})
	c := p.client(nil)
	for range 3 {
		if err := c.SendCalls(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.tokens.Load(); n != 1 {
		t.Errorf("%d tokens for three calls", n)
	}
	refuse.Store(true)
	if err := c.SendCalls(t.Context(), nil); err != nil || p.tokens.Load() != 2 {
		t.Errorf("after a refusal: %v, %d tokens", err, p.tokens.Load())
	}
}

func TestCredentialIsSentToNobodyElse(t *testing.T) {
	t.Parallel()
	p, elsewhere := newPlane(t), newPlane(t)
	var reached atomic.Int32
	elsewhere.handle("POST "+PathCalls, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	p.handle("POST "+PathCalls, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.server.URL+PathCalls, http.StatusTemporaryRedirect)
	})
	if err := p.client(nil).SendCalls(t.Context(), nil); !IsStatus(err, 307) || reached.Load() != 0 {
		t.Errorf("got %v, %d requests elsewhere", err, reached.Load())
	}
}

func testCall() policy.Call {
	return policy.Call{
		Issuer: "https://control.test", Epoch: 1, Gateway: "gtw_1", ServerID: "srv_1", EndpointDigest: canonical.Sum("e", nil),
		Tool: "delete", Kind: policy.KindTool, Definition: canonical.Sum("d", nil),
		Principal: policy.CallPrincipal{Issuer: "i", Subject: "s"}, Arguments: json.RawMessage(`{"a":"<&>"}`),
	}
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	type answer struct {
		status   int // 0: none
		code     string
		replayed bool
	}
	tests := []struct {
		name    string
		answers []answer
		want    string // "": redeemed
	}{
		{"at once", []answer{{status: 200}}, ""},
		{"the answer was lost", []answer{{}, {status: 200, replayed: true}}, ""},
		{"the control plane was away", []answer{{status: 503}, {status: 200}}, ""},
		{"somebody else's", []answer{{status: 200, replayed: true}}, "redeemed before us"},
		{"used", []answer{{status: 410, code: "redeemed"}}, "redeemed"},
		{"another call", []answer{{status: 409, code: CodeMismatch}}, CodeMismatch},
		{"never an answer", []answer{{}, {}, {}, {}}, "calling control plane"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t)
			var n atomic.Int32
			p.handle("POST "+PathRedeem, func(w http.ResponseWriter, r *http.Request) {
				var in Redeem
				if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.RedemptionID != "red_1" || in.Instance != "i1" {
					t.Errorf("got %+v %v", in, err)
				}
				i := int(n.Add(1)) - 1
				if i >= len(tt.answers) {
					t.Errorf("asked %d times", i+1)
					return
				}
				switch a := tt.answers[i]; a.status {
				case 0:
					panic(http.ErrAbortHandler)
				case 200:
					reply(w, 200, Redemption{Replayed: a.replayed, ApprovalID: "apr_1"})
				default:
					problem(w, a.status, a.code)
				}
			})
			_, err := p.client(nil).Redeem(t.Context(), "cst_x", "red_1", testCall())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if int(n.Load()) != len(tt.answers) {
				t.Errorf("asked %d times, want %d", n.Load(), len(tt.answers))
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.handle("POST "+PathApprovals, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		problem(w, 429, "too_many_pending")
	})
	_, err := p.client(nil).Ask(t.Context(), Ask{Call: testCall()})
	e := (*Error)(nil)
	if !errors.As(err, &e) || e.RetryAfter != 7*time.Second || !IsCode(err, "too_many_pending") || Refused(err) {
		t.Errorf("got %v", err)
	}
	if _, err = p.client(nil).Approval(t.Context(), "apr/../x", 0); !IsStatus(err, 404) || !Refused(err) {
		t.Errorf("got %v", err)
	}
}

func TestLeaseOfDiscoveries(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	c := p.client(nil)
	p.handle("POST "+PathLease, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	if job, err := c.Lease(t.Context(), nil, 0); job != nil || err != nil {
		t.Errorf("no job: %v %v", job, err)
	}
	want := Job{ID: "dis_1", Server: "a/b", Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "http://x", Digest: canonical.Sum("e", nil)}}
	p.handle("POST "+PathLease, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, want) })
	job, err := c.Lease(t.Context(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *job); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
}

func TestDefinitionIsCheckedAgainstItsDigest(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	raw := []byte(`{"name":"a", "n":1.0}`)
	digest, err := DefinitionDigest(raw)
	if err != nil {
		t.Fatal(err)
	}
	p.handle("GET /v1/definitions/"+digest.String(), func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	if got, err := p.client(nil).Definition(t.Context(), digest); err != nil || string(got) != string(raw) {
		t.Errorf("got %s %v", got, err)
	}
	raw = []byte(`{"name":"b"}`)
	if _, err := p.client(nil).Definition(t.Context(), digest); err == nil {
		t.Error("a definition with another digest was taken")
	}
}

func TestDigestOfDefinitions(t *testing.T) {
	t.Parallel()
	digest := func(raw string) canonical.Digest {
		d, err := DefinitionDigest(json.RawMessage(raw))
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return d
	}
	base := digest(`{"name":"a","n":1}`)
	if digest(` { "n" : 1, "n\u0061me":"\u0061" } `) != base {
		t.Error("order, space and escapes change the digest")
	}
	for _, other := range []string{`{"name":"a","n":1.0}`, `{"name":"a","n":2}`, `{"name":"a ","n":1}`, `{"name":"a","n":1,"x":null}`, `{"name":"a","n":"1"}`} {
		if digest(other) == base {
			t.Errorf("%s has the same digest", other)
		}
	}
	if _, err := DefinitionDigest(json.RawMessage(`{"name":"a","name":"b"}`)); err == nil {
		t.Error("a definition that can be read in two ways has a digest")
	}
}

func TestRecorderSpoolsWhileTheControlPlaneIsAway(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	var away atomic.Bool
	away.Store(true)
	got := map[string]int{}
	p.handle("POST "+PathCalls, func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			problem(w, 503, "down")
			return
		}
		var batch CallBatch
		_ = json.NewDecoder(r.Body).Decode(&batch)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range batch.Calls {
			got[c.CallID]++
		}
		w.WriteHeader(204)
	})
	r := NewRecorder(p.client(nil), dir)
	for i := range 250 {
		r.Record(CallRecord{CallID: "call_" + strconv.Itoa(i)})
	}
	if err := r.flush(t.Context()); err == nil {
		t.Fatal("flushed to nobody")
	}
	r.keep(r.take(bufferBound))
	if _, err := os.Stat(filepath.Join(dir, spoolSending)); err != nil {
		if _, err := os.Stat(filepath.Join(dir, fileSpool)); err != nil {
			t.Fatal("nothing is spooled")
		}
	}
	file, err := os.OpenFile(filepath.Join(dir, fileSpool), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.WriteString(`{"call_id":"cut off`)
	_ = file.Close()
	away.Store(false)
	again := NewRecorder(p.client(nil), dir) // another process
	again.Record(CallRecord{CallID: "call_new"})
	if err := again.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(got) != 251 {
		t.Errorf("%d records arrived, want 251", len(got))
	}
	if again.Dropped() != 1 || r.Dropped() != 0 { // the one that was cut off
		t.Errorf("%d and %d dropped", again.Dropped(), r.Dropped())
	}
}

func TestRecorderIsBounded(t *testing.T) {
	t.Parallel()
	r := NewRecorder(newPlane(t).client(nil), t.TempDir())
	for range bufferBound + 5 {
		r.Record(CallRecord{})
	}
	if len(r.buffer) != bufferBound || r.Dropped() != 5 {
		t.Errorf("%d kept, %d dropped", len(r.buffer), r.Dropped())
	}
}

func TestPrincipalFromClaims(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, claims string
		want         policy.Principal
	}{
		{
			"a person through an agent",
			`{"iss":"https://i","sub":"s","name":"Ada","email":"a@x","groups":["g"],"azp":"agent","client_id":"other","amr":["mfa"],"acr":"urn:x","auth_time":10,"model":"m"}`,
			policy.Principal{
				Issuer: "https://i", Subject: "s", Name: "Ada", Email: "a@x", Groups: []string{"g"}, Agent: "agent", Model: "m",
				ModelAssurance: policy.Attested, AMR: []string{"mfa"}, ACR: "urn:x", AuthTime: time.Unix(10, 0).UTC(),
			},
		},
		{
			"a machine", `{"iss":"https://i","sub":"cli","client_id":"cli","preferred_username":"bot","groups":"g"}`,
			policy.Principal{Issuer: "https://i", Subject: "cli", Name: "bot", Groups: []string{"g"}, Agent: "cli", ModelAssurance: policy.Unknown},
		},
		{
			"other cases mean nothing", `{"iss":"https://i","sub":"s","SUB":"admin","Groups":["admins"],"MODEL":"m"}`,
			policy.Principal{Issuer: "https://i", Subject: "s", ModelAssurance: policy.Unknown},
		},
	}
	for _, tt := range tests {
		got, err := PrincipalFromClaims([]byte(tt.claims))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for _, odd := range []string{`"acr":1`, `"acr":["urn:x"]`, `"acr":null`, `"acr":"a b"`, `"acr":"\u0000"`, `"acr":"` + strings.Repeat("a", 201) + `"`, `"auth_time":1e300`, `"auth_time":-1`} {
		p, err := PrincipalFromClaims([]byte(`{"iss":"i","sub":"s",` + odd + `}`))
		if err != nil || p.ACR != "" || !p.AuthTime.IsZero() {
			t.Errorf("%s is read as %+v, %v", odd, p, err)
		}
	}
	for _, bad := range []string{``, `[]`, `{"iss":"i"}`, `{"sub":"s"}`, `{"iss":"i","sub":"s","sub":"t"}`, `{"iss":"i","sub":7}`, `{"ISS":"i","SUB":"s"}`, `{"iss":"i","sub":"s","groups":[1]}`} {
		if p, err := PrincipalFromClaims([]byte(bad)); err == nil {
			t.Errorf("%s is %+v", bad, p)
		}
	}
}
