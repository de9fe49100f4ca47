package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"

	"countersign/internal/browsertest"
)

// stage shows one page that changes while it is looked at.
type stage struct {
	url    string
	events chan string // an event for the page's stream
	ended  chan bool   // the page closed its stream
	asked  atomic.Int64
	mu     sync.Mutex
	page   http.Handler
	posted chan url.Values
}

func (s *stage) show(page http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page = page
}

func (s *stage) change(page templ.Component, event string) {
	s.show(served(page))
	s.events <- event
}

func staged(t *testing.T, page templ.Component) *stage {
	t.Helper()
	s := &stage{events: make(chan string), ended: make(chan bool, 9), posted: make(chan url.Values, 9)}
	s.show(served(page))
	mux := http.NewServeMux()
	mux.Handle("GET /static/", Static())
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for text := "retry: 2000\n\n"; ; {
			_, _ = w.Write([]byte(text))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				s.ended <- true
				return
			case event := <-s.events:
				text = "event: " + event + "\ndata: x\n\n"
			}
		}
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.posted <- r.PostForm
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		page := s.page
		s.mu.Unlock()
		page.ServeHTTP(w, r)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	s.url = srv.URL
	return s
}

// watching opens the page and waits until its stream is connected.
func watching(t *testing.T, s *stage) *browsertest.Browser {
	t.Helper()
	b := browsertest.Open(t)
	complaints := b.Complaints()
	t.Cleanup(func() {
		if got := complaints(); len(got) > 0 {
			t.Errorf("the browser complains: %q", got)
		}
	})
	b.Go(s.url)
	return b
}

func withOneMore(v Approvals) Approvals {
	v.Waiting = append([]ApprovalLine{line("ap0", "drop_table", "destructive", "com.acme/postgres", "scraper", "Lea Novak", time.Minute)}, v.Waiting...)
	return v
}

// A request that arrives shows in the list; what a person types, and where they are, stays.
func TestTheQueueIsLive(t *testing.T) {
	t.Parallel()
	p := page("Approvals", "/approvals")
	s := staged(t, ApprovalsPage(p, queue()))
	b := watching(t, s)
	b.Until(`!document.querySelector("[data-live]").hidden`)
	browsertest.Eval[bool](b, `(() => { const r = document.getElementById("reason"); r.focus(); r.value = "half a sent"; r.setSelectionRange(4, 6); return true })()`)
	p.Waiting = 4
	s.change(ApprovalsPage(p, withOneMore(queue())), "approvals")
	b.Until(`document.getElementById("q-ap0")`)
	b.See("4 waiting")
	if got := browsertest.Eval[string](b, `(() => { const r = document.activeElement; return [r.id, r.value, r.selectionStart, r.selectionEnd].join() })()`); got != "reason,half a sent,4,6" {
		t.Errorf("the field under the person's hands became %q", got)
	}
	browsertest.Eval[bool](b, `(() => { document.getElementById("q-ap3").focus(); return true })()`)
	decided := queue()
	decided.Chosen.State, decided.Chosen.DecidedBy, decided.Chosen.MayDecide = "approved", "Ines Roth", false
	s.change(ApprovalsPage(p, decided), "approvals")
	b.See("Approved by Ines Roth")
	b.See("The list has changed") // a row less would move the one that has the focus
	if got := browsertest.Eval[string](b, `document.activeElement.id + " " + document.getElementById("reason").value`); got != "q-ap3 half a sent" {
		t.Errorf("after the second change: %q", got)
	}
}

// Somebody whose session ended gets the sign-in page for an answer. The list stays, and no longer claims to be live.
func TestAnAnswerWithoutTheListLeavesIt(t *testing.T) {
	t.Parallel()
	s := staged(t, ApprovalsPage(page("Approvals", "/approvals"), queue()))
	b := watching(t, s)
	b.Until(`!document.querySelector("[data-live]").hidden`)
	s.change(SignInPage(signIn()), "approvals")
	b.Until(`document.querySelector("[data-live]").hidden`)
	if !strings.Contains(b.Text(), "create_refund") {
		t.Errorf("the list is gone: %s", b.Text())
	}
}

// A discovery shows each step, and in the end the review; then it asks no more.
func TestTheDiscoveryIsLive(t *testing.T) {
	t.Parallel()
	p := page("Servers", "/servers")
	p.Focus = true
	s := staged(t, DiscoveryPage(p, looking()))
	b := watching(t, s)
	b.See("A gateway is looking")
	s.change(DiscoveryPage(p, lookDone()), "discovery-d1")
	b.See("5 items to review")
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		t.Error("the stream stays open")
	}
	asked := s.asked.Load()
	time.Sleep(4 * time.Second) // it used to ask every 3
	if got := s.asked.Load(); got != asked {
		t.Errorf("the finished page asked %d times more", got-asked)
	}
}

// A suspension is watched as it reaches each gateway; once all have it, the page asks no more.
func TestASuspensionIsLive(t *testing.T) {
	t.Parallel()
	p := page("Servers", "/servers")
	p.Focus = true
	v := serverTools()
	v.State, v.Review, v.Effects = "suspended", nil, effectsOf("SYNCED", "PENDING")
	s := staged(t, ServerPage(p, v))
	b := watching(t, s)
	b.See("In force on 1 of 2 gateways")
	v.Effects = effectsOf("SYNCED", "SYNCED")
	s.change(ServerPage(p, v), "gateways-srv1")
	b.See("In force on 2 gateways")
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		t.Error("the stream stays open")
	}
}

