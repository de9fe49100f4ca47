//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// superuser is the name of the embedded server's superuser role.
const superuser = "postgres"

// database is the one database of an installation.
const database = "countersign"

// Config describes an embedded server. The zero value of each field but DataDir
// is a good one.
type Config struct {
	DataDir   string            // made if missing; for root under folders that others may enter
	BinDir    string            // folder of initdb and postgres; "" searches
	Roots     []string          // folders that may hold node_modules or .deps with the binaries
	SocketDir string            // short path for the Unix socket; "" makes one in /tmp
	Settings  map[string]string // further PostgreSQL settings
	Volatile  bool              // no fsync: survives kills, but a crash of the machine may lose everything; for tests
	Log       *slog.Logger      // nil discards
}

// Server is a PostgreSQL that runs as a child of this process:
//
//	Start ─▶ locked ─▶ made (first time) ─▶ running ─▶ recovered ─▶ roles ensured ─▶ Stop
//
// It listens on a Unix socket only, and trusts by peer authentication this
// process's user alone. It never runs as root. It is shut down when this
// process dies, however it dies (on Linux); a crash of its own is repaired by
// PostgreSQL's recovery at the next Start.
type Server struct {
	cfg       Config
	dir       dataDir
	account   account
	binaries  binaries
	socketDir string
	lock      *os.File
	stopping  sync.Once
	stopped   error // of Stop

	process *os.Process
	done    chan struct{}
	exit    error // of the process; read after done is closed
}

// Start starts the server, making its database the first time, and returns
// when it accepts connections and has the owner's and the runtime role and
// their database. ctx bounds the start only. It returns an *InUseError when
// another process runs on the same data, and a *NoBinariesError when there is
// no PostgreSQL to run.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := resolveDataDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	lock, err := dir.lock()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, dir: dir, lock: lock}
	if err := s.start(ctx); err != nil {
		_ = s.Stop(context.WithoutCancel(ctx)) // err says more
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.launchWhenFree(ctx); err != nil {
		return err
	}
	return s.ensureRoles(ctx)
}

// prepare settles who runs which binaries on which folder, and makes what is missing.
func (s *Server) prepare(ctx context.Context) (err error) {
	if s.account, err = accountFor(string(s.dir)); err != nil {
		return err
	}
	if err := s.account.canEnter(filepath.Dir(string(s.dir))); err != nil {
		return fmt.Errorf("%w: PostgreSQL cannot run as root and runs as %s here, so choose a folder that it can reach "+
			"with --data (for example --data /var/lib/countersign)", err, s.account.name)
	}
	major, err := s.dir.major()
	if err != nil {
		return err
	}
	where := search{
		explicit: s.cfg.BinDir, variable: os.Getenv(binariesVariable), system: systemFolders,
		roots: s.cfg.Roots, major: major, usable: s.account.canEnter,
	}
	if s.binaries, err = where.find(ctx); err != nil {
		return err
	}
	if s.socketDir, err = makeSocketDir(s.cfg.SocketDir, s.dir, s.account); err != nil {
		return err
	}
	if major == 0 {
		return s.dir.create(ctx, s.binaries, s.account, !s.cfg.Volatile, s.cfg.Log)
	}
	return nil
}

// DSN returns the URL with which this process connects in a role: OwnerRole,
// RuntimeRole, or "postgres" for the superuser.
func (s *Server) DSN(role string) string {
	return s.dsn(role, database)
}

func (s *Server) dsn(role, name string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(role),
		Path:     "/" + name,
		RawQuery: url.Values{"host": {s.socketDir}, "port": {"5432"}}.Encode(),
	}
	return u.String()
}

// PID returns the process id of the server.
func (s *Server) PID() int { return s.process.Pid }

// Done is closed when the server has ended, whether stopped or crashed.
func (s *Server) Done() <-chan struct{} { return s.done }

// run starts the server and returns once the process exists.
func (s *Server) run() error {
	logFile, err := s.dir.openLog(s.account)
	if err != nil {
		return err
	}
	defer logFile.Close()                                                 // the child has its own handle
	cmd := exec.Command(s.binaries.program("postgres"), s.arguments()...) //nolint:noctx,gosec // ended by Stop, in order; find has checked it
	cmd.Dir, cmd.Env, cmd.SysProcAttr = string(s.dir), s.binaries.environment(), s.account.attributes()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	s.done = make(chan struct{})
	started := make(chan error, 1)
	go s.supervise(cmd, started, s.done)
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	s.process = cmd.Process
	return nil
}

// supervise starts cmd and waits for it on one thread: the kernel's death
// signal goes out when the thread that forked ends, not the process.
func (s *Server) supervise(cmd *exec.Cmd, started chan<- error, done chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(done)
	err := cmd.Start()
	started <- err
	if err == nil {
		s.exit = cmd.Wait()
	}
}

// Stop shuts the server down: in order first, at once when ctx ends, by force
// when even that is not heeded. It frees the data folder and may be called
// again. The error tells of an end that was not in order; data acknowledged as
// committed is safe in any case.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Do(func() {
		s.stopped = s.stopProcess(ctx)
		if s.socketDir != "" {
			_ = os.RemoveAll(s.socketDir)
		}
		_ = s.lock.Close()
	})
	return s.stopped
}

func (s *Server) stopProcess(ctx context.Context) error {
	if s.process == nil {
		return nil
	}
	fast, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if s.signalAndWait(fast, syscall.SIGINT) {
		if s.exit != nil {
			return fmt.Errorf("stopping PostgreSQL: %w", s.exit)
		}
		return nil
	}
	immediate, cancelImmediate := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelImmediate()
	if !s.signalAndWait(immediate, syscall.SIGQUIT) {
		_ = s.process.Kill()
		<-s.done
	}
	return errors.New("stopping PostgreSQL in order took too long; it will recover at the next start")
}

func (s *Server) signalAndWait(ctx context.Context, sig syscall.Signal) bool {
	_ = s.process.Signal(sig) // it may have ended already, which done tells
	select {
	case <-s.done:
		return true
	case <-ctx.Done():
		return false
	}
}
