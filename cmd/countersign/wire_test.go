package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// wire is what lies between everybody and the control plane: its public address. A test may cut it at one request.
type wire struct {
	url string

	mu  sync.Mutex
	to  *url.URL // the replica, if one is up
	cut map[string]cut
}

// cut is what happens to the next request with that ending of its path. forward sends it and keeps the answer to itself;
// the test says whether to pass it on.
type cut func(forward func()) (answer bool)

func layWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{cut: map[string]cut{}}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(w.target())
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // nobody is there
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := w.next(r.URL.Path)
		if c == nil {
			proxy.ServeHTTP(rw, r)
			return
		}
		kept := httptest.NewRecorder()
		if !c(func() { proxy.ServeHTTP(kept, r) }) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(rw.Header(), kept.Header())
		rw.WriteHeader(kept.Code)
		_, _ = rw.Write(kept.Body.Bytes()) // whoever left needs no answer
	}))
	server.Config.ErrorLog = quiet
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	w.url = server.URL
	return w
}

func (w *wire) target() *url.URL {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to
}

// leadTo says where the replica is.
func (w *wire) leadTo(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = &url.URL{Scheme: "http", Host: address}
}

// cutAt does c at the next request to a path with that ending.
func (w *wire) cutAt(ending string, c cut) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[ending] = c
}

func (w *wire) next(path string) cut {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ending, c := range w.cut {
		if strings.HasSuffix(path, ending) {
			delete(w.cut, ending)
			return c
		}
	}
	return nil
}
