package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/internal/egress"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

func TestANoticeIsAsAtomicAsWhatItTellsAbout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	w.webhook(r)
	undone := errors.New("undone")
	err := postgres.InTx(t.Context(), w.db.Runtime, func(tx pgx.Tx) error {
		return errors.Join(Append(t.Context(), tx, asked("")), undone)
	})
	w.look(w.notify)
	if !errors.Is(err, undone) || one[int](w, `select count(*)::int from notices`) != 0 || len(r.arrivals()) != 0 {
		t.Errorf("after a rollback %d messages arrived: %v", len(r.arrivals()), err)
	}
	err = postgres.InTx(t.Context(), w.db.Runtime, func(tx pgx.Tx) error { return Append(t.Context(), tx, Notice{Topic: "nonsense"}) })
	if err == nil {
		t.Error("a notice without a topic was written")
	}
}

func TestWhoIsToldWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	all, _ := w.webhook(r, func(s *Setup) { s.Address = r.URL + "/all" })
	w.webhook(r, func(s *Setup) { s.Address, s.TeamID = r.URL+"/orders", "tem_orders" })
	w.webhook(r, func(s *Setup) { s.Address, s.TeamID = r.URL+"/other", "tem_other" })
	w.webhook(r, func(s *Setup) { s.Address, s.Topics = r.URL+"/alive", []string{TopicAlive} })
	w.webhook(r, func(s *Setup) { s.Address, s.DigestSeconds = r.URL+"/digest", 3600 })
	paused, _ := w.webhook(r, func(s *Setup) { s.Address = r.URL + "/paused" })
	ended, _ := w.webhook(r, func(s *Setup) { s.Address = r.URL + "/ended" })
	if err := errors.Join(w.notify.Pause(t.Context(), ada, paused, 1), w.notify.End(t.Context(), ada, ended, 1)); err != nil {
		t.Fatal(err)
	}
	urgent := Notice{Topic: topicEmergency, TeamIDs: []string{"tem_orders"}, Urgent: true}
	w.tell(asked(""), Notice{Topic: "approval.denied", TeamIDs: []string{"tem_orders"}}, urgent)
	w.look(w.notify)
	var got []string
	for _, a := range r.arrivals() {
		var p payload
		if err := json.Unmarshal(a.body, &p); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimPrefix(a.path, "/")+" "+p.Type)
	}
	slices.Sort(got)
	want := []string{
		"alive notifier.alive", "all approval.emergency", "all approval.requested", "digest approval.emergency",
		"orders approval.emergency", "orders approval.requested", "other approval.emergency",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	log, err := w.notify.Deliveries(t.Context(), auditor, all, "", 1)
	if err != nil || len(log) != 1 {
		t.Fatal(log, err)
	}
	older, err := w.notify.Deliveries(t.Context(), auditor, all, log[0].ID, 5)
	if err != nil || len(older) != 1 || older[0].ID == log[0].ID {
		t.Errorf("the page after the first: %+v, %v", older, err)
	}
}

func TestTwoHundredRequestsAreOneDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	id, secret := w.webhook(r, func(s *Setup) { s.DigestSeconds = 300 })
	w.request("apr_open")
	w.request("apr_over")
	var notices []Notice
	for range 248 {
		notices = append(notices, Notice{Topic: "approval.approved", TeamIDs: []string{"tem_orders"}, Data: asked("").Data})
	}
	w.tell(asked("apr_open"), asked("apr_over"))
	w.tell(notices[:100]...)
	w.look(w.notify)
	w.tell(notices[100:]...)
	w.look(w.notify)
	if len(r.arrivals()) != 0 || w.states(id) != "waiting 1" {
		t.Fatalf("before its time %d arrived: %s", len(r.arrivals()), w.states(id))
	}
	w.exec(`update approvals set state = 'denied' where id = 'apr_over'`)
	r.answers(503, 200)
	for range 2 {
		w.due()
		w.look(w.notify)
	}
	got := r.arrivals()
	if len(got) != 2 || got[0].id != got[1].id || string(got[0].body) != string(got[1].body) || w.states(id) != "delivered 1" {
		t.Fatalf("%d arrivals, %s", len(got), w.states(id))
	}
	verify(t, secret, got[1])
	var p struct {
		Type string
		Data struct {
			Count   int
			Notices []struct{ Data map[string]any }
		}
	}
	if err := json.Unmarshal(got[0].body, &p); err != nil || p.Type != typeDigest || p.Data.Count != 249 || len(p.Data.Notices) != maxTold {
		t.Errorf("digest: %s of %d with %d, %v", p.Type, p.Data.Count, len(p.Data.Notices), err)
	}
	if strings.Contains(string(got[0].body), "apr_over") || !strings.Contains(string(got[0].body), "apr_open") {
		t.Error("the digest asks for what was decided, or not for what was not")
	}
	w.request("apr_third")
	w.tell(asked("apr_third"))
	w.look(w.notify)
	w.exec(`update approvals set state = 'expired' where id = 'apr_third'`)
	w.due()
	w.look(w.notify)
	if n := len(r.arrivals()); n != 2 || w.states(id) != "cancelled 1, delivered 1" {
		t.Errorf("a digest with nothing to say: %d arrivals, %s", n, w.states(id))
	}
}

