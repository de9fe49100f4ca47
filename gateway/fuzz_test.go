package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"countersign/canonical"
)

// FuzzMessage holds what the gateway accepts to a decoder that is not ours: nothing makes the scanner panic, and what it
// accepts says the same to encoding/json, with keys as they are.
func FuzzMessage(f *testing.F) {
	for _, r := range append(bodyRows(), numberRows()...) {
		if len(r.body) < 10_000 {
			f.Add([]byte(r.body))
		}
	}
	f.Add([]byte(`{"jsonrpc":"2.0","id":"a","result":{"_meta":{"progressToken":1}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := readMessage(raw)
		if err != nil {
			if e := (*rpcError)(nil); !errors.As(err, &e) {
				t.Fatalf("refused by a %T: %v", err, err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		var whole map[string]any
		if err := decoder.Decode(&whole); err != nil {
			t.Fatalf("accepted %q, which is no JSON: %v", raw, err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			t.Fatalf("accepted %q, which goes on", raw)
		}
		if method, _ := whole["method"].(string); method != m.method {
			t.Errorf("%q has the method %q, and was read as %q", raw, method, m.method)
		}
		params, _ := whole["params"].(map[string]any)
		sameMembers(t, params, m.params)
		for key := range params {
			for _, known := range paramFields {
				if key != known && strings.EqualFold(key, known) {
					t.Errorf("%q was accepted with %q", raw, key)
				}
			}
		}
	})
}

// sameMembers requires that members are those of an object that another decoder read.
func sameMembers(t *testing.T, object map[string]any, members []canonical.Member) {
	t.Helper()
	if len(members) != len(object) {
		t.Fatalf("%d members, want %d", len(members), len(object))
	}
	for _, m := range members {
		decoder := json.NewDecoder(bytes.NewReader(m.Value))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil || !reflect.DeepEqual(value, object[m.Key]) {
			t.Errorf("%q is %s, want %v", m.Key, m.Value, object[m.Key])
		}
	}
}

// readEvent is an event as a browser has it.
type readEvent struct{ kind, id, data string }

// browserEvents reads events as the HTML standard has it, in a way that shares nothing with ours: all at once.
func browserEvents(stream string) (found []readEvent) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	var e readEvent
	var data []string
	for line := range strings.SplitSeq(stream, "\n") {
		if line == "" {
			if len(data) > 0 {
				e.data = strings.Join(data, "\n")
				found = append(found, e)
			}
			e, data = readEvent{id: e.id}, nil
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			e.kind = value
		case "id":
			if !strings.Contains(value, "\x00") {
				e.id = value
			}
		case "data":
			data = append(data, value)
		}
	}
	return found
}

// FuzzBrowserEvents holds our reader of server-sent events to another one: a browser that reads what we write sees the events of
// the server, in any pieces that they come in.
func FuzzBrowserEvents(f *testing.F) {
	for _, seed := range []string{
		"data: {}\n\n", "id: 1\nevent: message\ndata: a\ndata: b\n\n", "\ufeffdata: x\r\rdata: y\r\n\r\n", ": comment\n\nid\n\ndata\n\n",
		"data:x\ndata: \n\n", "retry: 10\nid: 7\ndata: \n\n", "Data: no\ndata : no\ndata: yes\n\n", "data: a\rdata: b\n\r\n", "id: \x00\ndata: z\n\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		want := browserEvents(stream + "\n\n")
		through := newFilteredStream(io.NopCloser(strings.NewReader(stream)), func(data []byte) []byte { return data })
		written, err := io.ReadAll(through)
		if err != nil {
			t.Fatalf("reading %q: %v", stream, err)
		}
		if got := browserEvents(string(written)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q was passed on as %q:\ngot  %q\nwant %q", stream, written, got, want)
		}
	})
}

func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"one line":   "data: " + strings.Repeat("x", maxEvent),
		"many lines": strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", maxEvent>>20+1),
		"comments":   strings.Repeat(": "+strings.Repeat("x", 1<<20)+"\n", maxEvent>>20+1),
	} {
		if _, err := newEvents(strings.NewReader(stream)).next(); !errors.Is(err, errEventTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
