package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// Bounds of stdio servers. How many run at once is configuration.
const (
	stdioIdle       = 10 * time.Minute
	stdioPerCaller  = 8
	stdioBacklog    = 256 // messages of a server that wait for a stream
	stdioReapPeriod = 30 * time.Second
)

var (
	errUnknownCommand = errors.New("this gateway is not configured to start that server")
	errOtherCommand   = errors.New("the command line in the gateway's configuration is another one than was registered")
	errManyProcesses  = errors.New("too many servers run on this gateway already")
	errEndedSession   = errors.New("there is no such session any more")
)

// stdioPool runs stdio servers: a process for each session of the older protocol, and one for each caller of the
// stateless one. So no two callers ever share a process; the connections of one caller may.
type stdioPool struct {
	g        *Gateway
	restarts restarts

	mu        sync.Mutex
	instances map[instanceKey]*instance
	starting  int
	stderr    map[string]*stderrRoom // by command
}

// instanceKey is a server and a session id, or, for the stateless protocol, a caller.
type instanceKey struct {
	endpointKey
	session string
	caller  string
}

// instance is a process and whose it is.
type instance struct {
	key      instanceKey
	caller   string
	endpoint policy.Endpoint
	process  *process
	stream   *notes        // what the server says unasked
	ready    chan struct{} // closed when the process may be sent requests, or is of no use
	unready  error         // why it is of no use; read it when ready is closed

	mu       sync.Mutex
	used     time.Time
	attached bool
	waiting  map[*patience]struct{} // of requests under way, for which whatever the server says is a word
}

func newStdioPool(g *Gateway) *stdioPool {
	return &stdioPool{g: g, instances: map[instanceKey]*instance{}, stderr: map[string]*stderrRoom{}}
}

// command finds what to start for an endpoint: the configuration must name it, with the very command line that
// was registered.
func (g *Gateway) command(e policy.Endpoint) (Command, error) {
	c, ok := g.config().Commands[e.Command]
	if !ok {
		return Command{}, errUnknownCommand
	}
	digest, err := c.Digest()
	if err != nil || digest.String() != e.CommandDigest {
		return Command{}, errOtherCommand
	}
	return c, nil
}

// openStdio starts a process for the gateway's own use.
func (g *Gateway) openStdio(name string, e policy.Endpoint, say stepFunc) (*link, error) {
	say.say(client.StepResolve, client.StepRunning, "")
	c, err := g.command(e)
	if err != nil {
		say.say(client.StepResolve, client.StepFailed, explain(err))
		return nil, err
	}
	say.say(client.StepResolve, client.StepDone, "the command is configured here")
	say.say(client.StepConnect, client.StepRunning, "")
	log := g.log.With(slog.String("command", e.Command))
	p, err := startProcess(c, g.stdio.stderrOf(e.Command, log), log, func([]byte) {}, func(*process) {})
	if err != nil {
		say.say(client.StepConnect, client.StepFailed, explain(err))
		return nil, err
	}
	say.say(client.StepConnect, client.StepDone, "started")
	return &link{
		close: p.stop,
		send: func(ctx context.Context, l *link, _ string, message []byte, id string) (json.RawMessage, error) {
			if id == "" {
				return nil, p.write(message)
			}
			answer, err := p.request(ctx, message, g.timeouts(name, e).Connect)
			if err != nil {
				return nil, err
			}
			return answer, l.took(len(answer))
		},
	}, nil
}

// stderrOf is where the processes of a command say what is no message.
func (s *stdioPool) stderrOf(command string, log *slog.Logger) *stderrLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.stderr[command]
	if room == nil {
		room = &stderrRoom{}
		s.stderr[command] = room
	}
	return &stderrLog{log: log, now: s.g.now, room: room}
}

// reserve takes room for one more process of a caller.
func (s *stdioPool) reserve(caller string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := 0
	for _, i := range s.instances {
		if i.caller == caller {
			mine++
		}
	}
	if len(s.instances)+s.starting >= s.g.config().MaxProcesses || mine >= stdioPerCaller {
		return errManyProcesses
	}
	s.starting++
	return nil
}

// start runs a new process for a caller, within the bounds.
func (s *stdioPool) start(x *exchange, key instanceKey) (*instance, error) {
	c, err := s.g.command(x.server.Endpoint)
	if err != nil {
		return nil, err
	}
	again := restartKey{keyOf(x.server), x.caller.key()}
	if err := s.restarts.may(again, s.g.now()); err != nil {
		return nil, err
	}
	if err := s.reserve(again.caller); err != nil {
		return nil, err
	}
	i := &instance{
		key: key, caller: again.caller, endpoint: x.server.Endpoint, stream: newNotes(stdioBacklog), used: s.g.now(),
		ready: make(chan struct{}), waiting: map[*patience]struct{}{},
	}
	server, log, began := x.server, s.g.log.With(slog.String("server", x.name)), s.g.now()
	p, err := startProcess(c, s.stderrOf(x.server.Endpoint.Command, log), log,
		func(line []byte) { s.heard(server, i, line) },
		func(p *process) { s.ended(i, p, again, began) })
	s.mu.Lock()
	s.starting--
	other := s.instances[key]
	if err == nil && other == nil && !p.over() {
		i.process = p
		s.instances[key] = i
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.restarts.over(again, began, s.g.now())
		return nil, err
	case other != nil: // another request of this caller was quicker
		s.g.background.run(p.stop)
		return other, nil
	case i.process == nil:
		return nil, errProcess
	}
	s.greet(i, x.patience.Connect)
	return i, nil
}

