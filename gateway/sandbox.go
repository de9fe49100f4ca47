package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Sandbox is what a stdio server may touch. Without one it runs as the gateway does.
type Sandbox struct {
	Kind     string   `yaml:"kind" json:"kind"`           // none, bwrap, docker or auto
	ReadOnly []string `yaml:"read_only" json:"read_only"` // paths it may read, beside the system's own
	Writable []string `yaml:"writable" json:"writable"`   // paths it may change
	Network  string   `yaml:"network" json:"network"`     // none, which is the default, or host
	Image    string   `yaml:"image" json:"image"`         // for docker, with its digest
	Memory   string   `yaml:"memory" json:"memory"`       // for docker, as 512m
	Pids     int      `yaml:"pids" json:"pids"`           // for docker
}

// The kinds of sandbox. auto is bwrap where that works, else docker where there is one and an image, else none, and the
// log says so. No other kind ever becomes another one.
const (
	sandboxNone   = "none"
	sandboxBwrap  = "bwrap"
	sandboxDocker = "docker"
	sandboxAuto   = "auto"
)

// What a container gets that does not say what it needs.
const (
	defaultMemory = "512m"
	defaultPids   = 128
)

var (
	errNoSandbox = errors.New("the sandbox that the configuration demands is not there, so the server is not started")
	imagePinned  = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$`)
	memorySize   = regexp.MustCompile(`^[1-9][0-9]*[kmg]$`)
)

// validate says everything that is wrong with the sandbox of a command.
func (s *Sandbox) validate(command string) error {
	if s == nil {
		return nil
	}
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("command %q: sandbox: "+format, append([]any{command}, args...)...))
		}
	}
	require(slices.Contains([]string{sandboxNone, sandboxBwrap, sandboxDocker, sandboxAuto}, s.Kind), "kind must be none, bwrap, docker or auto")
	require(s.Network == "" || s.Network == "none" || s.Network == "host", "network must be none or host")
	require(s.Image == "" || imagePinned.MatchString(s.Image), "image must name its digest, as name@sha256:…")
	require(s.Kind != sandboxDocker || s.Image != "", "docker needs an image")
	require(s.Memory == "" || memorySize.MatchString(s.Memory), "memory must be a number with k, m or g")
	require(s.Pids >= 0, "pids must not be negative")
	if s.Kind == sandboxBwrap || s.Kind == sandboxNone {
		require(s.Image == "" && s.Memory == "" && s.Pids == 0, "image, memory and pids need docker")
	}
	require(s.Kind != sandboxNone || len(s.ReadOnly)+len(s.Writable) == 0 && s.Network == "", "none limits nothing")
	for _, path := range slices.Concat(s.ReadOnly, s.Writable) {
		require(filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/", "%q must be an absolute path below the root", path)
		require(!strings.ContainsAny(path, ",:\"\n\r\x00"), "%q holds a character that cannot be mounted", path)
	}
	return errors.Join(errs...)
}

// digestArgv is the command line that the digest of a command covers: with a sandbox it is another one. No command line
// can hold a NUL, so no other command has that digest.
func (c Command) digestArgv() ([]string, error) {
	if c.Sandbox == nil || c.Sandbox.Kind == sandboxNone {
		return c.Argv, nil
	}
	said, err := json.Marshal(c.Sandbox)
	if err != nil {
		return nil, fmt.Errorf("describing a sandbox: %w", err)
	}
	return append([]string{"\x00sandbox", string(said)}, c.Argv...), nil
}

// boxed is what is really started for a command.
type boxed struct {
	kind string
	argv []string
	env  []string // names of the variables that it gets
	dir  string
	name string // of the container
	once sync.Once
}

// boxed builds the command line, or says that the sandbox is missing.
func (c Command) boxed() (*boxed, error) {
	kind := sandboxNone
	if c.Sandbox != nil {
		kind = c.Sandbox.Kind
	}
	if kind == sandboxAuto {
		kind = c.Sandbox.auto()
	}
	switch kind {
	case sandboxBwrap:
		if !bwrapWorks() {
			return nil, errNoSandbox
		}
		return &boxed{kind: kind, argv: c.bwrapArgv(), env: c.Env}, nil
	case sandboxDocker:
		if _, err := exec.LookPath("docker"); err != nil {
			return nil, errNoSandbox
		}
		name := "countersign-" + strings.ToLower(rand.Text()[:12])
		return &boxed{kind: kind, argv: c.dockerArgv(name), env: slices.Concat(c.Env, dockerEnv), name: name}, nil
	case sandboxNone:
		return &boxed{kind: kind, argv: c.Argv, env: c.Env, dir: c.Dir}, nil
	}
	return nil, errNoSandbox
}

// auto chooses what there is.
func (s *Sandbox) auto() string {
	if bwrapWorks() {
		return sandboxBwrap
	}
	if _, err := exec.LookPath("docker"); err == nil && s.Image != "" {
		return sandboxDocker
	}
	return sandboxNone
}

// bwrapWorks tries it once: the kernel may not let us make namespaces.
var bwrapWorks = sync.OnceValue(func() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true").Run() == nil
})

// systemPaths are what programs need of a system, without anybody's data.
var systemPaths = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/etc/alternatives", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
	"/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf",
}

// bwrapArgv is the command line for bubblewrap: nothing is shared but what is named here.
func (c Command) bwrapArgv() []string {
	s := c.Sandbox
	argv := []string{"bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"}
	if s.Network == "host" {
		argv = append(argv, "--share-net")
	}
	for _, path := range systemPaths {
		argv = append(argv, "--ro-bind-try", path, path)
	}
	argv = append(argv, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")
	for _, path := range s.ReadOnly {
		argv = append(argv, "--ro-bind", path, path)
	}
	for _, path := range s.Writable {
		argv = append(argv, "--bind", path, path)
	}
	dir := c.Dir
	if dir == "" {
		dir = "/tmp"
	}
	return slices.Concat(argv, []string{"--chdir", dir, "--"}, c.Argv)
}

// dockerEnv is what docker's own command needs to find its daemon.
var dockerEnv = []string{"PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "XDG_RUNTIME_DIR"}

// dockerArgv is the command line for docker.
func (c Command) dockerArgv(name string) []string {
	s := c.Sandbox
	network, memory, pids := s.Network, s.Memory, s.Pids
	if network == "" {
		network = "none"
	}
	if memory == "" {
		memory = defaultMemory
	}
	if pids == 0 {
		pids = defaultPids
	}
	argv := []string{
		"docker", "run", "--rm", "-i", "--init", "--name=" + name, "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--network=" + network, "--pids-limit=" + strconv.Itoa(pids), "--memory=" + memory, "--memory-swap=" + memory,
		"--tmpfs=/tmp:rw,nosuid,nodev,size=64m", "--log-driver=none",
	}
	for _, path := range s.ReadOnly {
		argv = append(argv, "--mount=type=bind,src="+path+",dst="+path+",readonly")
	}
	for _, path := range s.Writable {
		argv = append(argv, "--mount=type=bind,src="+path+",dst="+path)
	}
	for _, variable := range c.Env {
		argv = append(argv, "--env="+variable) // its value stays off the command line
	}
	if c.Dir != "" {
		argv = append(argv, "--workdir="+c.Dir)
	}
	return slices.Concat(argv, []string{s.Image}, c.Argv)
}

const removeTime = 10 * time.Second

// remove ends the container, which outlives the command that started it.
func (b *boxed) remove() {
	if b.name == "" {
		return
	}
	b.once.Do(func() {
		cmd := exec.Command("docker", "rm", "--force", b.name) //nolint:gosec,noctx // a name of our own; bounded below
		if cmd.Start() != nil {
			return // there is no docker, so there is no container
		}
		limit := time.AfterFunc(removeTime, func() { _ = cmd.Process.Kill() })
		defer limit.Stop()
		_ = cmd.Wait() // it may be gone, by --rm
	})
}
