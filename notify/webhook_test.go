package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestWebhookIsAsStandardWebhooksSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	id, secret := w.webhook(r)
	w.request("apr_1")
	w.tell(asked("apr_1"))
	w.look(w.notify)
	got := r.arrivals()
	if len(got) != 1 || got[0].path != "/hook" {
		t.Fatalf("arrived: %+v", got)
	}
	verify(t, secret, got[0])
	var p struct {
		Type      string         `json:"type"`
		Timestamp time.Time      `json:"timestamp"`
		Data      map[string]any `json:"data"`
	}
	if err := json.Unmarshal(got[0].body, &p); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"approval_id": "apr_1", "url": origin + "/approvals/apr_1", "urgent": false, "expires_at": "2031-01-02T03:04:05Z",
		"server": "com.example/orders", "tool": "delete_orders", "risk": "destructive", "state": "pending", "agent": "release-bot", "caller_name": "Tomas Lind",
	}
	if diff := cmp.Diff(want, p.Data); diff != "" || p.Type != topicRequested || p.Timestamp.IsZero() {
		t.Errorf("payload %s at %v: -want +got\n%s", p.Type, p.Timestamp, diff)
	}
	if got := w.states(id); got != "delivered 1" {
		t.Errorf("deliveries: %s", got)
	}
	w.look(w.notify)
	if n := len(r.arrivals()); n != 1 {
		t.Errorf("it arrived %d times", n)
	}
}

// verify checks an arrival with the library of the standard, and by hand.
func verify(t *testing.T, secret string, a arrival) {
	t.Helper()
	hook, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(a.body, a.header); err != nil {
		t.Errorf("verifying with the library: %v", err)
	}
	if !verifiedByHand(secret, a) {
		t.Error("verifying by hand: no signature is good")
	}
	if err := hook.Verify(append(a.body, ' '), a.header); err == nil {
		t.Error("another body is verified too")
	}
}

func verifiedByHand(secret string, a arrival) bool {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(a.header.Get("webhook-id") + "." + a.header.Get("webhook-timestamp") + "." + string(a.body)))
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for signature := range strings.SplitSeq(a.header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return true
		}
	}
	return false
}

func TestWebhookRetriesWithTheSameID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	r.answers(500, 404, 503, 204)
	id, secret := w.webhook(r)
	w.request("apr_1")
	w.tell(asked("apr_1"))
	for range 4 {
		w.look(w.notify)
		w.look(w.notify) // not before it is due
		w.due()
	}
	got := r.arrivals()
	if len(got) != 4 {
		t.Fatalf("%d arrivals, want 4", len(got))
	}
	for _, a := range got {
		verify(t, secret, a)
		if a.id != got[0].id || string(a.body) != string(got[0].body) {
			t.Errorf("another attempt is another message: %s %s", a.id, a.body)
		}
	}
	log, err := w.notify.Deliveries(t.Context(), auditor, id, "", 0)
	if err != nil || len(log) != 1 || log[0].State != "delivered" || log[0].MessageID != got[0].id || log[0].ApprovalID != "apr_1" {
		t.Fatalf("log: %+v, %v", log, err)
	}
	var statuses []int
	for _, a := range log[0].Attempts {
		statuses = append(statuses, a.Status)
	}
	if diff := cmp.Diff([]int{500, 404, 503, 204}, statuses); diff != "" {
		t.Errorf("attempts: %s", diff)
	}
	if diff := cmp.Diff([]string{"channel.created", "channel.failing", "channel.recovered"}, w.audited(id)); diff != "" {
		t.Errorf("audited: %s", diff)
	}
}

func TestWebhookGivesUpAfterThreeDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	r.answers(500)
	id, _ := w.webhook(r)
	w.tell(asked(""))
	var waited time.Duration
	for range 12 {
		w.look(w.notify)
		waited += time.Duration(one[float64](w, `select coalesce(max(extract(epoch from due_at - clock_timestamp())), 0)::float8 from deliveries where state = 'waiting'`)) * time.Second
		w.due()
	}
	if n := len(r.arrivals()); n != 10 || w.states(id) != "failed 1" {
		t.Errorf("%d attempts, deliveries %s", n, w.states(id))
	}
	if waited < 70*time.Hour || waited > 90*time.Hour {
		t.Errorf("it was tried for %v", waited)
	}
	c, err := w.notify.Channel(t.Context(), auditor, id)
	if err != nil || c.State() != Failing || c.LastError != "The receiver answered 500." {
		t.Errorf("channel: %+v, %v", c, err)
	}
	if h, err := w.notify.Health(t.Context()); err != nil || len(h.Failing) != 1 || h.Waiting != 0 || h.Stalled {
		t.Errorf("health: %+v, %v", h, err)
	}
}

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	away := newReceiver(t)
	tests := []struct {
		name   string
		answer func(int, http.ResponseWriter, *http.Request)
		state  string
		reason string
		least  time.Duration // until the next try
	}{
		{"no content", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "delivered", "", 0},
		{
			"a redirect", func(_ int, w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, away.URL, http.StatusTemporaryRedirect)
			}, "waiting",
			"The receiver answered 307. Redirects are not followed: change the address instead.", 4 * time.Second,
		},
		{
			"too many", func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "1200")
				w.WriteHeader(429)
			}, "waiting",
			"The receiver answered 429.", 19 * time.Minute,
		},
		{
			"far too many", func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "99999999")
				w.WriteHeader(503)
			}, "waiting",
			"The receiver answered 503.", 23 * time.Hour,
		},
		{
			"a broken answer", func(_ int, w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "waiting",
			"The connection to the receiver failed.", 4 * time.Second,
		},
		{"an endless answer", func(_ int, w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "delivered", "", 0},
	}
	for _, tt := range tests {
		r := newReceiver(t)
		r.answer = tt.answer
		id, _ := w.webhook(r)
		w.tell(asked(""))
		w.look(w.notify)
		var state, reason string
		var wait float64
		err := w.db.Owner.QueryRow(t.Context(), `
			select d.state, a.error, extract(epoch from d.due_at - clock_timestamp())::float8 from deliveries d
			join delivery_attempts a on a.delivery_id = d.id where channel_id = $1 order by d.created_at desc limit 1`, id).Scan(&state, &reason, &wait)
		if err != nil || state != tt.state || reason != tt.reason || tt.least > 0 && wait < tt.least.Seconds() {
			t.Errorf("%s: %s (%s) again in %.0f s, %v", tt.name, state, reason, wait, err)
		}
		w.exec(`update channels set paused_at = clock_timestamp() where id = $1`, id)
	}
	if n := len(away.arrivals()); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestGonePausesTheChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	r.answers(410)
	id, _ := w.webhook(r)
	w.tell(asked(""), Notice{Topic: "approval.approved", TeamIDs: []string{"tem_orders"}})
	w.exec(`update channels set failing_since = clock_timestamp()`) // one at a time
	w.look(w.notify)
	w.look(w.notify)
	c, err := w.notify.Channel(t.Context(), auditor, id)
	if err != nil || c.State() != Paused || !strings.Contains(c.PausedBecause, "410") || len(r.arrivals()) != 1 {
		t.Errorf("channel %+v after %d arrivals: %v", c, len(r.arrivals()), err)
	}
	if got := w.states(id); got != "cancelled 1, failed 1" {
		t.Errorf("deliveries: %s", got)
	}
	w.tell(asked(""))
	w.look(w.notify)
	if err := w.notify.Resume(t.Context(), ada, id, c.Version); err != nil {
		t.Fatal(err)
	}
	r.answers(200)
	w.look(w.notify)
	if n := len(r.arrivals()); n != 1 {
		t.Errorf("what happened while it was paused was told later: %d arrivals", n)
	}
	w.tell(asked(""))
	w.look(w.notify)
	if n := len(r.arrivals()); n != 2 {
		t.Errorf("%d arrivals after it was resumed", n)
	}
	if diff := cmp.Diff([]string{"channel.created", "channel.paused", "channel.resumed"}, w.audited(id)); diff != "" {
		t.Errorf("audited: %s", diff)
	}
}

func TestRotationOverlapsForADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	id, first := w.webhook(r)
	second, err := w.notify.RotateSecret(t.Context(), ada, id, 1)
	if err != nil || second == first || !strings.HasPrefix(second, "whsec_") {
		t.Fatalf("rotated: %q, %v", second, err)
	}
	w.tell(asked(""))
	w.look(w.notify)
	a := r.arrivals()[0]
	if !verifiedByHand(first, a) || !verifiedByHand(second, a) {
		t.Errorf("in the overlap: first %v, second %v", verifiedByHand(first, a), verifiedByHand(second, a))
	}
	verify(t, second, a)
	var secrets []secret
	sealed := one[[]byte](w, `select secrets from channels where id = $1`, id)
	if err := w.notify.open(purposeSecrets, id, sealed, &secrets); err != nil || len(secrets) != 2 {
		t.Fatalf("kept: %d secrets, %v", len(secrets), err)
	}
	if strings.Contains(string(sealed), "whsec_") {
		t.Error("secrets are in the database in clear")
	}
	after, err := sign(secrets, "msg_1", one[time.Time](w, `select clock_timestamp()`).Add(25*time.Hour), []byte("{}"))
	if err != nil || strings.Count(after, "v1,") != 1 {
		t.Errorf("after the overlap: %q, %v", after, err)
	}
	for range 6 {
		secrets = rotated(secrets, time.Now())
	}
	if len(secrets) != maxSecrets {
		t.Errorf("%d secrets sign after many rotations", len(secrets))
	}
}
