package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const pinnedImage = "registry.example/search@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestSandboxIsValidated(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		box  Sandbox
		says string
	}{
		{"bwrap", Sandbox{Kind: "bwrap", ReadOnly: []string{"/srv/a"}, Writable: []string{"/srv/b"}, Network: "host"}, ""},
		{"docker", Sandbox{Kind: "docker", Image: pinnedImage, Memory: "256m", Pids: 64}, ""},
		{"auto", Sandbox{Kind: "auto", Image: pinnedImage}, ""},
		{"no kind", Sandbox{}, "kind must be"},
		{"another kind", Sandbox{Kind: "chroot"}, "kind must be"},
		{"no image", Sandbox{Kind: "docker"}, "docker needs an image"},
		{"an image by its tag", Sandbox{Kind: "docker", Image: "search:latest"}, "must name its digest"},
		{"an option for an image", Sandbox{Kind: "docker", Image: "--privileged@sha256:" + strings.Repeat("a", 64)}, "must name its digest"},
		{"memory of bwrap", Sandbox{Kind: "bwrap", Memory: "1g"}, "need docker"},
		{"memory", Sandbox{Kind: "docker", Image: pinnedImage, Memory: "lots"}, "memory must be"},
		{"network", Sandbox{Kind: "bwrap", Network: "bridge"}, "network must be"},
		{"the root", Sandbox{Kind: "bwrap", Writable: []string{"/"}}, "below the root"},
		{"a way out", Sandbox{Kind: "bwrap", ReadOnly: []string{"/srv/../etc"}}, "below the root"},
		{"a mount in a mount", Sandbox{Kind: "docker", Image: pinnedImage, ReadOnly: []string{"/a,readonly=false"}}, "cannot be mounted"},
		{"none with a path", Sandbox{Kind: "none", ReadOnly: []string{"/srv"}}, "limits nothing"},
	}
	for _, test := range tests {
		err := validateCommands(map[string]Command{"x": {Argv: []string{"x"}, Sandbox: &test.box}})
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestSandboxedCommandLines(t *testing.T) {
	t.Parallel()
	c := Command{Argv: []string{"server", "--flag"}, Env: []string{"TOKEN"}, Dir: "/srv/b"}
	c.Sandbox = &Sandbox{Kind: "docker", Image: pinnedImage, ReadOnly: []string{"/srv/a"}, Writable: []string{"/srv/b"}, Memory: "256m", Pids: 64}
	want := []string{
		"docker", "run", "--rm", "-i", "--init", "--name=countersign-x", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--network=none", "--pids-limit=64", "--memory=256m", "--memory-swap=256m", "--tmpfs=/tmp:rw,nosuid,nodev,size=64m", "--log-driver=none",
		"--mount=type=bind,src=/srv/a,dst=/srv/a,readonly", "--mount=type=bind,src=/srv/b,dst=/srv/b", "--env=TOKEN", "--workdir=/srv/b",
		pinnedImage, "server", "--flag",
	}
	if diff := cmp.Diff(want, c.dockerArgv("countersign-x")); diff != "" {
		t.Errorf("docker (-want +got):\n%s", diff)
	}
	c.Sandbox.Kind = "bwrap"
	want = []string{"bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"}
	for _, path := range systemPaths {
		want = append(want, "--ro-bind-try", path, path)
	}
	want = append(want, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", "/srv/a", "/srv/a", "--bind", "/srv/b", "/srv/b",
		"--chdir", "/srv/b", "--", "server", "--flag")
	if diff := cmp.Diff(want, c.bwrapArgv()); diff != "" {
		t.Errorf("bwrap (-want +got):\n%s", diff)
	}
	c.Sandbox.Network = "host"
	if !slices.Contains(c.bwrapArgv(), "--share-net") || !slices.Contains(c.dockerArgv("x"), "--network=host") {
		t.Error("network: host is not there")
	}
}

// TestDigestCoversTheSandbox: another sandbox is another command; none is the command that was registered before there
// were any.
func TestDigestCoversTheSandbox(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, box := range map[string]*Sandbox{
		"bwrap": {Kind: "bwrap"}, "auto": {Kind: "auto"}, "network": {Kind: "bwrap", Network: "host"}, "path": {Kind: "bwrap", Writable: []string{"/srv"}},
		"read": {Kind: "bwrap", ReadOnly: []string{"/srv"}}, "docker": {Kind: "docker", Image: pinnedImage}, "pids": {Kind: "docker", Image: pinnedImage, Pids: 1}, "nothing": nil,
	} {
		digest, err := Command{Argv: []string{"x"}, Sandbox: box}.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if other, same := seen[digest.String()]; same {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[digest.String()] = name
	}
	plain, _ := Command{Argv: []string{"x"}}.Digest()
	none, _ := Command{Argv: []string{"x"}, Sandbox: &Sandbox{Kind: "none"}}.Digest()
	if plain != none {
		t.Error("kind none is another command than no sandbox")
	}
}

// TestSandboxHolds starts a shell in bubblewrap where the kernel allows that. Where it does not, nothing may start: a
// sandbox that is demanded never becomes none.
func TestSandboxHolds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "mine"), "mine")
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, "SECRET")
	script := `cat ` + dir + `/mine; cat ` + secret + `; touch ` + dir + `/new; touch /usr/new; ls /root /home; echo T=$TOKEN; ip link 2>/dev/null | grep -c ^; cat /proc/net/dev | grep -c :`
	c := Command{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH"}, Sandbox: &Sandbox{Kind: "bwrap", ReadOnly: []string{dir}}}
	var said bytes.Buffer
	c.Argv[2] = "exec 1>&2; " + script
	p, err := startProcess(c, &said, slog.New(slog.DiscardHandler), func([]byte) {}, func(*process) {})
	if !bwrapWorks() {
		t.Log("bubblewrap does not work here: the command must not start")
		if err == nil || !strings.Contains(err.Error(), "the sandbox that the configuration demands is not there") {
			t.Errorf("got %v", err)
		}
		return
	}
	t.Log("bubblewrap works here: the command runs in it")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if !strings.HasPrefix(said.String(), "mine") || strings.Contains(said.String(), "SECRET") || !strings.HasSuffix(said.String(), "\n1\n") {
		t.Errorf("it said %s", said.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("it wrote where it may only read")
	}
}

// TestDemandedSandboxIsNeverNone: docker is not on this path.
func TestDemandedSandboxIsNeverNone(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, kind := range []string{"docker", "nonsense"} {
		c := Command{Argv: []string{"/bin/true"}, Sandbox: &Sandbox{Kind: kind, Image: pinnedImage}}
		if _, err := startProcess(c, io.Discard, slog.New(slog.DiscardHandler), func([]byte) {}, func(*process) {}); err == nil {
			t.Errorf("%s: started", kind)
		}
	}
}
