package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"countersign/desired"
)

type exportCmd struct {
	Dir string `type:"path" help:"Write teams.yaml, servers.yaml, grants.yaml and guardrails.yaml into this folder. Without it, print all as one file."`
	automationFlags
}

// Run writes everything that has neither ended nor retired, so that a plan of it is empty.
func (cmd exportCmd) Run(ctx context.Context, c *console) error {
	control, err := cmd.connect(ctx)
	if err != nil {
		return err
	}
	var set desired.Set
	if err := control.Do(ctx, http.MethodGet, "/v1/export", nil, &set); err != nil {
		return err
	}
	if cmd.Dir == "" {
		text, err := desired.Write(set)
		if err == nil {
			_, err = c.out.Write(text)
		}
		return err
	}
	if err := os.MkdirAll(cmd.Dir, 0o755); err != nil { //nolint:gosec // files for a repository, without secrets
		return err
	}
	for _, part := range []struct {
		name string
		set  desired.Set
	}{
		{desired.Teams, desired.Set{Teams: set.Teams}},
		{desired.Servers, desired.Set{Servers: set.Servers}},
		{desired.Grants, desired.Set{Grants: set.Grants}},
		{desired.Guardrails, desired.Set{Guardrails: set.Guardrails}},
	} {
		if err := writeSet(filepath.Join(cmd.Dir, part.name+".yaml"), part.set); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.out, "%d teams, %d servers, %d grants and %d guardrails are in %s\n",
		len(set.Teams), len(set.Servers), len(set.Grants), len(set.Guardrails), cmd.Dir)
	return nil
}

// writeSet writes one file, whole or not at all. One that says nothing is written as well: it may say what has ended.
func writeSet(path string, set desired.Set) error {
	text, err := desired.Write(set)
	if err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o644); err != nil { //nolint:gosec // files for a repository, without secrets
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(next, path)
}
