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
	"strconv"
	"sync"
	"syscall"
	"time"

	"countersign/canonical"
)

// stopGrace is how long a process gets to end by itself once its input is closed.
const stopGrace = 2 * time.Second

var errProcess = errors.New("the server's process could not be started, or ended")

// process is a stdio server that runs: one JSON message a line, in and out. Requests get ids of our own, so that
// callers who chose the same do not meet; answers get theirs back.
type process struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	log   *slog.Logger
	done  chan struct{} // closed when it has ended and been waited for
	heard func(line []byte)

	writing sync.Mutex

	mu      sync.Mutex
	next    int64
	pending map[int64]chan []byte
	ended   bool
}

// startProcess starts a command of the configuration in a process group of its own, with nothing of our
// environment but the variables that the configuration names. heard is told of what is no answer.
func startProcess(c Command, log *slog.Logger, heard func(line []byte)) (*process, error) {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...) //nolint:gosec,noctx // the operator's own command line; stop ends it
	cmd.Dir = c.Dir
	cmd.Env = []string{}
	for _, name := range c.Env {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = stopGrace
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProcess, err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProcess, err)
	}
	p := &process{
		cmd: cmd, input: input, log: log, heard: heard, done: make(chan struct{}), pending: map[int64]chan []byte{},
	}
	cmd.Stderr = &stderrLog{log: log}
	if err := cmd.Start(); err != nil {
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
	p.mu.Lock()
	p.ended = true
	for id, waiting := range p.pending {
		close(waiting)
		delete(p.pending, id)
	}
	p.mu.Unlock()
	close(p.done)
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

// receive gives an answer to whom it belongs. What cannot be read in exactly one way belongs to nobody.
func (p *process) receive(line []byte) {
	fields, err := canonical.Fields(line, envelopeFields...)
	if err != nil {
		p.log.Warn("a line of a stdio server was dropped", slog.Any("error", err))
		return
	}
	if _, ok := canonical.Lookup(fields, "method"); ok {
		p.heard(line)
		return
	}
	value, _ := canonical.Lookup(fields, "id")
	id, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	waiting := p.pending[id]
	delete(p.pending, id)
	p.mu.Unlock()
	if waiting != nil {
		waiting <- line
	}
}

// write sends one line.
func (p *process) write(message []byte) error {
	line := bytes.Map(func(r rune) rune { // line ends are only ever between tokens: no string holds one unescaped
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, message)
	p.writing.Lock()
	defer p.writing.Unlock()
	if _, err := p.input.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errProcess, err)
	}
	return nil
}

// request sends a request under an id of ours and waits for its answer, which gets the caller's id back.
// sent is told our id once the request may have been read.
func (p *process) request(ctx context.Context, message []byte, sent func(id int64)) ([]byte, error) {
	fields, err := canonical.Members(message)
	if err != nil {
		return nil, fmt.Errorf("sending a request: %w", err)
	}
	theirs, _ := canonical.Lookup(fields, "id")
	answer := make(chan []byte, 1)
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return nil, errProcess
	}
	p.next++
	ours := p.next
	p.pending[ours] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pending, ours)
		p.mu.Unlock()
	}()
	sent(ours)
	if err := p.write(withID(fields, json.RawMessage(strconv.FormatInt(ours, 10)))); err != nil {
		return nil, err
	}
	select {
	case line, ok := <-answer:
		if !ok {
			return nil, errProcess
		}
		got, err := canonical.Members(line)
		if err != nil {
			return nil, errUpstreamMessage
		}
		return withID(got, theirs), nil
	case <-ctx.Done():
		p.cancel(ours)
		return nil, ctx.Err()
	}
}

// cancel tells the server that nobody waits any more.
func (p *process) cancel(id int64) {
	_ = p.write(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"reason":"the caller is gone"}}`, id))
}

func withID(fields []canonical.Member, id json.RawMessage) []byte {
	changed := make([]canonical.Member, len(fields))
	for i, f := range fields {
		if f.Key == "id" {
			f.Value = id
		}
		changed[i] = f
	}
	return canonical.AppendObject(nil, changed)
}

// stop ends the process: first by closing its input, then by a signal to its whole group.
func (p *process) stop() {
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
}

// stderrLog writes what a server says on stderr to our log, in lines of bounded length.
type stderrLog struct {
	log  *slog.Logger
	line []byte
}

const maxLogLine = 2048

// Write takes some output.
func (s *stderrLog) Write(data []byte) (int, error) {
	for _, c := range data {
		if c == '\n' {
			s.flush()
			continue
		}
		if len(s.line) < maxLogLine {
			s.line = append(s.line, c)
		}
	}
	return len(data), nil
}

func (s *stderrLog) flush() {
	if len(s.line) > 0 {
		s.log.Info("stderr of a stdio server", slog.String("line", strconv.QuoteToASCII(string(s.line))))
	}
	s.line = s.line[:0]
}