// greet asks a new process of the stateless protocol what it is, and lets it have requests once it answers: one that does
// not start was sent none. The session of an older client begins with a request of the client's that does as much.
func (s *stdioPool) greet(i *instance, most time.Duration) {
	if i.key.session != "" {
		close(i.ready)
		return
	}
	began := s.g.background.run(func() {
		defer close(i.ready)
		ctx, cancel := context.WithTimeout(s.g.ctx, most)
		defer cancel()
		if _, err := i.process.request(ctx, []byte(greeting), most); err != nil {
			i.unready = errProcess
			if errors.Is(err, errSlow) || errors.Is(err, context.DeadlineExceeded) {
				i.unready = errSlow
			}
			i.process.kill()
		}
	})
	if !began { // the gateway stops, and ends the process
		i.unready = errProcess
		close(i.ready)
	}
}

const greeting = `{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{"_meta":{"` + metaVersion + `":"` + firstModern + `","` +
	metaCapabilities + `":{},"` + metaClientInfo + `":` + clientInfo + `}}}`

// await returns when the process may be sent requests.
func (i *instance) await(ctx context.Context) error {
	select {
	case <-i.ready:
		return i.unready
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ended forgets a process that is gone. Unless we ended it, it is not started again at once.
func (s *stdioPool) ended(i *instance, p *process, again restartKey, began time.Time) {
	s.mu.Lock()
	if s.instances[i.key] == i {
		delete(s.instances, i.key)
	}
	s.mu.Unlock()
	if p.asked.Load() {
		return
	}
	s.restarts.over(again, began, s.g.now())
	if i.key.session != "" {
		s.g.sessions.end(i.key.server, i.key.session)
	}
	s.g.log.Warn("a stdio server ended by itself", slog.String("command", i.endpoint.Command))
}

// heard keeps what a server says unasked for the stream of its session; when nobody listens for long, the newest is
// dropped. The stateless protocol has no such stream.
func (s *stdioPool) heard(server *policy.Server, i *instance, line []byte) {
	if fields, err := canonical.Fields(line, envelopeFields...); err == nil {
		(&exchange{g: s.g, server: server}).heed(fields)
	}
	if i.key.session == "" {
		return
	}
	i.spoke()
	i.stream.put(line)
}

func (s *stdioPool) find(key instanceKey) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.instances[key]
	if i == nil || i.process.over() {
		return nil
	}
	i.touch(s.g.now())
	return i
}

// attend lets whatever the process says count as a word about a request, until it is told to forget. In the older protocol
// it may be a question to the client on which the request depends. The stateless one has no such words.
func (i *instance) attend(p *patience) (forget func()) {
	if i.key.session == "" {
		return func() {}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting[p] = struct{}{}
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.waiting, p)
	}
}

func (i *instance) spoke() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for p := range i.waiting {
		p.enter(reading, p.Idle)
	}
}

func (i *instance) touch(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used = now
}

// end stops a process and forgets it.
func (s *stdioPool) end(i *instance) {
	s.mu.Lock()
	delete(s.instances, i.key)
	s.mu.Unlock()
	i.process.stop()
}

// run ends processes that nobody uses, until ctx ends.
func (s *stdioPool) run(ctx context.Context) error {
	ticker := time.NewTicker(stdioReapPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		for _, i := range s.idle() {
			s.end(i)
			s.g.sessions.end(i.key.server, i.key.session)
		}
	}
}

func (s *stdioPool) idle() []*instance {
	now := s.g.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var idle []*instance
	for _, i := range s.instances {
		i.mu.Lock()
		if !i.attached && i.process.idle() && now.Sub(i.used) > stdioIdle {
			idle = append(idle, i)
		}
		i.mu.Unlock()
	}
	return idle
}

// endChanged ends the processes whose command the configuration does not name any more, or names another one.
func (s *stdioPool) endChanged() {
	s.mu.Lock()
	var gone []*instance
	for _, i := range s.instances {
		if _, err := s.g.command(i.endpoint); err != nil {
			gone = append(gone, i)
		}
	}
	s.mu.Unlock()
	for _, i := range gone {
		s.g.background.run(func() { s.end(i) })
		s.g.sessions.end(i.key.server, i.key.session)
	}
}

// closeAll ends every process.
func (s *stdioPool) closeAll() {
	s.mu.Lock()
	all := s.instances
	s.instances = map[instanceKey]*instance{}
	s.mu.Unlock()
	var stopping sync.WaitGroup
	for _, i := range all {
		stopping.Go(i.process.stop)
	}
	stopping.Wait()
}

// forwardStdio is a server over standard input and output, served as streamable HTTP.
func (x *exchange) forwardStdio() error {
	switch x.r.Method {
	case http.MethodGet:
		return x.streamStdio()
	case http.MethodDelete:
		return x.endStdio()
	}
	if version := x.g.watch.speaks(x.server); x.modern && version != "" && version < firstModern {
		return &rpcError{ // and no process is started to say so
			status: http.StatusBadRequest, code: codeVersion, message: "The server speaks an older version of the protocol.",
			data: map[string]any{"supported": []string{version}, "requested": firstModern},
		}
	}
	if x.message.request() {
		return x.requestStdio()
	}
	return x.tellStdio()
}
