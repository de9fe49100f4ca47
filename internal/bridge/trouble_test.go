package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/bridge"
)

// TestWhatPeopleAreTold: the log says once what is wrong and what to do next, and the client is told in an answer.
func TestWhatPeopleAreTold(t *testing.T) {
	t.Parallel()
	challenged := func(challenge string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", challenge)
			refuse(w, 401, -40302, "Not signed in.")
		}
	}
	asked := 0
	tests := map[string]struct {
		on     http.HandlerFunc // nil: nobody listens
		noKey  error
		logs   []string // once each
		answer string
	}{
		"a key that was ended": {
			challenged(`Bearer error="invalid_token", error_description="the key was ended"`), nil,
			[]string{"the gateway refused the credential", "the key was ended", "Access → Agents"},
			`Not signed in.`,
		},
		"a sign-in that is not enough": {
			challenged(`Bearer error="insufficient_user_authentication", error_description="A second factor is required", acr_values="phr"`), nil,
			[]string{"the gateway refused the credential", "A second factor is required", "sign in again"},
			`Not signed in.`,
		},
		"an address of something else": {http.NotFound, nil, []string{"what answers is no gateway", "status=404", "--gateway"}, "Nothing was executed"},
		"an address that leads on": {
			http.RedirectHandler("https://elsewhere.example/", http.StatusFound).ServeHTTP, nil,
			[]string{"what answers is no gateway", "status=302"},
			"Nothing was executed",
		},
		"nobody there": {nil, nil, []string{"the gateway was not reached", "--gateway"}, "cannot be reached. Nothing was executed"},
		"no credential": {
			challenged(""), errors.New("the identity provider answered 400"),
			[]string{"there is no credential for the gateway", "the identity provider answered 400", "--secret"},
			"There is no credential",
		},
		"something that passes": {
			func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked <= 1 {
					http.NotFound(w, r)
					return
				}
				answer(w, `{"jsonrpc":"2.0","id":2,"result":{}}`)
			}, nil, []string{"what answers is no gateway", "the gateway answers now"}, `"result":{}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, said := overheard(t, tt.on, tt.noKey)
			for _, want := range tt.logs {
				if strings.Count(log, want) != 1 {
					t.Errorf("%d times %q in\n%s", strings.Count(log, want), want, log)
				}
			}
			if !strings.Contains(said, tt.answer) || strings.Count(said, "\n") != 2 {
				t.Errorf("no %q in\n%s", tt.answer, said)
			}
			if strings.Contains(log+said, "t0p-secret") {
				t.Error("the credential is told")
			}
		})
	}
}

// overheard asks twice, one after the other, and gives the log and what the client was told.
func overheard(t *testing.T, on http.HandlerFunc, noKey error) (log, said string) {
	t.Helper()
	server := httptest.NewServer(on)
	defer server.Close()
	if on == nil {
		server.Close()
	}
	var logged, told locked
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	in, write := io.Pipe()
	done := make(chan error, 1)
	b := &bridge.Bridge{
		Endpoint: server.URL, Log: slog.New(slog.NewTextHandler(&logged, nil)), Patience: time.Millisecond,
		HTTP:  &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Token: func(context.Context, bool) (string, error) { return "t0p-secret", noKey },
	}
	go func() { done <- b.Run(context.Background(), in, &told) }()
	for n := range 2 {
		_, _ = io.WriteString(write, modern(fmt.Sprint(n+1), "ping", "")+"\n")
		for strings.Count(told.String(), "\n") <= n {
			time.Sleep(time.Millisecond)
		}
	}
	_ = write.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return logged.String(), told.String()
}

// TestClientThatIsGone: what cannot be written ends the bridge, with the session.
func TestClientThatIsGone(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			ended <- r.Header.Get("Mcp-Session-Id")
			return
		}
		w.Header().Set("Mcp-Session-Id", "s1")
		answer(w, `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}`)
	}))
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	in, write := io.Pipe()
	defer func() { _ = write.Close() }()
	go func() { _, _ = io.WriteString(write, hello+"\n") }() // and it never closes its side
	gone, out := io.Pipe()
	_ = gone.Close()
	b := &bridge.Bridge{
		Endpoint: server.URL, HTTP: &http.Client{Transport: transport}, Log: slog.New(slog.DiscardHandler),
		Token: func(context.Context, bool) (string, error) { return "t", nil },
	}
	if err := b.Run(t.Context(), in, out); err == nil || !strings.Contains(err.Error(), "writing to the client") {
		t.Errorf("it ended with %v", err)
	}
	if id := <-ended; id != "s1" {
		t.Errorf("the session that was closed is %q", id)
	}
}

// locked is a buffer for two.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
