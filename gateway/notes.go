package gateway

import "sync/atomic"

// notes are messages of a process that wait for a caller, bounded in number and in bytes: where there is no room, the newest
// is dropped. One finds room in an empty queue however long it is.
type notes struct {
	queue chan []byte
	bytes atomic.Int64
}

// noteBytes is how much waits at most, but for the first.
const noteBytes = 4 << 20

func newNotes(most int) *notes { return &notes{queue: make(chan []byte, most)} }

func (n *notes) put(line []byte) {
	size := int64(len(line))
	if now := n.bytes.Add(size); now > noteBytes && now > size {
		n.bytes.Add(-size)
		return
	}
	select {
	case n.queue <- line:
	default:
		n.bytes.Add(-size)
	}
}

// took is told of each that was taken from the queue.
func (n *notes) took(line []byte) []byte {
	n.bytes.Add(-int64(len(line)))
	return line
}
