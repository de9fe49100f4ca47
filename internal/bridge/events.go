package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// maxRetry is the longest that a stream may ask us to wait before connecting again.
const maxRetry = 30 * time.Second

var errLongEvent = errors.New("the gateway sent an event that is too long")

// eventReader reads server-sent events.
type eventReader struct {
	lines *bufio.Reader
	last  string        // id of the last event that was whole
	retry time.Duration // what the stream asks for; 0: nothing
}

func newEventReader(r io.Reader) *eventReader {
	return &eventReader{lines: bufio.NewReaderSize(r, 32<<10)}
}

// next returns the data of the next event that has any. An event that the stream's end cut off is none.
func (e *eventReader) next() ([]byte, error) {
	var data []byte
	id, hasData := e.last, false
	for {
		line, err := e.line(maxMessage - len(data))
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			e.last = id
			if hasData && len(data) > 0 {
				return data, nil
			}
			data, hasData = nil, false
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
			if hasData {
				data = append(data, '\n')
			}
			data, hasData = append(data, value...), true
		case "id":
			if !bytes.ContainsRune(value, 0) && len(value) <= 1024 {
				id = string(value)
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				e.retry = min(time.Duration(ms)*time.Millisecond, maxRetry)
			}
		}
	}
}

// line reads one line without its end.
func (e *eventReader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, more, err := e.lines.ReadLine()
		if err != nil {
			return nil, err
		}
		if line = append(line, part...); len(line) > limit {
			return nil, errLongEvent
		}
		if !more {
			return line, nil
		}
	}
}