// TestACrashRepeatsWithTheSameID lets the database go away between the receiver's answer and the record of it.
func TestACrashRepeatsWithTheSameID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	id, secret := w.webhook(r)
	doomed := w.db.NewPool(t)
	crashing := w.on(doomed)
	r.answer = func(nth int, rw http.ResponseWriter, _ *http.Request) {
		if nth == 1 {
			doomed.Close()
		}
		rw.WriteHeader(http.StatusOK)
	}
	w.tell(asked(""))
	w.look(crashing)
	w.look(w.notify)
	if n := len(r.arrivals()); n != 1 || w.states(id) != "waiting 1" {
		t.Fatalf("while the lease lasts: %d arrivals, %s", n, w.states(id))
	}
	w.due()
	w.look(w.notify)
	got := r.arrivals()
	if len(got) != 2 || got[0].id != got[1].id || string(got[0].body) != string(got[1].body) || w.states(id) != "delivered 1" {
		t.Fatalf("after the crash: %+v, %s", got, w.states(id))
	}
	verify(t, secret, got[1])
}

func TestTwoNotifiersDeliverEachOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	first, _ := w.webhook(r)
	second, _ := w.webhook(r)
	w.run(w.notify)
	w.run(w.on(w.db.NewPool(t)))
	const writers, each = 4, 15
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for j := range each {
				w.tell(Notice{Topic: "approval.approved", Data: map[string]any{"n": fmt.Sprintf("%d/%d", i, j)}})
				w.notify.hub.Wake(t.Context(), Wake)
			}
		})
	}
	writing.Wait()
	want := fmt.Sprintf("delivered %d", writers*each)
	within(t, "everything is delivered", func() bool { return w.states(first) == want && w.states(second) == want })
	ids := map[string]int{}
	for _, a := range r.arrivals() {
		ids[a.id]++
	}
	if len(ids) != 2*writers*each || len(r.arrivals()) != len(ids) {
		t.Errorf("%d arrivals of %d messages, want %d once each", len(r.arrivals()), len(ids), 2*writers*each)
	}
	if h, err := w.notify.Health(t.Context()); err != nil || h.Stalled || h.Waiting != 0 || h.Channels != 2 {
		t.Errorf("health: %+v, %v", h, err)
	}
	w.exec(`update notifier set beat_at = clock_timestamp() - interval '1 hour'`)
	within(t, "the beat", func() bool { h, err := w.notify.Health(t.Context()); return err == nil && !h.Stalled })
}

func TestASlowChannelHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow, fast := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	slow.answer = func(int, http.ResponseWriter, *http.Request) { <-release }
	w.webhook(slow)
	id, _ := w.webhook(fast)
	w.run(w.notify)
	for range 20 {
		w.tell(asked(""))
	}
	within(t, "the other channel is told all", func() bool { return w.states(id) == "delivered 20" })
	close(release)
}

func TestForbiddenAddressesAreNotCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.webhook(r)
	w.cfg.Guard = egress.Guard{}
	a, err := w.on(w.db.Runtime).Test(t.Context(), ada, id)
	if err != nil || a.Error == "" || !strings.Contains(a.Error, "COUNTERSIGN_ALLOW_PRIVATE") || len(r.arrivals()) != 0 {
		t.Errorf("%+v, %v, %d arrivals", a, err, len(r.arrivals()))
	}
}

func TestDeliveringAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := newReceiver(t)
	id, _ := w.webhook(r)
	w.tell(asked(""))
	w.look(w.notify)
	delivery := one[string](w, `select id from deliveries`)
	if err := w.notify.Redeliver(t.Context(), ada, id, delivery); err != nil {
		t.Fatal(err)
	}
	w.look(w.notify)
	got := r.arrivals()
	if len(got) != 2 || got[0].id != got[1].id || w.states(id) != "delivered 2" {
		t.Errorf("%d arrivals, %s", len(got), w.states(id))
	}
	if err := w.notify.Redeliver(t.Context(), auditor, id, delivery); !problem.Is(err, problem.Forbidden) {
		t.Errorf("an auditor delivers again: %v", err)
	}
	if err := w.notify.Redeliver(t.Context(), ada, id, "msg_none"); !problem.Is(err, problem.NotFound) {
		t.Errorf("what is not there is delivered again: %v", err)
	}
	w.exec(`update deliveries set finished_at = clock_timestamp() - interval '91 days'`)
	w.exec(`update notices set taken_at = clock_timestamp() - interval '91 days'`)
	if err := w.notify.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](w, `select (select count(*) from deliveries)::int + (select count(*) from delivery_attempts)::int + (select count(*) from notices)::int`); n != 0 {
		t.Errorf("%d old rows are kept", n)
	}
}
