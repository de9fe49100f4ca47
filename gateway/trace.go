package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"countersign/client"
	"countersign/internal/secret"
	"countersign/policy"
)

// Traces says where spans of calls go, by OTLP over HTTP. They carry names that the policy knows, what was decided and
// sizes, but no arguments, no results and nobody's name.
type Traces struct {
	Endpoint string                   `yaml:"endpoint"` // base of the receiver's address: /v1/traces is added. "": no traces
	Headers  map[string]secret.Source `yaml:"headers"`
	Sample   *float64                 `yaml:"sample"` // share of the traces that begin here, from 0 to 1; none: all. A caller's own choice is kept
}

// validate says everything that is wrong with t.
func (t Traces) validate() error {
	if t.Endpoint == "" {
		return nil
	}
	var errs []error
	if !absolute(t.Endpoint) {
		errs = append(errs, errors.New("traces: endpoint must be an http or https URL"))
	}
	if t.Sample != nil && !(*t.Sample >= 0 && *t.Sample <= 1) {
		errs = append(errs, errors.New("traces: sample must be from 0 to 1"))
	}
	for name, source := range t.Headers {
		if err := source.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("traces: header %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// flushTime is what the last spans get when a gateway stops.
const flushTime = 2 * time.Second

// tracing makes spans and sends them, in batches and behind the calls: a receiver that is slow or gone costs spans, and no
// call anything. nil makes none.
type tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// sayOnce has what OpenTelemetry complains of in a log of ours; it has one place for that in a process.
var sayOnce sync.Once

func newTracing(ctx context.Context, t Traces, instance string, log *slog.Logger) (*tracing, error) {
	if t.Endpoint == "" {
		return nil, nil //nolint:nilnil // none is meant
	}
	headers := http.Header{}
	for name, source := range t.Headers {
		value, err := source.Read()
		if err != nil {
			return nil, fmt.Errorf("reading header %q of traces: %w", name, err)
		}
		headers.Set(name, value)
	}
	exporter, err := otlptrace.New(ctx, newTraceClient(strings.TrimSuffix(t.Endpoint, "/")+"/v1/traces", headers))
	if err != nil {
		return nil, fmt.Errorf("preparing to send traces: %w", err)
	}
	sayOnce.Do(func() {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces were not sent", slog.Any("error", err)) }))
	})
	share := 1.0
	if t.Sample != nil {
		share = *t.Sample
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(share))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "countersign-gateway"), attribute.String("service.instance.id", instance))))
	return &tracing{provider: provider, tracer: provider.Tracer("countersign/gateway")}, nil
}

// close sends what is left, within a moment.
func (t *tracing) close(ctx context.Context, log *slog.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		log.Warn("the last traces were not sent", slog.Any("error", err))
	}
}

// startSpan begins the span of a message, as a part of the caller's trace if it is in one.
func (x *exchange) startSpan() {
	if x.g.traces == nil {
		return
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), x.callerTrace())
	x.traced, x.span = x.g.traces.tracer.Start(ctx, spanMethod(x.message.method), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(x.log.began))
}

// spanMethod is a method that the gateway knows: others are whatever a caller likes.
func spanMethod(method string) string {
	if _, known := methods[method]; known && method != "" {
		return method
	}
	return "other"
}

// startHop begins the span of what goes to the server. The server gets its context; end ends it.
func (x *exchange) startHop() (end func()) {
	if x.span == nil {
		return func() {}
	}
	ctx, span := x.g.traces.tracer.Start(x.traced, "upstream", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("countersign.server", x.name), attribute.String("countersign.transport", x.server.Endpoint.Transport)))
	before := x.traced
	x.traced = ctx
	return func() {
		if x.log.broken {
			span.SetStatus(codes.Error, "no answer")
		}
		span.End()
		x.traced = before
	}
}

// traceparent is the context of the span that is open, for the server; "" leaves the caller's.
func (x *exchange) traceparent() string {
	if x.span == nil {
		return ""
	}
	sc := trace.SpanContextFromContext(x.traced)
	return fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
}

// endSpan says what became of the message. r is its record, nil for one that uses nothing governed.
func (x *exchange) endSpan(r *client.CallRecord) {
	if x.span == nil {
		return
	}
	said := []attribute.KeyValue{attribute.String("mcp.method.name", spanMethod(x.message.method))}
	if x.server != nil {
		said = append(said, attribute.String("countersign.server", x.name))
	}
	if x.snapshot != nil {
		said = append(said, attribute.Int64("countersign.policy.epoch", x.snapshot.Epoch), attribute.Int64("countersign.policy.revision", x.snapshot.Revision))
	}
	if r != nil {
		said = append(said, x.spanOf(r)...)
	}
	x.span.SetAttributes(said...)
	x.span.End()
}

// spanOf is what a record says, but for who called.
func (x *exchange) spanOf(r *client.CallRecord) []attribute.KeyValue {
	said := []attribute.KeyValue{
		attribute.String("countersign.decision", string(r.Decision)), attribute.String("countersign.reason", r.Reason),
		attribute.Int64("countersign.request.bytes", r.RequestBytes), attribute.Int64("countersign.response.bytes", r.ResponseBytes),
		attribute.Int("countersign.filtered", r.Filtered), attribute.Bool("countersign.tool_error", r.ToolError),
	}
	if x.log.known {
		x.span.SetName(spanMethod(x.message.method) + " " + r.Tool)
		said = append(said, attribute.String(map[policy.Kind]string{
			policy.KindTool: "gen_ai.tool.name", policy.KindPrompt: "gen_ai.prompt.name", policy.KindResource: "mcp.resource.uri",
		}[r.Kind], r.Tool))
	}
	if x.log.approval != "" {
		said = append(said, attribute.String("countersign.approval", x.log.approval), attribute.Int64("countersign.waited_ms", x.log.waited.Milliseconds()))
	}
	if r.Decision == client.FailedCall {
		x.span.SetStatus(codes.Error, r.Reason)
	}
	return said
}
