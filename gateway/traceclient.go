package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traceClient posts spans as OTLP over HTTP has them. The one of OpenTelemetry brings all of gRPC with it.
type traceClient struct {
	endpoint string
	headers  http.Header
	http     *http.Client
	pause    time.Duration // before the second attempt; twice that before the third
}

var _ otlptrace.Client = (*traceClient)(nil)

const (
	traceTime     = 10 * time.Second
	traceAttempts = 3
)

func newTraceClient(endpoint string, headers http.Header) *traceClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return &traceClient{endpoint, headers, &http.Client{Transport: transport, Timeout: traceTime, CheckRedirect: noRedirect}, 500 * time.Millisecond}
}

// Start has nothing to do: each batch is a request by itself.
func (c *traceClient) Start(context.Context) error { return nil }

// Stop closes what is idle.
func (c *traceClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends one batch. A receiver that has no time gets it again, twice at most: what is lost is spans.
func (c *traceClient) UploadTraces(ctx context.Context, batch []*spans.ResourceSpans) error {
	body, err := proto.Marshal(&spans.TracesData{ResourceSpans: batch}) // the same bytes as an ExportTraceServiceRequest
	if err != nil {
		return fmt.Errorf("encoding spans: %w", err)
	}
	for attempt := 1; ; attempt++ {
		again, err := c.post(ctx, body)
		if err == nil || !again || attempt == traceAttempts {
			return err
		}
		select {
		case <-time.After(c.pause << (attempt - 1)):
		case <-ctx.Done():
			return err
		}
	}
}

// post reports whether what went wrong may be over soon.
func (c *traceClient) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header = c.headers.Clone()
	req.Header.Set("Content-Type", "application/x-protobuf")
	res, err := c.http.Do(req)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	if res.StatusCode/100 != 2 {
		err = fmt.Errorf("the receiver answers %d", res.StatusCode)
	}
	return again, err
}
