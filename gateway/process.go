package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"countersign/canonical"
)

// Bounds of a process.
const (
	stopGrace    = 2 * time.Second  // to end by itself once its input is closed
	writeTime    = 10 * time.Second // to take a line: one that takes none is of no use
	flightNotes  = 64               // messages about a request that wait for its caller
	defaultStart = 30 * time.Second // to give its first answer
)

var (
	errProcess = errors.New("the server's process could not be started, or ended before it was sent anything")
	errDied    = errors.New("the server's process ended before it answered: whether the request was carried out is not known")
	errSlow    = errors.New("the server's process gave no answer in the time it has to start")
	errStuck   = errors.New("the server's process takes no input: whether the request was carried out is not known")
)

// process is a stdio server that runs: one JSON message a line, in and out.
//
// Requests get ids of our own, and so do their progress tokens, so that callers who chose the same do not meet; answers
// and what is said about a request meanwhile get theirs back, and go to that request alone.
type process struct {
	cmd     *exec.Cmd
	box     *boxed
	input   *os.File
	log     *slog.Logger
	done    chan struct{} // closed when it has ended and been waited for
	heard   func(line []byte)
	ended   func(*process)
	asked   atomic.Bool   // to end, by us
	garbage *rate.Limiter // of what is logged about lines that are none
	spoken  chan struct{} // closed with its first answer
	speak   sync.Once

	writing sync.Mutex

	mu      sync.Mutex
	next    int64
	flights map[int64]*flight
	gone    bool
}

// flight is a request that a process was sent and has not answered.
type flight struct {
	ours   int64
	theirs json.RawMessage // the caller's id
	token  json.RawMessage // the caller's progress token; nil: none
	stream bool            // it is answered by a stream
	answer chan []byte     // closed when the process ends
	said   *notes          // what is said about it meanwhile
}

// startProcess starts a command of the configuration in a process group of its own, with nothing of our environment but
// the variables that the configuration names, in its sandbox. heard is told of what is neither an answer nor about a
// request, ended that it ended by itself or was ended.
func startProcess(c Command, stderr io.Writer, log *slog.Logger, heard func(line []byte), ended func(*process)) (*process, error) {
	box, err := c.boxed()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(box.argv[0], box.argv[1:]...) //nolint:gosec,noctx // the operator's own command line; stop ends it
	cmd.Dir = box.dir
	cmd.Env = []string{}
	for _, name := range box.env {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = stopGrace
	theirs, input, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProcess, err)
	}
	defer func() { _ = theirs.Close() }() // the process has its own
	output, err := cmd.StdoutPipe()
	if err != nil {
		_ = input.Close() // unused
		return nil, fmt.Errorf("%w: %w", errProcess, err)
	}
	p := &process{
		cmd: cmd, box: box, input: input, log: log, heard: heard, ended: ended,
		garbage: rate.NewLimiter(rate.Every(time.Minute), 10),
		done:    make(chan struct{}), spoken: make(chan struct{}), flights: map[int64]*flight{},
	}
	cmd.Stdin, cmd.Stderr = theirs, stderr
	if err := cmd.Start(); err != nil {
		_ = input.Close() // unused
		return nil, fmt.Errorf("%w: %w", errProcess, err)
	}
	go p.read(output)
	return p, nil
}

// read takes lines until the output ends, then waits for the process and fails what is still awaited.
func (p *process) read(output io.Reader) {
	lines := bufio.NewReaderSize(output, 64<<10)
	for {
		line, err := readLine(lines)
		if err != nil {
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			p.receive(line)
		}
	}
	p.kill()
	if err := p.cmd.Wait(); err != nil {
		p.log.Debug("a stdio server ended", slog.Any("error", err))
	}
	_ = p.input.Close() // nobody reads it
	p.mu.Lock()
	p.gone = true
	for id, f := range p.flights {
		close(f.answer)
		delete(p.flights, id)
	}
	p.mu.Unlock()
	p.ended(p)
	close(p.done)
}

