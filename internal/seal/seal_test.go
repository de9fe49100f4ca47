package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"countersign/internal/seal"
)

func newKey(tb testing.TB) *seal.Key {
	tb.Helper()
	key, err := seal.LoadOrCreate(filepath.Join(tb.TempDir(), "seal.key"))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for _, plaintext := range []string{"", "x", strings.Repeat("a held call ", 10_000)} {
		sealed, err := key.Seal("held call", []byte(plaintext), []byte("apr_1"))
		if err != nil {
			t.Fatal(err)
		}
		opened, err := key.Open("held call", sealed, []byte("apr_1"))
		if err != nil || string(opened) != plaintext {
			t.Errorf("%d bytes came back as %d, %v", len(plaintext), len(opened), err)
		}
		if len(plaintext) > 8 && bytes.Contains(sealed, []byte(plaintext[:8])) {
			t.Error("the plaintext is in the sealed bytes")
		}
		again, err := key.Seal("held call", []byte(plaintext), []byte("apr_1"))
		if err != nil || bytes.Equal(sealed, again) {
			t.Errorf("sealing twice gave the same bytes, %v", err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	sealed, err := key.Seal("held call", []byte("delete everything"), []byte("apr_1"))
	if err != nil {
		t.Fatal(err)
	}
	broken := func(name, purpose, aad string, value []byte) {
		if _, err := key.Open(purpose, value, []byte(aad)); !errors.Is(err, seal.ErrBroken) {
			t.Errorf("%s: got %v, want ErrBroken", name, err)
		}
	}
	broken("another purpose", "signing key", "apr_1", sealed)
	broken("another row", "held call", "apr_2", sealed)
	broken("nothing", "held call", "apr_1", nil)
	broken("another version", "held call", "apr_1", append([]byte("S2"), sealed[2:]...))
	for i := range sealed {
		if _, err := key.Open("held call", sealed[:i], []byte("apr_1")); err == nil {
			t.Errorf("cut to %d bytes it still opens", i)
		}
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := key.Open("held call", changed, []byte("apr_1")); err == nil {
			t.Errorf("with byte %d changed it still opens", i)
		}
	}
	if _, err := newKey(t).Open("held call", sealed, []byte("apr_1")); !errors.Is(err, seal.ErrOtherKey) {
		t.Errorf("under another key: got %v, want ErrOtherKey", err)
	}
}

func TestKeyIsTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.key")
	keys := make([]*seal.Key, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() { keys[i], _ = seal.LoadOrCreate(path) })
	}
	all.Wait()
	for _, key := range keys {
		if key == nil || key.ID() != keys[0].ID() {
			t.Fatal("racing creators got different keys")
		}
	}
	loaded, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys[0].Seal("p", []byte("text"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := loaded.Open("p", sealed, nil); err != nil || string(opened) != "text" {
		t.Errorf("the loaded key opens %q, %v", opened, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".seal-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"a file others read":  {good, 0o644, "chmod 600"},
		"a file group writes": {good, 0o620, "chmod 600"},
		"a short key":         {base64.StdEncoding.EncodeToString(make([]byte, 16)), 0o600, "32 bytes"},
		"no base64":           {"correct horse battery staple", 0o600, "not base64"},
		"an empty file":       {"", 0o600, "32 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "seal.key")
		if err := os.WriteFile(path, []byte(test.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		_, err := seal.Load(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if _, again := seal.LoadOrCreate(path); again == nil {
			t.Errorf("%s was replaced by a new key", name)
		}
	}
	if _, err := seal.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := seal.Load(t.TempDir()); err == nil {
		t.Error("a directory was taken for a key")
	}
	path := filepath.Join(t.TempDir(), "mounted")
	if err := os.WriteFile(path, []byte(good), 0o440); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Load(path); err != nil {
		t.Errorf("a mounted secret that the group may read: %v", err)
	}
}

func TestKeyDoesNotPrint(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(format, key); got != "sealing key "+key.ID() {
			t.Errorf("%s prints %q", format, got)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := newKey(f)
	sealed, err := key.Seal("p", []byte("text"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("S1"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := key.Open("p", value, nil); err == nil && !bytes.Equal(value, sealed) {
			t.Errorf("opened what was never sealed: %x", value)
		}
	})
}
