package server

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"countersign/identity"
	"countersign/internal/egress"
)

// hook is a program that takes webhooks and answers them with a status.
type hook struct {
	*httptest.Server

	status  atomic.Int64
	arrived chan *http.Request
	bodies  chan []byte
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{arrived: make(chan *http.Request, 10), bodies: make(chan []byte, 10)}
	h.status.Store(http.StatusOK)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.arrived <- r
		h.bodies <- body
		w.WriteHeader(int(h.status.Load()))
	}))
	t.Cleanup(h.Close)
	return h
}

func allowLoopback(cfg *Config) { cfg.AllowPrivate = egress.Loopback.Allow }

func TestAChannelIsMadeTestedRotatedAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowLoopback)
	receiver := newHook(t)
	ada, audra, vera := w.signIn("ada"), w.signIn("audra"), w.signIn("vera")
	ada.get("/channels").want(t, http.StatusOK, "Nobody is told anything yet", `href="/channels/new"`)
	vera.get("/channels").want(t, http.StatusForbidden)
	ada.get("/channels/new").want(t, http.StatusOK, "Approval needed", "Commerce", `value="webhook" checked`)

	form := url.Values{
		"name": {" on-call <bot> "}, "kind": {"webhook"}, "address": {receiver.URL + "/very-secret-path"},
		"topics": {"approval.requested", "notifier.alive"}, "team": {w.team.ID}, "digest": {"300"},
	}
	made := ada.post("/channels", form).want(t, http.StatusCreated, "on-call &lt;bot&gt;", "Copy the secret")
	secret := regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`).FindString(made.body)
	at := regexp.MustCompile(`/channels/chn_\w+`).FindString(made.body)
	if secret == "" || at == "" || !strings.Contains(made.header.Get("Cache-Control"), "no-store") {
		t.Fatalf("the page shows no secret or may be kept: %s", made.shown())
	}
	page := audra.get(at).want(t, http.StatusOK, "on-call &lt;bot&gt;", "Digest, five minutes", "Commerce", "Heartbeat")
	if strings.Contains(page.body, secret) || strings.Contains(page.body, "very-secret-path") || strings.Contains(page.body, "/rotate") {
		t.Errorf("an auditor sees a secret or a form: %s", page.shown())
	}

	audra.post(at+"/test", nil).want(t, http.StatusForbidden)
	alive := <-receiver.arrived // the first heartbeat
	<-receiver.bodies
	if alive.URL.Path != "/very-secret-path" {
		t.Errorf("it went to %s", alive.URL)
	}
	ada.post(at+"/test", nil).want(t, http.StatusOK, "The test was delivered.", "Taken, answered 200")
	arrived, body := <-receiver.arrived, <-receiver.bodies
	verifier, err := standard.NewWebhook(secret)
	must(t, err)
	must(t, verifier.Verify(body, arrived.Header))
	receiver.status.Store(http.StatusInternalServerError)
	ada.post(at+"/test", nil).want(t, http.StatusOK, "The test was not delivered. The receiver answered 500.")
	<-receiver.arrived
	<-receiver.bodies
	_, err = w.db.Exec(t.Context(), `update channels set failing_since = clock_timestamp()`)
	must(t, err)
	audra.get("/").want(t, http.StatusOK, "Notifications do not arrive")
	if page := vera.get("/").want(t, http.StatusOK); strings.Contains(page.body, "Notifications") {
		t.Errorf("a viewer is told of channels: %s", page.shown())
	}

	other := ada.post(at+"/rotate", url.Values{"version": {"1"}}).want(t, http.StatusOK, "For 24 hours", "whsec_")
	if strings.Contains(other.body, secret) {
		t.Error("the secret of before is shown again")
	}
	ada.post(at+"/pause", url.Values{"version": {"1"}}).want(t, http.StatusConflict, "Somebody changed or ended this channel")
	ada.post(at+"/pause", url.Values{"version": {"2"}}).want(t, http.StatusSeeOther)
	ada.get("/channels").want(t, http.StatusOK, "Paused")
	ada.post(at+"/resume", url.Values{"version": {"3"}}).want(t, http.StatusSeeOther)
	ada.get(at+"/edit").want(t, http.StatusOK, `value="300" selected`, "Leave it empty to keep it", `value="approval.requested" checked`)
	changed := url.Values{"version": {"4"}, "name": {"night shift"}, "topics": {"approval.denied"}, "digest": {"0"}}
	ada.post(at, changed).want(t, http.StatusSeeOther)
	ada.get(at).want(t, http.StatusOK, "night shift", "Denied", "At once", "Every team", "Saved.")
	ada.post(at+"/end", url.Values{"version": {"5"}}).want(t, http.StatusSeeOther)
	ada.get(at).want(t, http.StatusOK, "for good")
	ada.post(at+"/test", nil).want(t, http.StatusConflict, "The channel is ended")
	if n := read[int](w, `select count(*)::int from channels where octet_length(target) > 0 or secrets is not null`); n != 0 {
		t.Error("an ended channel keeps its address or its secrets")
	}
	if strings.Contains(w.log.String(), "very-secret-path") || strings.Contains(w.log.String(), "whsec_") {
		t.Error("the log of the server has an address or a secret")
	}
}

func TestAChannelThatIsNotMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowLoopback)
	ada := w.signIn("ada")
	good := url.Values{"name": {"ops"}, "kind": {"webhook"}, "address": {"https://ops.example/hook"}, "topics": {"approval.requested"}, "digest": {"0"}}
	for name, c := range map[string]struct {
		field, value, invalid, words string
	}{
		"no name":            {"name", " ", "name", "Give it a name"},
		"a hidden name":      {"name", "a\u202eb", "name", "Give it a name"},
		"no kind":            {"kind", "pigeon", "", "Choose a webhook"},
		"mail without relay": {"kind", "email", "", "sends no mail"},
		"no address":         {"address", "", "address", "It takes an address"},
		"no TLS":             {"address", "http://ops.example/", "address", "It has to be https"},
		"metadata":           {"address", "https://169.254.169.254/latest", "address", "private, loopback or link-local"},
		"a private network":  {"address", "https://10.0.0.1/", "address", "COUNTERSIGN_ALLOW_PRIVATE"},
		"mapped":             {"address", "https://[::ffff:10.0.0.1]/", "address", "COUNTERSIGN_ALLOW_PRIVATE"},
		"a password":         {"address", "https://me:secret@ops.example/", "address", "Leave out the name"},
		"another scheme":     {"address", "file:///etc/passwd", "address", "Write an address as https://"},
		"an unknown topic":   {"topics", "approval.everything", "", "among the topics listed"},
		"another team":       {"team", "tem_none", "team", "There is no such team."},
		"an odd digest":      {"digest", "soon", "", "at most a day"},
		"a long digest":      {"digest", "86401", "", "at most a day"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := maps.Clone(good)
			form.Set(c.field, c.value)
			a := ada.post("/channels", form).want(t, http.StatusBadRequest, "Nothing was changed.", c.words)
			if c.invalid != "" {
				a.wantInvalid(t, c.invalid, "")
			}
			if n := read[int](w, `select count(*)::int from channels`); n != 0 {
				t.Errorf("%d channels were made", n)
			}
		})
	}
}

func TestChannelsOnTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowLoopback)
	receiver := newHook(t)
	receiver.status.Store(http.StatusTeapot)
	ada := w.signIn("ada")
	form := url.Values{"name": {"ops"}, "kind": {"slack"}, "address": {receiver.URL + "/T0/secret"}, "topics": {"approval.requested"}, "digest": {"0"}}
	made := ada.post("/channels", form).want(t, http.StatusSeeOther)
	id := strings.TrimPrefix(made.header.Get("Location"), "/channels/")

	reader, admin, viewer := w.automation("", identity.Auditor), w.automation("", identity.Admin), w.automation("", identity.Viewer)
	viewer.get("/v1/channels").wantProblem(t, http.StatusForbidden, "not_allowed")
	list := reader.get("/v1/channels").want(t, http.StatusOK, `"kind":"slack"`, `"state":"active"`, `"address":"`+receiver.URL+`/…"`)
	if strings.Contains(list.body, "secret") {
		t.Errorf("the address is shown whole: %s", list.shown())
	}
	at := "/v1/channels/" + id
	reader.get(at).want(t, http.StatusOK, `"name":"ops"`, `"topics":["approval.requested"]`)
	reader.get("/v1/channels/chn_none").wantProblem(t, http.StatusNotFound, "no_such_channel")
	reader.get("/v1/channels/chn_none/deliveries").wantProblem(t, http.StatusNotFound, "no_such_channel")
	reader.call(http.MethodPost, at+"/test", map[string]any{}).wantProblem(t, http.StatusForbidden, "not_allowed")
	for range 2 {
		admin.call(http.MethodPost, at+"/test", map[string]any{}).want(t, http.StatusOK, `"status":418`, `"error":"The receiver answered 418."`)
	}
	var first, second struct {
		Items []struct {
			ID, State, About string
			Attempts         []struct{ Status int }
		}
		Next string
	}
	must(t, json.Unmarshal([]byte(reader.get(at+"/deliveries?limit=1").want(t, http.StatusOK).body), &first))
	must(t, json.Unmarshal([]byte(reader.get(at+"/deliveries?limit=1&after="+first.Next).want(t, http.StatusOK).body), &second))
	if len(first.Items) != 1 || len(second.Items) != 1 || first.Items[0].ID == second.Items[0].ID || first.Items[0].State != "failed" || first.Items[0].Attempts[0].Status != 418 {
		t.Errorf("deliveries: %+v, then %+v", first, second)
	}
}

// TestWhatIsAskedIsTold goes the whole way: a call is held, and the people of the team hear of it.
func TestWhatIsAskedIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowLoopback)
	receiver := newHook(t)
	ada := w.signIn("ada")
	form := url.Values{"name": {"ops"}, "kind": {"webhook"}, "address": {receiver.URL}, "topics": {"approval.requested"}, "digest": {"0"}}
	ada.post("/channels", form).want(t, http.StatusCreated)
	asked := w.hold(w.enrol("edge", "*")).approval.ID
	select {
	case body := <-receiver.bodies:
		if !strings.Contains(string(body), `"url":"`+w.url+"/approvals/"+asked+`"`) || !strings.Contains(string(body), `"type":"approval.requested"`) {
			t.Errorf("it was told %s", body)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told within ten seconds")
	}
}
