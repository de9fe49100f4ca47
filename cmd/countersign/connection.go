package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unicode"

	"countersign/internal/devidp"
)

// connection is what up leaves in the data folder, readable by its owner only, so that call and tools find
// the gateway and can sign as the demo agent.
type connection struct {
	Gateway string             `json:"gateway"`
	Issuer  string             `json:"issuer"`
	Key     ed25519.PrivateKey `json:"key"`
}

func connectionPath(data string) string { return filepath.Join(data, "agent.json") }

func readConnection(data string) (connection, error) {
	var c connection
	err := readJSON(connectionPath(data), &c)
	if errors.Is(err, os.ErrNotExist) {
		return c, fmt.Errorf("no countersign up has its data in %s; start it with make up, or say where with --data or --gateway", data)
	}
	return c, err
}

// token gets an access token for the demo agent acting for a demo person (RFC 7523), with the gateway as its
// audience (RFC 8707).
func (c connection) token(ctx context.Context, person string) (string, error) {
	return devidp.Agent{Issuer: c.Issuer, ClientID: devidp.DemoAgent, Key: c.Key}.Token(ctx, person, c.Gateway)
}

func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func writeSecretJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeSecret(path, raw)
}

// writeSecret writes for the owner only, whole or not at all.
func writeSecret(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(next, path)
}

func isGraphic(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
