package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/identity"
	"countersign/internal/seal"
	"countersign/server"
)

// What is measured from outside runs in a process of its own, so that the load is not counted with it. That process is
// this test binary, told by its environment to be a replica, or the bare server beside it.
const asChild = "BENCH_CHILD"

func TestMain(m *testing.M) {
	collect := make(chan os.Signal, 1)
	signal.Notify(collect, syscall.SIGUSR1)
	go func() {
		for range collect {
			debug.FreeOSMemory()
		}
	}()
	switch os.Getenv(asChild) {
	case "":
		os.Exit(m.Run())
	case "bare":
		serve(http.HandlerFunc(newBare().ServeHTTP))
	case "replica":
		replica()
	}
}

// child is a server in a process of its own.
type child struct {
	url string
	pid int
}

// startChild runs this binary as something else until the benchmark ends.
func startChild(b *testing.B, as string, env ...string) *child {
	b.Helper()
	self, err := os.Executable()
	must(b, err)
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), append(env, asChild+"="+as)...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Cancel() // it is waited for either way
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	must(b, err)
	return &child{url: strings.TrimSpace(address), pid: cmd.Process.Pid}
}

// serve answers on a free port of loopback, says which, and ends with a signal.
func serve(h http.Handler) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + listener.Addr().String())
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		panic(err)
	}
}

// replica is the control plane as it is run, but for where its log goes.
func replica() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	cfg, err := configuration(os.Getenv)
	if err != nil {
		panic(err)
	}
	cfg.Log = slog.New(slog.NewJSONHandler(nowhere, nil))
	s, err := server.New(ctx, cfg)
	if err != nil {
		panic(err)
	}
	defer s.Close()
	listener, err := net.Listen("tcp", strings.TrimPrefix(cfg.PublicURL, "http://"))
	if err != nil {
		panic(err)
	}
	fmt.Println(cfg.PublicURL)
	if err := s.Run(ctx, listener); err != nil {
		panic(err)
	}
}

// configuration is that of a replica, as its environment says.
func configuration(env func(string) string) (server.Config, error) {
	key, err := seal.LoadOrCreate(env("BENCH_KEY"))
	return server.Config{
		DatabaseURL: env("BENCH_DATABASE"), PublicURL: env("BENCH_URL"), Key: key, OIDCIssuer: env("BENCH_ISSUER"), OIDCClientID: "console",
		RoleGroups: map[identity.Role][]string{identity.Admin: {"admins"}}, Relaxed: true,
	}, err
}

// cpu is the processor time that the child has used.
func (c *child) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid))
	must(b, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, err := strconv.Atoi(fields[11])
	must(b, err)
	system, err := strconv.Atoi(fields[12])
	must(b, err)
	const tick = time.Second / 100 // USER_HZ, on every Linux
	return time.Duration(user+system) * tick
}

// memory is what the child holds, in bytes, without what it has dropped and not collected yet.
func (c *child) memory(b *testing.B) float64 {
	b.Helper()
	for range 2 { // a stack is made smaller by a collection, and what it was by the next one
		must(b, syscall.Kill(c.pid, syscall.SIGUSR1))
		c.settles(b)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	must(b, err)
	for line := range strings.Lines(string(status)) {
		if kB, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kB), " kB"))
			must(b, err)
			return float64(n) * 1024
		}
	}
	b.Fatal("nobody says how much memory the child holds")
	return 0
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
