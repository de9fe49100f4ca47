package egress

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"time"
)

// Transport is HTTP to permitted addresses: no proxy from the environment, which would dial for us and resolve
// names behind our back, and nothing decompressed.
func (g Guard) Transport() *http.Transport {
	return &http.Transport{
		DialContext: g.Dialer().DialContext, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConns: 1000, MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}

// Client sends to addresses that people typed. It follows no redirect: the answer that asks for one is the answer.
// A request is over, body and all, within the timeout. roots are the authorities that are believed; nil: those of
// the system.
func (g Guard) Client(timeout time.Duration, roots *x509.CertPool) *http.Client {
	transport := g.Transport()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	transport.MaxIdleConnsPerHost, transport.IdleConnTimeout = 4, 30*time.Second
	return &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Drain reads a little of a body that nobody needs, so that the connection can be used again, and closes it.
func Drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4<<10) // an answer that breaks off is of no interest
	_ = body.Close()
}
