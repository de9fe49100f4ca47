package gateway

import (
	"io"
	"net/http"
)

// timedTransport measures how long exchanges wait for their servers: from handing over the request to the last byte of the
// answer, without the time in which we, or a slow caller, make the server wait.
type timedTransport struct{ next http.RoundTripper }

// RoundTrip measures until the header of the answer is there; its body measures itself.
func (t timedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	began := x.g.now()
	res, err := t.next.RoundTrip(r)
	x.log.upstream += x.g.now().Sub(began)
	if err != nil {
		return nil, err
	}
	res.Body = &timedBody{res.Body, x}
	return res, nil
}

// timedBody is the body of an answer. The proxy reads it where it serves the exchange, so nobody else writes the log.
type timedBody struct {
	io.ReadCloser

	x *exchange
}

// Read measures how long it waits.
func (b *timedBody) Read(p []byte) (int, error) {
	began := b.x.g.now()
	n, err := b.ReadCloser.Read(p)
	b.x.log.upstream += b.x.g.now().Sub(began)
	return n, err
}
