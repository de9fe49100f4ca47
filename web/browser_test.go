package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/a-h/templ"

	"countersign/internal/browsertest"
)

// shown serves the stories at /0, /1, … as the server would: with the real headers and the real static files.
func shown(t *testing.T, all []story) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/static/", Static())
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(": open\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for i, s := range all {
		mux.Handle(fmt.Sprintf("GET /%d", i), served(s.page))
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

func served(page templ.Component) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", ContentSecurityPolicy)
		_ = page.Render(r.Context(), w)
	})
}

type screen struct {
	width  int
	scheme string
}

// screens are where story i is looked at: one that names a page by day on a desk and by night on a phone, its variants on
// the one and the other by turns.
func screens(i int, s story) []screen {
	desk, phone := screen{1280, "light"}, screen{390, "dark"}
	switch {
	case !strings.Contains(s.name, " "):
		return []screen{desk, phone}
	case i%2 == 0:
		return []screen{desk}
	}
	return []screen{phone}
}

// alike are the variants that show nothing which another story does not show the browser: what differs is words, and the
// tests that parse the pages read those.
var alike = map[string]bool{
	"usage month": true, "usage lone": true, "calls none": true, "calls closed": true, "unknown servers none": true,
	"alert rules reader": true, "alerts none": true, "prices none": true, "agents empty": true,
	"clients reader": true, "clients empty": true, "drift empty": true, "drift never looked": true, "drift filtered": true,
	"drift review reader": true, "drift review gone": true, "drift review calm": true, "drift review noted": true,
	"guardrails reader": true, "guardrails stopped": true, "guardrails empty": true, "guardrail form limit": true,
	"guardrail form nothing": true, "guardrail form budget": true, "guardrail form response": true,
	"import preview no team": true, "import preview nothing": true, "import preview stopped": true,
	"grants stopped": true, "grants empty": true, "grants none used": true, "grant form nothing": true, "grant form mistake": true,
	"policy empty": true, "policy one": true, "revisions empty": true, "revision first": true, "rollback nothing": true,
	"policy tests empty": true, "policy tests stopped": true, "access empty": true, "access nobody": true,
	"suspensions reader": true, "suspensions stopped": true, "suspensions empty": true,
	"server unseen": true, "server filtered": true, "server empty": true, "server versions empty": true, "server access closed": true,
	"server settings reader": true, "server settings retired": true, "sprawl later": true,
	"servers filtered": true, "servers empty": true, "discovery reader": true, "teams empty": true, "gateways empty": true,
}

const overflows = `document.documentElement.scrollWidth > innerWidth
	? [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .term, .vh")).slice(0, 5)
		.map(e => e.tagName + "." + e.className).concat(["the page is " + document.documentElement.scrollWidth + " wide"]) : []`

// Every page, on a desk and on a phone, by day and by night: axe finds nothing, nothing is wider than the
// window, and the content security policy has nothing to refuse.
func TestStoriesInABrowser(t *testing.T) {
	t.Parallel()
	all := stories()
	srv := shown(t, all)
	b := browsertest.Open(t)
	complaints := b.Complaints()
	for i, s := range all {
		if alike[s.name] {
			continue
		}
		b.Screen(1280, "light")
		b.Go(fmt.Sprintf("%s/%d", srv.URL, i))
		for _, screen := range screens(i, s) {
			b.Screen(screen.width, screen.scheme)
			b.Screenshot(fmt.Sprintf("%s-%d-%s", strings.ReplaceAll(s.name, " ", "-"), screen.width, screen.scheme))
			browsertest.Eval[bool](b, "scrollTo(0, 0), true") // a field that has the focus may have scrolled another under the bar
			for _, line := range b.Axe() {
				t.Errorf("%s, %d px, %s: %s", s.name, screen.width, screen.scheme, line)
			}
		}
		b.Screen(360, "light")
		if got := browsertest.Eval[[]string](b, overflows); len(got) > 0 {
			t.Errorf("%s overflows 360 px: %q", s.name, got)
		}
	}
	if got := complaints(); len(got) > 0 {
		t.Errorf("the browser complains: %q", got)
	}
}

// Hostile text breaks no layout either.
func TestHostileStoriesInABrowser(t *testing.T) {
	t.Parallel()
	all := hostileStories()
	srv := shown(t, all)
	b := browsertest.Open(t)
	complaints := b.Complaints()
	for i, s := range all {
		b.Go(fmt.Sprintf("%s/%d", srv.URL, i))
		for _, width := range []int{1280, 360} {
			b.Screen(width, "light")
			if got := browsertest.Eval[[]string](b, overflows); len(got) > 0 {
				t.Errorf("%s overflows %d px: %q", s.name, width, got)
			}
		}
	}
	if got := complaints(); len(got) > 0 {
		t.Errorf("the browser complains: %q", got)
	}
}

func TestOverflowIsSeen(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>t</title><p>" + strings.Repeat("W", 400)))
	}))
	t.Cleanup(srv.Close)
	b := browsertest.Open(t)
	b.Screen(360, "light")
	b.Go(srv.URL)
	if got := browsertest.Eval[[]string](b, overflows); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "the page is") }) {
		t.Errorf("a line of 400 letters is not seen: %q", got)
	}
}
