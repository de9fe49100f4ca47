package main

import (
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"countersign/auth"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/seal"
)

// beside runs a command on the database of a server that runs elsewhere.
func beside(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out, errOut output
	code = Run(t.Context(), args, &out, &errOut)
	return code, out.String() + errOut.String()
}

func TestKeysAndEpochFromTheCommandLine(t *testing.T) {
	t.Parallel()
	db, file := pgtest.New(t), filepath.Join(t.TempDir(), "seal.key")
	key, err := seal.LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	hub := postgres.NewHub(db.Runtime, slog.New(slog.DiscardHandler))
	server, err := auth.New(t.Context(), db.Runtime, hub, key, auth.Config{ClientID: "console", Issuer: "http://127.0.0.1:9", PublicURL: "http://127.0.0.1:9"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	database := "--database-url=" + db.RuntimeDSN
	wrong := filepath.Join(t.TempDir(), "other.key")
	if _, err := seal.LoadOrCreate(wrong); err != nil {
		t.Fatal(err)
	}

	old, _ := server.PolicyKey()
	_, listed := beside(t, "keys", "list", database)
	for _, want := range []string{"root +active +" + server.RootKey() + " .*root_key", "policy +active +" + old, "bundle +active"} {
		if !regexp.MustCompile(want).MatchString(listed) {
			t.Errorf("list lacks %s:\n%s", want, listed)
		}
	}
	if code, said := beside(t, "keys", "rotate", database, "--key-file="+wrong, "--purpose=policy"); code != exitError || !strings.Contains(said, "another key file") {
		t.Errorf("with another key file: %d %s", code, said)
	}
	if code, said := beside(t, "keys", "rotate", database, "--key-file="+file, "--purpose=root"); code != exitUsage {
		t.Errorf("the root: %d %s", code, said)
	}
	code, said := beside(t, "keys", "rotate", database, "--key-file="+file, "--purpose=policy", "--announce=1h")
	if code != exitDone || !strings.Contains(said, "announced and signs from") {
		t.Fatalf("rotate: %d %s", code, said)
	}
	if code, said := beside(t, "keys", "rotate", database, "--key-file="+file, "--purpose=policy"); code != exitError || !strings.Contains(said, "announced already") {
		t.Errorf("again: %d %s", code, said)
	}
	if code, said := beside(t, "keys", "rotate", database, "--key-file="+file, "--purpose=policy", "--now"); code != exitDone {
		t.Errorf("now: %d %s", code, said)
	}
	_, listed = beside(t, "keys", "list", database)
	next := regexp.MustCompile(`policy +next +(\S+) .*signs from`).FindStringSubmatch(listed)
	if next == nil {
		t.Fatalf("list lacks the next key:\n%s", listed)
	}
	if code, said := beside(t, "keys", "retire", database, old, "--reason=leaked"); code != exitError || !strings.Contains(said, "Rotate first") {
		t.Errorf("retiring the key that signs: %d %s", code, said)
	}
	if code, said := beside(t, "keys", "retire", database, next[1], "--reason=made by mistake"); code != exitDone {
		t.Errorf("retire: %d %s", code, said)
	}

	if code, said := beside(t, "epoch", "bump", database, "--reason=files were put back"); code != exitDone || !strings.Contains(said, "epoch 2") {
		t.Errorf("epoch bump: %d %s", code, said)
	}
	if code, said := beside(t, "epoch", "bump", database); code != exitUsage || !strings.Contains(said, "reason") {
		t.Errorf("without a reason: %d %s", code, said)
	}
}
