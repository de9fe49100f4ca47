package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAddedLatency prints the p50 of a call through the gateway beside that of the same call without it, over
// one connection each, in the same run. It judges the answers, never the times. Other tests would disturb it, so it
// is not parallel.
func TestAddedLatency(t *testing.T) {
	s := newStand(t, nil).open()
	s.gateway.log = slog.New(slog.DiscardHandler)
	answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"` + strings.Repeat("x", 500) + `"}]}}`)
	fixed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	defer fixed.Close()
	s.source.Servers[0].Endpoint.URL = fixed.URL
	s.publish()
	token := s.idp.token("ada")
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"update_order","arguments":{"id":"o-1001","note":"hello"},` + modernMeta + `}}`
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	call := func(url string) time.Duration {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = modernHeader("tools/call", "update_order")
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		began := time.Now()
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || len(got) != len(answer) {
			t.Fatalf("got %s %v", got, err)
		}
		_ = res.Body.Close()
		return time.Since(began)
	}
	var direct, proxied []time.Duration
	for range 500 {
		direct = append(direct, call(fixed.URL))
		proxied = append(proxied, call(s.url()))
	}
	p50 := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2]
	}
	t.Logf("p50: direct %s, through the gateway %s, added %s", p50(direct), p50(proxied), p50(proxied)-p50(direct))
}