// over reports whether it has ended.
func (p *process) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// readLine reads a line of at most maxEvent bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, more, err := r.ReadLine()
		if err != nil {
			return nil, err
		}
		if line = append(line, part...); len(line) > maxEvent {
			return nil, errEventTooLong
		}
		if !more {
			return line, nil
		}
	}
}

// receive gives a line to whom it belongs. What cannot be read in exactly one way belongs to nobody.
func (p *process) receive(line []byte) {
	fields, err := canonical.Fields(line, envelopeFields...)
	if err != nil {
		if p.garbage.Allow() { // a server that says nothing else fills no disk
			p.log.Warn("a line of a stdio server was dropped", slog.String("error", clip(err.Error(), 200)))
		}
		return
	}
	if _, ok := canonical.Lookup(fields, "method"); ok {
		if !p.aboutFlight(fields) {
			p.heard(line)
		}
		return
	}
	p.speak.Do(func() { close(p.spoken) })
	value, _ := canonical.Lookup(fields, "id")
	id, ok := flightID(value)
	if !ok {
		return
	}
	p.mu.Lock()
	f := p.flights[id]
	delete(p.flights, id)
	p.mu.Unlock()
	if f != nil {
		f.answer <- line
	}
}

// write sends one line. A process that does not take it is ended: what it has of the line cannot be taken back.
func (p *process) write(message []byte) error {
	line := bytes.Map(func(r rune) rune { // line ends are only ever between tokens: no string holds one unescaped
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, message)
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = p.input.SetWriteDeadline(time.Now().Add(writeTime)) //nolint:forbidigo // a deadline of the kernel; a pipe has them
	_, err := p.input.Write(append(line, '\n'))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.kill()
		return errStuck
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDied, err)
	}
	return nil
}

// ask sends a request under an id of ours. Who asks waits for the flight, and lands it.
func (p *process) ask(message []byte, stream bool) (*flight, error) {
	fields, err := canonical.Members(message)
	if err != nil {
		return nil, fmt.Errorf("sending a request: %w", err)
	}
	f := &flight{stream: stream, answer: make(chan []byte, 1), said: newNotes(flightNotes)}
	f.theirs, _ = canonical.Lookup(fields, "id")
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return nil, errProcess
	}
	p.next++
	f.ours = p.next
	p.flights[f.ours] = f
	p.mu.Unlock()
	if err := p.write(f.outward(fields)); err != nil {
		p.land(f)
		return nil, err
	}
	return f, nil
}

// land forgets a flight, and reports whether it was still under way.
func (p *process) land(f *flight) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, flying := p.flights[f.ours]
	delete(p.flights, f.ours)
	return flying
}

// request asks and waits for the answer, which gets the id of the request back: for the gateway's own use.
func (p *process) request(ctx context.Context, message []byte, start time.Duration) ([]byte, error) {
	f, err := p.ask(message, false)
	if err != nil {
		return nil, err
	}
	slow := time.NewTimer(start)
	defer slow.Stop()
	spoken := p.spoken
	for {
		select {
		case line, ok := <-f.answer:
			if !ok {
				return nil, errDied
			}
			return f.homeward(line)
		case <-spoken:
			spoken = nil
			slow.Stop()
		case <-slow.C:
			p.kill()
			return nil, errSlow
		case <-ctx.Done():
			p.giveUp(f, callerGone)
			return nil, ctx.Err()
		}
	}
}

// Why nobody waits for a request any more.
const (
	callerGone = "the caller is gone"
	tookLong   = "it took too long"
)

// giveUp tells the server that nobody waits for a request any more. An answer that comes later is for nobody.
func (p *process) giveUp(f *flight, why string) {
	if p.land(f) {
		_ = p.write(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"reason":%q}}`, f.ours, why))
	}
}

// stop ends the process: first by closing its input, then by a signal to its whole group.
func (p *process) stop() {
	p.asked.Store(true)
	_ = p.input.Close() // a second close does no harm
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
		<-p.done
	}
}

// kill ends the whole group, so that nothing is left that the server started.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // ESRCH: it is gone
	p.box.remove()
}
