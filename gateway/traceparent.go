package gateway

import (
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// parseTraceparent reads a traceparent of W3C Trace Context, strictly. What does not have the exact form is none: it would
// else carry whatever a caller likes into records and traces.
func parseTraceparent(s string) (sc trace.SpanContext, ok bool) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < length || len(s) > 128 || s[:2] == "ff" || s[:2] == "00" && len(s) != length || len(s) > length && s[length] != '-' {
		return trace.SpanContext{}, false
	}
	parts := strings.Split(s[:length], "-")
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 || !lowerHex(parts[0]) || !lowerHex(parts[3]) {
		return trace.SpanContext{}, false
	}
	traceID, err := trace.TraceIDFromHex(parts[1]) // refuses upper case and zero
	if err != nil {
		return trace.SpanContext{}, false
	}
	spanID, err := trace.SpanIDFromHex(parts[2])
	if err != nil {
		return trace.SpanContext{}, false
	}
	flags := trace.TraceFlags(0)
	if strings.IndexByte("13579bdf", parts[3][1]) >= 0 {
		flags = trace.FlagsSampled
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: flags, Remote: true}), true
}

func lowerHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// callerTrace is the trace that the caller's request belongs to: as _meta says it (SEP-414), which is closer to the call
// than the header, which some proxy may have set. Without either it is not valid.
func (x *exchange) callerTrace() trace.SpanContext {
	if text, ok := metaText(x.message, "traceparent"); ok {
		if sc, ok := parseTraceparent(text); ok {
			return sc
		}
	}
	values := x.r.Header.Values("Traceparent")
	if len(values) != 1 {
		return trace.SpanContext{}
	}
	sc, _ := parseTraceparent(values[0])
	return sc
}