// A drift is decided with the keyboard alone: what is focused is what the eye comes to next, and the definition that
// was on the screen goes with the decision.
func TestDecidingDriftByKeyboard(t *testing.T) {
	t.Parallel()
	s := staged(t, DriftReviewPage(page("Drift", "/drift"), driftReview()))
	b := watching(t, s)
	order := browsertest.Eval[[]string](b, `[...document.querySelectorAll("form[action$='/decision'] :is(select, textarea, button)")].filter(e => e.tabIndex >= 0).map(e => e.value && e.name === "decision" ? e.value : e.name)`)
	if diff := cmp.Diff([]string{"risk", "reason", "hold", "block", "accept"}, order); diff != "" {
		t.Errorf("the way of the tab key (-want +got):\n%s", diff)
	}
	b.Fill("#reason", "Agreed with the publisher")
	b.Press(`button[value="hold"]`)
	want := url.Values{"csrf": {"csrf-of-priya"}, "definition": {driftReview().Served.ID}, "risk": {"destructive"}, "reason": {"Agreed with the publisher"}, "decision": {"hold"}}
	if diff := cmp.Diff(want, <-s.posted); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
}

func TestKeysMoveAndNeverDecide(t *testing.T) {
	t.Parallel()
	s := staged(t, ApprovalsPage(page("Approvals", "/approvals"), queue()))
	b := watching(t, s)
	press := func(key string) string {
		return browsertest.Eval[string](b, `(() => { (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", {key: "`+key+`", bubbles: true, cancelable: true}));
			const a = document.activeElement; return a.id || a.value || a.tagName })()`)
	}
	var got []string
	for _, key := range []string{"j", "J", "j", "j", "k", "a", "d", "x"} {
		got = append(got, press(key))
	}
	b.Click("[data-keys-switch]")
	got = append(got, press("a"))
	want := []string{"q-ap1", "q-ap2", "q-ap3", "q-ap3", "q-ap2", "approve", "deny", "deny", "BUTTON"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("focus (-want +got):\n%s", diff)
	}
	if len(s.posted) > 0 {
		t.Error("a key decided")
	}
}

func TestCopying(t *testing.T) {
	t.Parallel()
	s := staged(t, EnrolledPage(page("Gateways", "/gateways"), enrolled()))
	b := watching(t, s)
	b.Click(`[data-copy="client-secret"]`)
	b.Until(`/Copied|copy$/.test(document.querySelector('[data-copy="client-secret"]').innerText)`)
}

// Without scripts every form posts what it shows, and nothing waits for a script to appear.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	plainly := func(c templ.Component) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served(c).ServeHTTP(noScripts{w}, r)
		})
	}
	s := staged(t, SignInPage(signIn()))
	s.show(plainly(ApprovalsPage(page("Approvals", "/approvals"), queue())))
	b := browsertest.Open(t)
	b.Go(s.url)
	b.Fill("#reason", "Not on a Friday")
	b.Press(`button[value="deny"]`)
	want := url.Values{
		"csrf": {"csrf-of-priya"}, "version": {"3"}, "seen_digest": {digest}, "reason": {"Not on a Friday"}, "decision": {"deny"},
		"scope": {""}, "scope_uses": {"5"}, "scope_minutes": {"30"}, "seen_event": {"88202"},
	}
	if diff := cmp.Diff(want, <-s.posted); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
	s.show(plainly(DiscoveryPage(page("Servers", "/servers"), lookDone())))
	b.Go(s.url)
	b.Press("#pin")
	posted := <-s.posted
	if diff := cmp.Diff([]string{"def1", "def2", "def6"}, posted["pin"]); diff != "" || posted.Get("risk-def2") != "destructive" {
		t.Errorf("pinned (-want +got):\n%s", diff)
	}
	s.show(plainly(DriftReviewPage(page("Drift", "/drift"), driftReview())))
	b.Go(s.url)
	b.Fill("#reason", "Agreed")
	b.Press(`button[value="accept"]`)
	if posted := <-s.posted; posted.Get("definition") != driftReview().Served.ID || posted.Get("decision") != "accept" {
		t.Errorf("posted %v", posted)
	}
	s.show(plainly(ServerSettingsPage(page("Servers", "/servers"), serverSettings())))
	b.Go(s.url)
	b.Press("#move")
	if posted := <-s.posted; posted.Get("version") != "7" || posted.Get("transport") != "streamable_http" {
		t.Errorf("posted %v", posted)
	}
	if browsertest.Eval[bool](b, `!!window.htmx`) {
		t.Error("scripts ran after all")
	}
}

type noScripts struct{ http.ResponseWriter }

func (w noScripts) WriteHeader(status int) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'")
	w.ResponseWriter.WriteHeader(status)
}

func (w noScripts) Write(p []byte) (int, error) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'")
	return w.ResponseWriter.Write(p)
}
