package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed sprite is what the generator makes of the icons as published.
func TestSpriteIsFresh(t *testing.T) {
	t.Parallel()
	fresh := filepath.Join(t.TempDir(), "icons.svg")
	if err := write(fresh, filepath.Join("..", "..", "..", "node_modules", "lucide-static", "icons")); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile(filepath.Join("..", "..", "static", "icons.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, want) {
		t.Error("static/icons.svg is old: run go generate ./web")
	}
}

func TestMissingIcons(t *testing.T) {
	t.Parallel()
	if err := write(filepath.Join(t.TempDir(), "icons.svg"), t.TempDir()); err == nil {
		t.Error("an icon that is not there is no error")
	}
}
