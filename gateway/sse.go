package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
)

// maxEvent bounds one server-sent event, and every other answer of an upstream that is held in memory.
const maxEvent = 32 << 20

var errEventTooLong = errors.New("the server sent an event longer than 32 MiB")

// events reads server-sent events as browsers do: CR, LF and CRLF all end a line, and a byte order mark at the
// start is no part of it. Whoever reads what we write sees the events that we saw.
type events struct {
	r       *bufio.Reader
	started bool
	cr      bool // the last line ended in CR: an LF now belongs to it
}

// event is one event: its lines but for data, and the data, joined.
type event struct {
	lines   [][]byte // event:, id:, retry:, comments, in order
	data    []byte
	hasData bool
}

func newEvents(r io.Reader) *events { return &events{r: bufio.NewReaderSize(r, 32<<10)} }

// next returns the next event. The end of the stream also ends an event.
func (s *events) next() (event, error) {
	var e event
	size := 0
	for {
		line, err := s.line(maxEvent - size)
		size += len(line)
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			if errors.Is(err, io.EOF) && (e.hasData || len(e.lines) > 0) {
				return e, nil
			}
			return event{}, err
		}
		if len(line) == 0 {
			if e.hasData || len(e.lines) > 0 {
				return e, nil
			}
			continue
		}
		e.add(line)
	}
}

func (e *event) add(line []byte) {
	value, isData := bytes.CutPrefix(line, []byte("data:"))
	if !isData && !bytes.Equal(line, []byte("data")) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "event", "id", "retry", "": // "" is a comment; other fields have no meaning, so they do not pass
			e.lines = append(e.lines, line)
		}
		return
	}
	if !isData {
		value = nil
	}
	value = bytes.TrimPrefix(value, []byte(" "))
	if e.hasData {
		e.data = append(e.data, '\n')
	}
	e.data, e.hasData = append(e.data, value...), true
}

// line reads one line without its end.
func (s *events) line(limit int) ([]byte, error) {
	var line []byte
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return line, err
		}
		after := s.cr
		s.cr = c == '\r'
		switch {
		case c == '\n' && after:
			continue
		case c == '\n' || c == '\r':
			return s.first(line), nil
		}
		if len(line) >= limit {
			return nil, errEventTooLong
		}
		line = append(line, c)
	}
}

// first takes the byte order mark off the first line.
func (s *events) first(line []byte) []byte {
	if s.started {
		return line
	}
	s.started = true
	return bytes.TrimPrefix(line, []byte("\ufeff"))
}

// invites reports whether the event says that the stream may end before the answer: it can be resumed behind an id, and
// who is told when to come back is expected back.
func (e *event) invites() bool {
	return slices.ContainsFunc(e.lines, func(line []byte) bool {
		return bytes.HasPrefix(line, []byte("id:")) || bytes.HasPrefix(line, []byte("retry:"))
	})
}

// append writes the event.
func (e *event) append(dst []byte) []byte {
	for _, line := range e.lines {
		dst = append(append(dst, line...), '\n')
	}
	if e.hasData {
		for line := range bytes.SplitSeq(e.data, []byte("\n")) {
			dst = append(append(append(dst, "data: "...), line...), '\n')
		}
	}
	return append(dst, '\n')
}

// filteredStream rewrites a stream of events on its way to a caller.
type filteredStream struct {
	body   io.ReadCloser
	events *events
	// filter returns the data to pass on; nil drops the event.
	filter  func(data []byte) []byte
	pending []byte
	err     error

	resumable bool // who loses the stream may ask for the rest
}

func newFilteredStream(body io.ReadCloser, filter func([]byte) []byte) *filteredStream {
	return &filteredStream{body: body, events: newEvents(body), filter: filter}
}

// Read gives out whole events.
func (s *filteredStream) Read(p []byte) (int, error) {
	for len(s.pending) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		e, err := s.events.next()
		if err != nil {
			s.err = err
			continue
		}
		s.resumable = s.resumable || e.invites()
		if e.hasData && len(e.data) > 0 {
			if e.data = s.filter(e.data); e.data == nil {
				continue
			}
		}
		s.pending = e.append(s.pending[:0])
	}
	n := copy(p, s.pending)
	s.pending = s.pending[n:]
	return n, nil
}

// Close ends the stream.
func (s *filteredStream) Close() error { return s.body.Close() }
