package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func got(t *testing.T, address string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	r.Header = header
	w := httptest.NewRecorder()
	Static().ServeHTTP(w, r)
	return w.Result()
}

func TestStaticFiles(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]string{
		"app.css": "text/css", "app.js": "javascript", "icons.svg": "image/svg+xml", "favicon.svg": "image/svg+xml", "htmx.min.js": "javascript", "hx-sse.min.js": "javascript",
	} {
		want, err := static.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		plainly, zipped := got(t, Asset(name), http.Header{}), got(t, Asset(name), http.Header{"Accept-Encoding": {"br, gzip"}})
		for _, resp := range []*http.Response{plainly, zipped} {
			h := resp.Header
			if resp.StatusCode != http.StatusOK || !strings.Contains(h.Get("Content-Type"), kind) || !strings.Contains(h.Get("Cache-Control"), "immutable") || h.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s: %d %v", name, resp.StatusCode, h)
			}
		}
		body, err := io.ReadAll(plainly.Body)
		if err != nil || !bytes.Equal(body, want) || plainly.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s as it is: %d bytes, want %d, %v", name, len(body), len(want), err)
		}
		r, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatalf("%s compressed: %v", name, err)
		}
		if body, err = io.ReadAll(r); err != nil || !bytes.Equal(body, want) || zipped.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s compressed: %d bytes, want %d, %v", name, len(body), len(want), err)
		}
	}
	for _, address := range []string{"/static/app.css", "/static/", "/static/../assets.go", "/static/app.000000000000.css", "/app.css"} {
		if resp := got(t, address, http.Header{}); resp.StatusCode != http.StatusNotFound || strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", address, resp.StatusCode, resp.Header)
		}
	}
}

// What a first visit loads, compressed: the page with the most to show, and every file it names.
func TestWeight(t *testing.T) {
	t.Parallel()
	sum := 0
	for _, s := range stories() {
		source := rendered(t, s.page)
		total := len(compress([]byte(source)))
		named := map[string]bool{}
		for _, n := range elements(parsed(t, source), tagged("script", "link", "use")) {
			for _, name := range []string{"src", "href"} {
				if address, ok := attr(n, name); ok {
					named[strings.Split(address, "#")[0]] = true
				}
			}
		}
		for address := range named {
			resp := got(t, address, http.Header{"Accept-Encoding": {"gzip"}})
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s names %s: %d %v", s.name, address, resp.StatusCode, err)
			}
			total += len(body)
		}
		sum = max(sum, total)
	}
	if sum > 80<<10 {
		t.Errorf("the heaviest page is %d bytes with all its files, want at most 80 KB", sum)
	}
	if css := len(assets["app.css"].gzipped); css > 10<<10 {
		t.Errorf("the stylesheet is %d bytes compressed, want at most 10 KB", css)
	}
	t.Logf("heaviest page with its files: %d bytes, stylesheet %d, compressed", sum, len(assets["app.css"].gzipped))
}

// htmx is shipped as it was published, without the comment that leads to a source map we do not ship.
func TestHtmxIsAsPublished(t *testing.T) {
	t.Parallel()
	comment := regexp.MustCompile(`(?m)^//# sourceMappingURL=.*$`)
	for ours, theirs := range map[string]string{"htmx.min.js": "htmx.min.js", "hx-sse.min.js": "ext/hx-sse.min.js"} {
		published, err := os.ReadFile(filepath.Join("..", "node_modules", "htmx.org", "dist", theirs))
		if err != nil {
			t.Fatalf("run make setup first: %v", err)
		}
		shipped, err := static.ReadFile("static/" + ours)
		if err != nil {
			t.Fatal(err)
		}
		if want := bytes.TrimSpace(comment.ReplaceAll(published, nil)); !bytes.Equal(bytes.TrimSpace(shipped), want) {
			t.Errorf("%s is not what htmx.org publishes: %d bytes, want %d", ours, len(shipped), len(want))
		}
	}
}

// Every icon that a page uses is in the sprite, and every icon of the sprite is used by some page.
func TestIcons(t *testing.T) {
	t.Parallel()
	used, drawn := map[string]bool{}, map[string]bool{}
	for _, s := range append(stories(), hostileStories()...) {
		for _, n := range elements(parsed(t, rendered(t, s.page)), tagged("use")) {
			address, _ := attr(n, "href")
			_, name, _ := strings.Cut(address, "#")
			used[name] = true
		}
	}
	sprite, err := static.ReadFile("static/icons.svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range elements(parsed(t, string(sprite)), func(n *html.Node) bool { return n.Data == "symbol" }) {
		id, _ := attr(n, "id")
		drawn[id] = true
	}
	for name := range used {
		if !drawn[name] {
			t.Errorf("icon %q is not in the sprite", name)
		}
	}
	for name := range drawn {
		if !used[name] {
			t.Errorf("icon %q is in the sprite and no page uses it", name)
		}
	}
}
