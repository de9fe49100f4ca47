// Package web is what the console looks like: templ components and pages, one stylesheet, one icon sprite, one
// small script. It knows nothing of HTTP handlers, databases or domains: a page takes a struct of plain values
// and writes HTML.
//
//	page_*.templ    a page and, beside it in view_*.go, the struct it shows
//	layout.templ    the frame: navigation, person, flash
//	parts.templ     badges, fields, times, hostile text
//	static/         app.css, app.js, icons.svg, and htmx (0BSD) with its SSE extension, as published
//
// Rules: every string from a server, an agent or a person goes through [Visible] or templ's escaping, never into
// a link, an attribute that acts, or raw HTML. No style attributes and no inline scripts: the content security
// policy forbids them. Every decision works without JavaScript.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:generate go run ./internal/sprite

//go:embed static
var static embed.FS

// ContentSecurityPolicy is sent with every answer. Nothing is loaded from elsewhere, nothing runs inline, and no
// site may frame a page with an Approve button.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

type asset struct {
	address     string
	contentType string
	plain       []byte
	gzipped     []byte
}

var assets = loadAssets()

func loadAssets() map[string]asset {
	all := map[string]asset{}
	files, err := fs.ReadDir(static, "static")
	if err != nil {
		return all // go:embed guarantees the folder
	}
	for _, f := range files {
		data, err := static.ReadFile("static/" + f.Name())
		if err != nil {
			continue
		}
		sum := sha256.Sum256(data)
		ext := path.Ext(f.Name())
		all[f.Name()] = asset{
			address:     "/static/" + strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext,
			contentType: mime.TypeByExtension(ext), plain: data, gzipped: compress(data),
		}
	}
	return all
}

func compress(data []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil
	}
	if _, err := w.Write(data); err != nil || w.Close() != nil {
		return nil
	}
	return out.Bytes()
}

// Asset is the address of a static file; it changes with the content, so browsers may keep it for ever.
func Asset(name string) string { return assets[name].address }

// Static serves the static files by their addresses.
func Static() http.Handler {
	byAddress := map[string]asset{}
	for _, a := range assets {
		byAddress[a.address] = a
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := byAddress[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.contentType)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Vary", "Accept-Encoding")
		body := a.plain
		if a.gzipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = a.gzipped
		}
		_, _ = w.Write(body) // the reader may have gone
	})
}
