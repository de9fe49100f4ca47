package browsertest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestBrowser(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src 'self'")
		if r.Method == http.MethodPost {
			_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>done</title><main><h1>Hello ` + r.FormValue("name") + `</h1></main><script>alert(1)</script>`))
			return
		}
		_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>form</title><main><h1>Form</h1><form method="post"><input id="name" name="name"><button>Send</button></form></main>`))
	}))
	t.Cleanup(srv.Close)
	b := Open(t)
	complaints := b.Complaints()
	b.Screen(390, "dark")
	b.Go(srv.URL)
	if got := Eval[bool](b, `matchMedia("(prefers-color-scheme: dark)").matches && innerWidth === 390`); !got {
		t.Error("the screen is not dark and narrow")
	}
	if got := b.Axe(); !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, "label:") }) {
		t.Errorf("axe does not see the field without a label: %q", got)
	}
	b.Fill("#name", "Ada")
	b.Press("button")
	b.See("Hello Ada")
	b.Until("true")
	if got := complaints(); !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "Content Security Policy") }) {
		t.Errorf("the refused script is not among the complaints: %q", got)
	}
}
